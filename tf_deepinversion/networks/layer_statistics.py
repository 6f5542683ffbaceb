"""Mean and variance of the features at one place of a network."""

import dataclasses

import keras
import numpy as np
from keras import layers

from tf_deepinversion.core.keras_internals import input_shape_of
from tf_deepinversion.core.keras_internals import layers_of
from tf_deepinversion.networks.batch_norm_moments import batch_norms
from tf_deepinversion.networks.batch_norm_moments import channels_axis
from tf_deepinversion.networks.batch_norm_moments import epsilon_of
from tf_deepinversion.networks.call_hooks import Call

# Normalizations that store no statistics of the training data.
STATELESS = (
    layers.GroupNormalization,
    layers.LayerNormalization,
    *(
        getattr(layers, name)
        for name in ("RMSNormalization",)  # not in every Keras 3
        if hasattr(layers, name)
    ),
)

CONVOLUTIONS = tuple(
    getattr(layers, name)
    for name in (
        "Conv1D",
        "Conv2D",
        "Conv1DTranspose",
        "Conv2DTranspose",
        "DepthwiseConv1D",
        "DepthwiseConv2D",
        "SeparableConv1D",
        "SeparableConv2D",
    )
)

KERNELS = (*CONVOLUTIONS, layers.Dense, layers.EinsumDense)

# Added to a variance, as a share of the layer's mean variance. Keras's
# BatchNormalization adds 0.001 to variances near 1.
EPSILON = 1e-3


@dataclasses.dataclass(frozen=True, eq=False)
class LayerStatistics:
    """Mean and variance of each channel of the features of one call.

    Terms read the attributes `axis`, `epsilon`, `moving_mean` and
    `moving_variance`, which a BatchNormalization has, too.

    Args:
        place: Int, the layer's position among all layers of the network.
        name: String, the layer's name.
        kind: String, the name of the layer's class.
        side: `"inputs"` or `"outputs"` of the layer.
        axis: Int, the axis of the channels.
        epsilon: Float, positive. Normalized distances add it to a variance.
        moving_mean: Float array `(channels,)`.
        moving_variance: Float array `(channels,)`.

    Example:
        >>> targets = di.FeatureTargets.from_weights(teacher)
        >>> targets.statistics[0].kind, targets.statistics[0].side
        ('BatchNormalization', 'inputs')
    """

    place: int
    name: str
    kind: str
    side: str
    axis: int
    epsilon: float
    moving_mean: np.ndarray
    moving_variance: np.ndarray

    @property
    def path(self) -> str:
        """The layer's name, for messages."""
        return self.name

    def call_of(self, call) -> Call:
        """Wraps the features of a layer's call as a call of this object."""
        return Call(self, features_of(call, self.side), call.outputs)


def features_of(call, side):
    """Returns the inputs or the outputs of a call."""
    return call.inputs if side == "inputs" else call.outputs


def is_batch_norm(layer) -> bool:
    """Tells whether a layer stores statistics of the training data."""
    return hasattr(layer, "moving_mean")


def is_normalization(layer) -> bool:
    """Tells whether a layer normalizes features, with statistics or without."""
    return is_batch_norm(layer) or isinstance(layer, STATELESS)


def normalizations(model) -> list:
    """Lists the normalizations of a network, at any depth."""
    stateless = [x for x in layers_of(model) if isinstance(x, STATELESS)]
    return [*batch_norms(model), *stateless]


def default_layers(model) -> list:
    """Lists a network's normalizations, or else its layers with kernels."""
    return normalizations(model) or [
        x for x in layers_of(model) if isinstance(x, KERNELS)
    ]


def side_of(layer) -> str:
    """Tells whether to measure a layer's inputs or its outputs."""
    return "inputs" if is_normalization(layer) else "outputs"


def axis_of(layer) -> int:
    """Returns the axis of the channels of a layer's features."""
    if getattr(layer, "data_format", None) == "channels_first":
        return 1
    # A normalization over several axes has its channels last.
    if is_normalization(layer) and np.size(getattr(layer, "axis", -1)) == 1:
        return channels_axis(layer)
    return -1


def as_rows(features, layer) -> np.ndarray:
    """Converts features to a float64 array `(values, channels)`.

    Args:
        features: Tensor.
        layer: The layer of the features.

    Raises:
        ValueError: if the layer has several outputs.
    """
    if isinstance(features, (tuple, list, dict)):
        raise ValueError(
            "Expected a layer with one tensor of features: leave out layers "
            f"with several. Received: {layer.name!r} ({type(layer).__name__}), "
            f"with {len(features)}"
        )
    array = keras.ops.convert_to_numpy(keras.ops.cast(features, "float32"))
    if keras.backend.standardize_dtype(features.dtype) == "float64":
        array = keras.ops.convert_to_numpy(features)
    array = np.moveaxis(array, axis_of(layer), -1).astype("float64")
    return array.reshape(-1, array.shape[-1])


def new_statistics(place, layer, side, mean, variance) -> LayerStatistics:
    """Makes the statistics of a layer.

    Args:
        place: Int, position among all layers.
        layer: The layer.
        side: `"inputs"` or `"outputs"`.
        mean: Array `(channels,)`.
        variance: Array `(channels,)`.
    """
    epsilon = EPSILON * float(np.mean(variance)) or EPSILON
    if is_batch_norm(layer):
        epsilon = float(epsilon_of(layer))
    return LayerStatistics(
        place,
        layer.name,
        type(layer).__name__,
        side,
        axis_of(layer),
        epsilon,
        np.asarray(mean, "float64"),
        np.asarray(variance, "float64"),
    )


def implied_statistics(place, layer) -> LayerStatistics:
    """Derives the statistics of a normalization from its weights.

    A BatchNormalization stores mean and variance of its inputs. Another
    normalization scales each image, or each token, to mean 0 and variance 1
    over its channels, multiplies by gamma and adds beta. If all channels are
    alike, the outputs have mean beta and variance gamma^2.

    Args:
        place: Int, position among all layers.
        layer: A normalization.
    """
    if is_batch_norm(layer):
        mean, variance = (
            keras.ops.convert_to_numpy(x)
            for x in (layer.moving_mean, layer.moving_variance)
        )
        return new_statistics(place, layer, "inputs", mean, variance)
    _require_channels(layer)
    gamma, beta = _scale_and_shift(layer)
    # Over several axes, a channel has a gamma and a beta for each place.
    mean = beta.mean(0)
    variance = (gamma**2).mean(0) + beta.var(0)
    return new_statistics(place, layer, "outputs", mean, variance)


def _require_channels(layer):
    """Refuses gamma and beta of places, which say nothing of a channel."""
    shape = input_shape_of(layer)
    if shape is None:
        return
    axes = {int(axis) % len(shape) for axis in np.ravel(layer.axis)}
    if len(axes) > 1 and len(shape) - 1 not in axes:
        raise ValueError(
            "A normalization over places alone has a gamma and a beta for each "
            "place, and none for a channel: take "
            "`FeatureTargets.measure(teacher, images)`. "
            f"Received: {layer.name!r} ({type(layer).__name__}) with "
            f"axis={layer.axis} and inputs of shape {shape}"
        )


def gamma_of(layer):
    """Returns the weight by which a normalization multiplies, or None."""
    gamma = getattr(layer, "gamma", None)
    if gamma is None and hasattr(getattr(layer, "scale", None), "shape"):
        return layer.scale  # the name in an RMSNormalization
    return gamma


def _scale_and_shift(layer):
    """Returns gamma and beta of a normalization, `(places, channels)` each."""
    scale = gamma_of(layer)
    shift = getattr(layer, "beta", None)
    known = scale if scale is not None else shift
    if known is None:
        raise ValueError(
            "A normalization without gamma and beta says nothing of its "
            "features: take `FeatureTargets.measure(teacher, images)`. "
            f"Received: {layer.name!r} ({type(layer).__name__})"
        )
    known = keras.ops.convert_to_numpy(known).astype("float64")
    given = {"scale": np.ones_like(known), "shift": np.zeros_like(known)}
    for name, weight in (("scale", scale), ("shift", shift)):
        if weight is not None:
            given[name] = keras.ops.convert_to_numpy(weight).astype("float64")
    channels = known.shape[-1]
    return [given[n].reshape(-1, channels) for n in ("scale", "shift")]
