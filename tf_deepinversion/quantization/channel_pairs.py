"""Finds pairs of layers whose channels may be scaled against each other."""

import collections
import typing

import keras
import numpy as np
from keras import layers

from tf_deepinversion.core.keras_internals import functional_of
from tf_deepinversion.core.keras_internals import nodes_of
from tf_deepinversion.networks.copies import is_graph

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
_NORMALIZED = (layers.Conv2D, layers.DepthwiseConv2D, layers.Dense)


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
    nodes = _nodes(functional_of(model))
    calls = collections.Counter(id(n.operation) for n in nodes)
    readers = collections.defaultdict(list)
    for node in nodes:
        for tensor in node.input_tensors:
            readers[id(tensor)].append(node)
    for graph in _graphs(model):
        for tensor in functional_of(graph).outputs:
            readers[id(tensor)].append(None)  # seen from outside

    def next_of(node):
        """Returns the only call that reads a call's only output, or None."""
        if node is None or len(node.outputs) != 1:
            return None
        found = readers[id(node.outputs[0])]
        once = len(found) == 1 and found[0] is not None
        return found[0] if once and calls[id(found[0].operation)] == 1 else None

    pairs = []
    for node in nodes:
        if calls[id(node.operation)] == 1 and _has_channels(node.operation):
            pair = _pair(node, next_of)
            pairs += [pair] * (pair is not None)
    return pairs


def _pair(node, next_of):
    first, following = node.operation, next_of(node)
    first_norm = _norm(first, following)
    if first_norm:
        following = next_of(following)
    while following is not None and _homogeneous(following.operation):
        following = next_of(following)
    second = following and following.operation
    linear = _linear(first) if first_norm else _positive(first)
    if not (linear and second and _has_channels(second)):
        return None
    if first_norm and not first_norm.scale:
        return None  # no weight that could take the scale
    # Only a linear layer is one with the BatchNormalization behind.
    behind = _norm(second, next_of(following)) if _linear(second) else None
    return Pair(first, first_norm, second, behind)


def _nodes(model):
    found = []
    for node in nodes_of(model):
        found.append(node)
        if is_graph(node.operation):
            found += _nodes(functional_of(node.operation))
    return found


def _graphs(model):
    inner = [n.operation for n in _nodes(functional_of(model))]
    return [model, *filter(is_graph, inner)]


def _has_channels(layer):
    if isinstance(layer, layers.DepthwiseConv2D):
        known = layer.depth_multiplier == 1
    elif isinstance(layer, layers.Conv2D):
        # Conv2DTranspose, which is none of these, has other axes.
        known = layer.groups == 1
    else:
        known = isinstance(layer, layers.Dense)
    channels_first = getattr(layer, "data_format", None) == "channels_first"
    return known and not channels_first and not layer.quantization_mode


def _norm(layer, following):
    """Returns the BatchNormalization that follows a layer, or None."""
    found = following and following.operation
    if not isinstance(found, layers.BatchNormalization):
        return None
    rank = len(following.input_tensors[0].shape)
    last = found.axis in (-1, rank - 1)
    return found if last and isinstance(layer, _NORMALIZED) else None


def _homogeneous(operation):
    if isinstance(operation, layers.ReLU):
        return operation.max_value is None and not operation.threshold
    if isinstance(operation, layers.Activation):
        return _positive(operation)
    return isinstance(operation, _HOMOGENEOUS)


def _linear(layer):
    return layer.activation is keras.activations.linear


def _positive(layer):
    """Whether the activation of a layer lets a positive factor through."""
    return _linear(layer) or layer.activation is keras.activations.relu


def factors_of(norm) -> np.ndarray | float:
    """Returns what a BatchNormalization multiplies each channel with."""
    if norm is None:
        return 1.0
    deviations = np.sqrt(np.asarray(norm.moving_variance) + norm.epsilon)
    return (np.asarray(norm.gamma) if norm.scale else 1.0) / deviations
