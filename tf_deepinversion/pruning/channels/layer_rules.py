"""The effect of each kind of layer on channels, and the axes of its weights."""

import keras
from keras import layers

from tf_deepinversion.networks.refuse_lora import refuse_lora
from tf_deepinversion.pruning.channels import operators

# Layers that compute each output channel from the same input channel alone.
ELEMENTWISE = (
    layers.Activation,
    layers.ActivityRegularization,
    layers.AlphaDropout,
    layers.AveragePooling1D,
    layers.AveragePooling2D,
    layers.BatchNormalization,
    layers.Cropping1D,
    layers.Cropping2D,
    layers.Dropout,
    layers.ELU,
    layers.GaussianDropout,
    layers.GaussianNoise,
    layers.GlobalAveragePooling1D,
    layers.GlobalAveragePooling2D,
    layers.GlobalMaxPooling1D,
    layers.GlobalMaxPooling2D,
    layers.Identity,
    layers.LeakyReLU,
    layers.MaxPooling1D,
    layers.MaxPooling2D,
    layers.PReLU,
    layers.ReLU,
    layers.Rescaling,
    layers.Softmax,
    layers.SpatialDropout1D,
    layers.SpatialDropout2D,
    layers.UpSampling1D,
    layers.UpSampling2D,
    layers.ZeroPadding1D,
    layers.ZeroPadding2D,
)


# Layers that combine several tensors channel by channel.
MERGES = (
    layers.Add,
    layers.Average,
    layers.Maximum,
    layers.Minimum,
    layers.Multiply,
    layers.Subtract,
)


SEPARABLE = (layers.SeparableConv1D, layers.SeparableConv2D)


DEPTHWISE = (layers.DepthwiseConv1D, layers.DepthwiseConv2D)


TRANSPOSED = (layers.Conv1DTranspose, layers.Conv2DTranspose)


# Layers whose kernel turns all input channels into new channels.
KERNELS = (layers.Dense, layers.Conv1D, layers.Conv2D, *TRANSPOSED)


# Layers of which each output depends on many channels, so that all channels of
# their inputs and outputs stay.
NORMALIZATIONS = (
    layers.GroupNormalization,
    layers.LayerNormalization,
    layers.UnitNormalization,
    *(
        getattr(layers, name)
        for name in ("RMSNormalization",)  # not in every Keras 3
        if hasattr(layers, name)
    ),
)


PROJECTIONS = (
    layers.EinsumDense,
    layers.GroupQueryAttention,
    layers.MultiHeadAttention,
)


# Layers of `keras.applications` that have no public class.
PRIVATE = {"LayerScale": "whole", "StochasticDepth": "elementwise"}


# Layers whose latency a table holds.
MEASURED = (*KERNELS, *SEPARABLE, *DEPTHWISE)


# Layers whose FLOPs count.
MULTIPLYING = (*PROJECTIONS, *MEASURED)


KINDS = {
    "whole": (*NORMALIZATIONS, *PROJECTIONS),
    "separable": SEPARABLE,
    "depthwise": DEPTHWISE,
    "kernel": KERNELS,
    "merge": MERGES,
    "concatenate": (layers.Concatenate,),
    "reshape": (layers.Flatten, layers.Reshape),
    "elementwise": ELEMENTWISE,
}


# Keras's activations that act on each number alone. The others read several
# channels.
ACTIVATIONS = [
    getattr(keras.activations, name)
    for name in dir(keras.activations)
    if not name.startswith("_")
    and name not in ("deserialize", "get", "serialize")
    and name not in ("glu", "log_softmax", "softmax", "sparsemax")
]


# The weights of a BatchNormalization, one value per channel.
BATCH_NORM = ("gamma", "beta", "moving_mean", "moving_variance")


def kind_of(layer) -> str | None:
    """Returns the effect of a layer on channels, or None if it is unknown.

    The effect of a subclass is unknown, because it may compute anything.
    """
    if type(layer) in KERNELS and getattr(layer, "groups", 1) != 1:
        return "whole"
    for kind, types in KINDS.items():
        if type(layer) in types:
            return kind
    return PRIVATE.get(operators.name_of(layer))


def check(layer, kind, rank):
    """Refuses a layer whose effect on channels pruning does not know.

    Args:
        layer: A layer, or another operation of Keras.
        kind: The result of `kind_of`.
        rank: Int, rank of the layer's input.

    Raises:
        ValueError: for such a layer, with its name and the reason.
    """
    refuse_lora(layer)
    # Each reason is a property that mixes channels, or that `shrink` cannot
    # change.
    reason = None
    if isinstance(layer, keras.Model):
        reason = "it is a model with a `call` of its own"
    elif kind is None and not isinstance(layer, layers.Layer):
        raise ValueError(
            f"Channels cannot be followed through {layer.name!r} "
            f"({type(layer).__name__}): it is an operator that may mix them. "
            f"Write `{operators.layer_instead(layer)}` in its place, or prune "
            "weights with `prune_low_magnitude`."
        )
    elif kind is None:
        reason = "it may mix channels"
    elif getattr(layer, "data_format", None) == "channels_first":
        reason = "its channels come first"
    elif getattr(layer, "quantization_mode", None):
        reason = "it is quantized"
    elif isinstance(layer, layers.BatchNormalization) and layer.renorm:
        reason = "its statistics are renormalized"
    elif isinstance(layer, layers.BatchNormalization) and (
        layer.axis not in (-1, rank - 1)
    ):
        reason = "it normalizes another axis"
    elif isinstance(layer, layers.Dropout) and (
        layer.noise_shape and layer.noise_shape[-1] not in (1, None)
    ):
        reason = "its noise is of a fixed number of channels"
    elif isinstance(layer, layers.PReLU) and len(layer.alpha.shape) > 1:
        if any(n != 1 for n in layer.alpha.shape[:-1]):
            reason = "it has parameters for each place"
    elif isinstance(layer, layers.Rescaling) and _has_vectors(layer):
        reason = "it scales each channel by a constant"
    if reason:
        raise ValueError(
            f"Channels cannot be followed through {layer.name!r} "
            f"({type(layer).__name__}): {reason}. Rebuild the model without "
            "it, or prune weights with `prune_low_magnitude`."
        )


def _has_vectors(layer):
    return any(getattr(v, "__len__", None) for v in (layer.scale, layer.offset))


def mixes(layer, width) -> bool:
    """Tells whether an activation mixes channels, so that all must stay.

    Args:
        layer: A layer of a known kind.
        width: Int, number of channels of the activation's input.
    """
    if isinstance(layer, layers.Softmax):
        return True
    function = getattr(layer, "activation", None)
    if function is None or function in ACTIVATIONS:
        return False
    return not operators.is_elementwise(function, width)


def makes(layer) -> bool:
    """Tells whether a layer creates new channels."""
    return kind_of(layer) in ("kernel", "separable")


def reads(layer, role) -> bool:
    """Tells whether an axis holds inputs of a kernel that makes channels."""
    return makes(layer) and role in ("in", "inner")


def is_transposed(layer) -> bool:
    return type(layer) in TRANSPOSED


def width_of(layer) -> int:
    """Returns the number of channels that a layer makes."""
    return layer.units if isinstance(layer, layers.Dense) else layer.filters


def width(layer, count) -> dict:
    """Returns the config entry with the number of channels of a layer."""
    name = "units" if isinstance(layer, layers.Dense) else "filters"
    return {name: int(count)}


def axes_of(layer) -> list[tuple[str, int, str]]:
    """Lists the axes of a layer's weights that are channels.

    Returns:
        A list of triples: the weight's attribute, the axis, and `"in"`, `"out"`
        or `"inner"`. Inner channels lie between the two kernels of a separable
        convolution.
    """
    kind, axes = kind_of(layer), []
    if type(layer) is layers.BatchNormalization:
        axes = [(name, -1, "in") for name in BATCH_NORM]
    elif type(layer) is layers.PReLU:
        axes = [("alpha", -1, "in")]
    elif type(layer) in TRANSPOSED:
        # Keras stores these kernels with outputs before inputs.
        axes = [
            ("kernel", -1, "in"),
            ("kernel", -2, "out"),
            ("bias", -1, "out"),
        ]
    elif kind == "kernel":
        axes = [
            ("kernel", -2, "in"),
            ("kernel", -1, "out"),
            ("bias", -1, "out"),
        ]
    elif kind == "depthwise":
        axes = [("kernel", -2, "in"), ("bias", -1, "out")]
    elif kind == "separable":
        axes = [
            ("depthwise_kernel", -2, "in"),
            ("pointwise_kernel", -2, "inner"),
            ("pointwise_kernel", -1, "out"),
            ("bias", -1, "out"),
        ]
    return [a for a in axes if getattr(layer, a[0], None) is not None]
