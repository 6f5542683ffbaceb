"""Looks for frozen weights, which lose much in pruning and recover nothing."""

import warnings


def check_frozen(model, pruned):
    """Refuses a network that cannot learn, and warns of frozen weights.

    The caller is called by a public function.

    Args:
        model: A `keras.Model` that is pruned, or its copy.
        pruned: List of variables of the model, which pruning changes.

    Raises:
        ValueError: if no weight of the model is trainable.
    """
    if not model.trainable_variables:
        raise ValueError(
            "A network with no trainable weights cannot recover from pruning: "
            "set `model.trainable = True` of the network that you pass, or "
            f"train for 0 steps. Received: {model.name!r}"
        )
    trainable = {id(variable) for variable in model.trainable_variables}
    frozen = [v.path for v in pruned if id(v) not in trainable]
    if frozen:
        warnings.warn(
            f"{len(frozen)} of the {len(pruned)} weights that pruning changes "
            "are frozen: they lose channels or entries, and do not recover. "
            "Before pruning, set `trainable = True` of their layers, or of the "
            "nested model that holds the layers. "
            f"Received: frozen {frozen[:3]}",
            stacklevel=4,
        )
