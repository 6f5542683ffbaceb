"""Selects the weights of a network that get masks."""

import warnings

import keras

from tf_deepinversion.core.keras_internals import layers_of
from tf_deepinversion.networks.refuse_lora import refuse_lora

# The weights of Keras's layers that get masks. Depthwise convolutions have few
# weights and get none, as in TensorFlow's toolkit.
PRUNABLE = {
    keras.layers.Dense: ("kernel",),
    keras.layers.EinsumDense: ("kernel",),
    keras.layers.Embedding: ("embeddings",),
    keras.layers.Conv1D: ("kernel",),
    keras.layers.Conv2D: ("kernel",),
    keras.layers.Conv3D: ("kernel",),
    keras.layers.Conv1DTranspose: ("kernel",),
    keras.layers.Conv2DTranspose: ("kernel",),
    keras.layers.Conv3DTranspose: ("kernel",),
    keras.layers.SeparableConv1D: ("pointwise_kernel",),
    keras.layers.SeparableConv2D: ("pointwise_kernel",),
    keras.layers.SimpleRNNCell: ("kernel", "recurrent_kernel"),
    keras.layers.LSTMCell: ("kernel", "recurrent_kernel"),
    keras.layers.GRUCell: ("kernel", "recurrent_kernel"),
}


DEPTHWISE = (
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv1D,
    keras.layers.SeparableConv2D,
)


def weights_to_prune(model, policy=None) -> list:
    """Lists the weights that a policy selects, each with its layer.

    Args:
        model: A built `keras.Model`.
        policy: See `prune_low_magnitude`.

    Returns:
        A list of pairs, layer and `keras.Variable`.

    Raises:
        ValueError: if the policy selects nothing, or names unknown weights.
    """
    weights = _Weights(model)
    if policy is None:
        found = weights.known()
    elif callable(policy) and not isinstance(policy, type):
        layers = weights.with_matrices()
        found = [v for x in layers for v in weights.by(policy(x), x)]
    else:
        # A tuple is a pair, of a layer and the name of a weight of it.
        wanted = policy if isinstance(policy, list) else [policy]
        found = [v for one in wanted for v in weights.named(one)]
    # A weight that was selected twice counts once.
    found = list({id(v): v for v in found}.values())
    if policy is None:
        _warn_of_dense(weights.left_dense(found))
    if not found:
        raise ValueError(
            f"No layer of {model.name!r} is pruned: no known layer has a "
            "kernel, or the policy selects nothing. Name the weights of custom "
            'layers, as in `policy=[("layer", "weight")]`. '
            f"Received: policy={policy!r}; the model has {weights.paths()}"
        )
    return [(weights.owner[id(v)], v) for v in found]


class _Weights:
    """The layers of a model, and the layer that owns each weight."""

    def __init__(self, model):
        self.variables = [
            v for v in model.variables if keras.backend.is_float_dtype(v.dtype)
        ]
        self.owner = {}
        self.layers = list(layers_of(model))
        for layer in self.layers:  # a layer comes before those within it
            for variable in layer.variables:
                # The innermost layer of a weight has the fewest weights.
                known = self.owner.get(id(variable))
                if known is None or len(layer.variables) <= len(
                    known.variables
                ):
                    self.owner[id(variable)] = layer

    def known(self, layer=None):
        """Lists the weights of `PRUNABLE`, of one layer or of all layers."""
        layers = self.layers if layer is None else [layer]
        return [
            _weight_of(x, name)
            for x in layers
            for kind, names in PRUNABLE.items()
            # In Keras 3 DepthwiseConv2D does not subclass Conv2D. A layer that
            # was never called has no weights.
            if isinstance(x, kind) and x.built
            for name in names
        ]

    def with_matrices(self):
        """Lists the layers that own a weight with two or more axes."""
        owners = {id(self.owner[id(v)]) for v in self._matrices()}
        return [x for x in self.layers if id(x) in owners or self.known(x)]

    def of(self, layer, name):
        """Lists the weights with a name in a layer and its inner layers."""
        own = {id(v) for v in layer.variables}
        return [v for v in self.variables if id(v) in own and v.name == name]

    def by(self, answer, layer):
        """Lists the weights of a layer that a policy function selects."""
        if isinstance(answer, (str, list, tuple)):
            names = [answer] if isinstance(answer, str) else answer
            return [v for name in names for v in self.of(layer, name)]
        return self.known(layer) if answer else []

    def named(self, one):
        """Lists the weights that a name, a class, a path or a pair selects."""
        if isinstance(one, tuple):
            if len(one) != 2 or not isinstance(one[1], str):
                raise ValueError(
                    "A tuple in `policy` is a pair, of a layer and the name of "
                    "a weight of it: pass several names or classes as a list. "
                    f"Received: {one!r}"
                )
            layers = self._layers(one[0])
            found = [v for x in layers for v in self.of(x, one[1])]
        else:
            found = [v for x in self._layers(one) for v in self.known(x)]
            ends = f"/{one}"
            # Without a layer of this name, the name may be the end of a
            # weight's path.
            found = found or [
                v for v in self.variables if f"/{v.path}".endswith(ends)
            ]
        if not found:
            raise ValueError(
                "`policy` names layers that do not exist, or that have no "
                "known weight to prune. Name a weight by its path, or as "
                f'("layer", "weight"). Received: {one!r}; the model has '
                f"{self.paths()}"
            )
        return found

    def _layers(self, one):
        if isinstance(one, type):
            return [x for x in self.layers if isinstance(x, one)]
        return [x for x in self.layers if x.name == one]

    def paths(self):
        return [v.path for v in self._matrices()]

    def _matrices(self):
        return [v for v in self.variables if len(v.shape) > 1]

    def left_dense(self, chosen):
        """Lists the kernels that are not among the chosen weights."""
        chosen = {id(v) for v in chosen}
        return [
            v.path
            for v in self._matrices()
            if v.trainable and id(v) not in chosen
            if not isinstance(self.owner[id(v)], DEPTHWISE)
            if _is_of_user(self.owner[id(v)]) or "kernel" in v.name
        ]


def _weight_of(layer, name):
    refuse_lora(layer)
    return getattr(layer, name)


def _is_of_user(layer):
    return type(layer).__module__.split(".")[0] != "keras"


def _warn_of_dense(paths):
    if paths:
        warnings.warn(
            "These weights stay dense, because their layers are unknown: "
            f"{paths}. To prune them, name them in `policy` by path or as "
            '("layer", "weight").',
            UserWarning,
            stacklevel=4,
        )
