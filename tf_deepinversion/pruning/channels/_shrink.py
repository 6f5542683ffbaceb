"""Builds the smaller network from a network and the remaining channels."""

import warnings

import keras
import numpy as np
from keras import layers

from tf_deepinversion.networks.copies import copy_of
from tf_deepinversion.networks.copies import twin_of
from tf_deepinversion.pruning.channels import layer_rules
from tf_deepinversion.pruning.channels import operators
from tf_deepinversion.pruning.channels.functional import functional
from tf_deepinversion.pruning.channels.graph import ChannelGraph


def shrink(model, keep=None):
    """Removes channels from a model: the result is a plain, smaller model.

    Args:
        model: A functional or sequential `keras.Model`. It stays unchanged.
        keep: Bool array, the channels of `ChannelGraph(model)` that stay. By
            default `shrink` removes only channels that are zero or unread, such
            as those of `mask_channels`; the outputs then stay the same.

    Returns:
        A functional `keras.Model` with the same names of layers, not compiled.

    Raises:
        TypeError: if the model is subclassed.
        ValueError: if pruning does not know how a layer mixes channels, a group
            of channels would vanish, or `keep` is given and all channels of the
            model must stay.

    Example:
        >>> graph = di.pruning.ChannelGraph(teacher)
        >>> keep = np.array([True, False, True, True])
        >>> smaller = di.pruning.shrink(teacher, keep)
        >>> smaller.count_params() < teacher.count_params()
        True
    """
    graph = ChannelGraph(model)
    keep = _all_but_dead(graph) if keep is None else graph.check_keep(keep)
    widths = {
        layer: int(graph.kept(channels, keep).sum())
        for layer, channels in graph.outputs.items()
    }
    for call in graph.calls:
        # A `Reshape` names its last size, so it needs the new number of
        # channels.
        if call.kind == "reshape":
            widths[call.layer] = int(graph.kept(call.channels, keep).sum())
    # Layers without channels are copied unchanged.
    with_channels = {axis.layer for axis in graph.axes}
    twins = {}

    def changed(layer):
        config = {}
        if layer_rules.makes(layer):
            config = layer_rules.width(layer, widths[layer])
        elif isinstance(layer, layers.Reshape) and layer in widths:
            # A last size of -1 adapts by itself.
            *lead, last = layer.target_shape
            if last != -1:
                config["target_shape"] = (*lead, widths[layer])
        if config or layer in with_channels:
            twins[layer] = twin_of(layer, **config)
        return twins.get(layer)

    def input_shape(_, tensor):
        if id(tensor) not in graph.inputs:
            return tensor.shape
        # An input of a nested model may lose channels, too.
        stay = graph.kept(graph.inputs[id(tensor)], keep)
        return (*tensor.shape[:-1], int(stay.sum()))

    smaller = copy_of(functional(model), changed, input_shape)
    smaller.name = model.name
    _copy_weights(graph, keep, twins)
    return smaller


def _copy_weights(graph, keep, twins):
    axes = {}
    for axis in graph.axes:
        variable = getattr(axis.layer, axis.name)
        axes.setdefault(id(variable), []).append(axis)
    for layer, twin in twins.items():
        # `np.compress` keeps the remaining channels along each axis of
        # channels.
        for old, new in zip(layer.weights, twin.weights, strict=True):
            value = keras.ops.convert_to_numpy(old)
            for axis in axes.get(id(old), ()):
                stays = graph.kept(axis.channels, keep)
                value = np.compress(stays, value, axis=axis.axis)
            new.assign(value)


def mask_channels(model, keep):
    """Sets all weights of removed channels to zero; the model keeps its size.

    Layers then output zero for these channels, also after BatchNormalization
    with a scale, and following layers ignore them.

    Args:
        model: As for `shrink`. The function changes the model.
        keep: As for `shrink`.

    Returns:
        The model.

    Raises:
        TypeError: as for `shrink`.
        ValueError: as for `shrink`.

    Example:
        >>> model = di.networks.copy_of(teacher)
        >>> keep = np.array([True, False, True, True])
        >>> model = di.pruning.mask_channels(model, keep)
        >>> dead = di.pruning.dead_channels(di.pruning.ChannelGraph(model))
        >>> dead.tolist()
        [False, True, False, False]
    """
    graph = ChannelGraph(model)
    keep = graph.check_keep(keep)
    for axis in graph.axes:
        if axis.name.startswith("moving_"):
            continue  # a moving variance of 0 would scale up its channel
        variable = getattr(axis.layer, axis.name)
        shape = [1] * len(variable.shape)
        shape[axis.axis] = -1
        stays = graph.kept(axis.channels, keep).reshape(shape)
        variable.assign(keras.ops.convert_to_numpy(variable) * stays)
    return model


def _all_but_dead(graph):
    keep = ~dead_channels(graph)
    left = np.bincount(graph.groups[keep], minlength=len(set(graph.groups)))
    for group in np.flatnonzero(left == 0):
        # A group without channels would cut the network.
        names = ", ".join(layer.name for layer in graph.makers(group))
        warnings.warn(
            f"All channels of {names} are zero or unread: one channel stays.",
            stacklevel=3,
        )
        keep[np.flatnonzero(graph.groups == group)[0]] = True
    return keep


def dead_channels(graph) -> np.ndarray:
    """Finds channels without effect: all their readers get or make zero.

    Args:
        graph: A `ChannelGraph`.

    Returns:
        A bool array `(graph.count,)`.

    Example:
        >>> graph = di.pruning.ChannelGraph(teacher)
        >>> di.pruning.dead_channels(graph).any()
        np.False_
    """
    # The last place of `alive` collects the fixed channels, whose number is -1.
    zero, alive = {}, np.zeros(graph.count + 1, bool)
    channels = {}
    for call in graph.calls:
        inputs = [zero[x] for x in call.inputs]
        zero[call.output] = np.zeros(len(call.channels), bool)
        if call.kind is not None:
            zero[call.output] = _zeros(call, inputs)
        channels[call.output] = call.channels
        if layer_rules.makes(call.layer):
            read = ~(_ignored(call.layer) | inputs[0])
            alive[channels[call.inputs[0]][read]] = True
    return ~alive[:-1]


def _nonzero(layer):
    """Tells which outputs depend on which inputs: `(inputs, outputs)`."""
    if layer_rules.kind_of(layer) == "separable":
        depthwise = (
            keras.ops.convert_to_numpy(layer.depthwise_kernel) != 0
        ).any((*_lead(layer),))
        pointwise = (
            keras.ops.convert_to_numpy(layer.pointwise_kernel) != 0
        ).any((*_lead(layer),))
        # A path leads through an inner channel if both kernels are nonzero.
        inner = depthwise.reshape(-1, 1) & pointwise
        return inner.reshape(*depthwise.shape, -1).any(1)
    kernel = keras.ops.convert_to_numpy(layer.kernel) != 0
    kernel = kernel.any(tuple(range(kernel.ndim - 2)))
    return kernel.T if layer_rules.is_transposed(layer) else kernel


def _lead(layer):
    return range(len(layer.pointwise_kernel.shape) - 2)


def _ignored(layer):
    return ~_nonzero(layer).any(1)


def _keeps_zero(call):
    """Tells whether a call maps zero to zero."""
    layer = call.layer
    if not isinstance(layer, layers.Layer):
        (tensor,) = call.node.arguments.keras_tensors
        function = operators.applied(call.node)
        return operators.gives_zero(function, len(tensor.shape))
    if layer_rules.mixes(layer, len(call.channels)):
        return False
    if isinstance(layer, layers.Rescaling):
        return not np.any(layer.offset)
    if isinstance(layer, (layers.ELU, layers.LeakyReLU, layers.ReLU)):
        return operators.gives_zero(layer)
    function = getattr(layer, "activation", None)
    return function is None or operators.gives_zero(function)


def _zeros(call, inputs):
    """Finds the channels of a call's output that are zero for every image."""
    layer, kind, n = call.layer, call.kind, len(call.channels)
    if kind == "same":
        return inputs[0]
    if kind == "whole":
        return np.zeros(n, bool)
    if layer_rules.makes(layer):
        # An output is zero if all its inputs are zero or have zero weights, it
        # has no bias, and the activation keeps zero.
        fed = _nonzero(layer)[~inputs[0]].any(0)
        return ~fed & _no_bias(layer) & _keeps_zero(call)
    if kind == "depthwise":
        kernel = keras.ops.convert_to_numpy(layer.kernel) != 0
        kernel = kernel.any(tuple(range(kernel.ndim - 2)))
        fed = kernel & ~inputs[0][:, None]
        return ~fed.reshape(-1) & _no_bias(layer) & _keeps_zero(call)
    if kind in ("merge", "concatenate"):
        return _merged_zeros(call, inputs, n)
    if kind == "reshape":
        if n < len(inputs[0]):  # a channel, zero if it is so at each place
            return inputs[0].reshape(-1, n).all(0)
        return np.resize(inputs[0], n)
    if isinstance(layer, layers.BatchNormalization):
        return _normalized_zeros(layer, inputs[0])
    return inputs[0] & _keeps_zero(call)


def _no_bias(layer):
    return (
        True
        if layer.bias is None
        else keras.ops.convert_to_numpy(layer.bias) == 0
    )


def _merged_zeros(call, inputs, n):
    if call.kind == "concatenate" and sum(map(len, inputs)) == n:
        return np.concatenate(inputs)
    stacked = np.stack([np.broadcast_to(x, (n,)) for x in inputs])
    # A product is zero if one factor is zero, other merges only if all inputs
    # are.
    product = type(call.layer).__name__ == "Multiply"
    return stacked.any(0) if product else stacked.all(0)


def _normalized_zeros(layer, zero):
    """Tells where gamma (x - mean) / sqrt(variance + epsilon) + beta is 0."""
    mean = keras.ops.convert_to_numpy(layer.moving_mean)
    scaled_away = zero & (mean == 0)
    if layer.gamma is not None:
        scaled_away |= keras.ops.convert_to_numpy(layer.gamma) == 0
    if layer.beta is not None:
        scaled_away &= keras.ops.convert_to_numpy(layer.beta) == 0
    return scaled_away
