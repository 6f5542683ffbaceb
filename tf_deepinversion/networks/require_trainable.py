"""Refuses training that would change nothing, or another network."""

from tf_deepinversion.core.caller_warnings import warn_once
from tf_deepinversion.core.keras_internals import layers_of
from tf_deepinversion.networks.batch_norm_moments import batch_norms


def require_trainable(model, fixed):
    """Checks that training a network changes it, and no other network.

    Args:
        model: A `keras.Model`, the network to train.
        fixed: A `keras.Model` that must stay as it is, such as the teacher.

    Raises:
        ValueError: if `model` has no trainable variables, or shares layers
            with `fixed` that its training would change.
    """
    if not model.trainable_variables:
        raise ValueError(
            f"{model.name!r} has no trainable variables, so it would not "
            "learn: set `trainable = True` of it, or of the model that it is "
            f"a copy of. Received: {model.name!r}"
        )
    # Training also changes the moving statistics of layers that are not frozen.
    norms = [x for x in batch_norms(model) if x.trainable]
    changed = [*model.trainable_variables]
    changed += [v for x in norms for v in x.variables]
    own = {id(variable) for variable in fixed.variables}
    shared = sorted({v.path for v in changed if id(v) in own})
    if shared:
        raise ValueError(
            f"Training {model.name!r} would change {fixed.name!r}, which must "
            "stay as it is: freeze the shared layers (`layer.trainable = "
            "False`), or build the network from its own layers, for instance "
            f"by `keras.models.clone_model`. Received: shared {shared[:3]}"
        )


def warn_of_frozen(model):
    """Warns of frozen layers, such as the base of a transfer learning.

    For a network that loses weights, see `pruning.frozen_weights`.

    Args:
        model: A `keras.Model`, the network to train.

    Warns:
        UserWarning: if some layers with a kernel are frozen.
    """
    kernels = [
        layer
        for layer in layers_of(model)
        if getattr(layer, "kernel", None) is not None
    ]
    frozen = [x.path for x in kernels if not x.trainable_weights]
    if frozen:
        warn_once(
            model,
            f"{len(frozen)} of the {len(kernels)} layers with a kernel are "
            "frozen and learn nothing: set `trainable = True` of them, or of "
            "the nested model that holds them, unless they are to stay. "
            f"Received: frozen {frozen[:3]}",
        )
