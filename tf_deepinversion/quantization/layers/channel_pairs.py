"""Finds pairs of layers whose channels may be scaled against each other."""

import typing

import keras
import numpy as np
from keras import layers

from tf_deepinversion.quantization.layers.kernels import has_kernel
from tf_deepinversion.quantization.layers.layer_graph import LayerGraph
from tf_deepinversion.quantization.layers.layer_graph import is_linear

# What computes f(s x) = s f(x) of each channel by itself, for s > 0.
_HOMOGENEOUS = (
    layers.LeakyReLU,
    layers.MaxPooling2D,
    layers.AveragePooling2D,
    layers.GlobalMaxPooling2D,
    layers.GlobalAveragePooling2D,
    layers.ZeroPadding2D,
    layers.Cropping2D,
    layers.UpSampling2D,
    layers.Dropout,
    layers.SpatialDropout2D,
    layers.Identity,
)


class Pair(typing.NamedTuple):
    """A layer that makes channels, and the layer that alone reads them.

    `first_norm` and `second_norm` are the BatchNormalizations that follow the
    two layers directly, or None.
    """

    first: keras.layers.Layer
    first_norm: keras.layers.Layer | None
    second: keras.layers.Layer
    second_norm: keras.layers.Layer | None


def pairs_of(model) -> list[Pair]:
    """Lists the pairs of a functional or sequential model, inputs first."""
    graph = LayerGraph(model)
    pairs = [
        _pair(node, graph)
        for node in graph.nodes
        if graph.called_once(node.operation) and _has_channels(node.operation)
    ]
    return [pair for pair in pairs if pair]


def _pair(node, graph):
    first, first_norm = node.operation, graph.norm_behind(node)
    following = graph.only_reader(node)
    if first_norm:
        following = graph.only_reader(following)
    while following is not None and _homogeneous(following.operation):
        following = graph.only_reader(following)
    second = following and following.operation
    passes = first_norm or _positive(first)
    if not (passes and second and _has_channels(second)):
        return None
    if first_norm and not first_norm.scale:
        return None  # no weight that could take the scale
    return Pair(first, first_norm, second, graph.norm_behind(following))


def _has_channels(layer):
    """Whether each kernel's inputs and outputs are channels one by one."""
    if not has_kernel(layer):
        return False
    if isinstance(layer, layers.DepthwiseConv2D):
        return layer.depth_multiplier == 1
    return isinstance(layer, layers.Dense) or layer.groups == 1


def _homogeneous(operation):
    if isinstance(operation, layers.ReLU):
        return operation.max_value is None and not operation.threshold
    if isinstance(operation, layers.Activation):
        return _positive(operation)
    # Channels that come first would be places to the layers around.
    first = getattr(operation, "data_format", None) == "channels_first"
    return isinstance(operation, _HOMOGENEOUS) and not first


def _positive(layer):
    """Whether the activation of a layer lets a positive factor through."""
    return is_linear(layer) or layer.activation is keras.activations.relu


def factors_of(norm) -> np.ndarray | float:
    """Returns what a BatchNormalization multiplies each channel with."""
    if norm is None:
        return 1.0
    variance = np.asarray(norm.moving_variance).astype("float32")
    deviations = np.sqrt(variance + np.float32(norm.epsilon))
    gamma = np.asarray(norm.gamma).astype("float32") if norm.scale else 1.0
    return gamma / deviations
