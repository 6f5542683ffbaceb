"""Equal ranges of the channels of layers that follow one another."""

import keras
import numpy as np
from keras import layers

from tf_deepinversion.core.keras_internals import layers_of
from tf_deepinversion.networks.copies import copy_of
from tf_deepinversion.quantization.layers.channel_pairs import factors_of
from tf_deepinversion.quantization.layers.channel_pairs import pairs_of
from tf_deepinversion.quantization.layers.layer_graph import require_graph


def equalize(model, iterations=50, *, replace_relu6=False) -> keras.Model:
    """Equalizes the ranges of a network's channels, and keeps its outputs.

    ReLU lets a positive factor through. So channel i of a layer may be divided
    by s_i, if the kernel of the layer that alone reads the channel is
    multiplied with s_i. With `s_i = sqrt(r_i / q_i)`, for the ranges r_i and
    q_i of both kernels, each folded with its BatchNormalization, the ranges
    become equal. A single scale of 8 bits then serves all channels.

    A pair is a `Conv2D`, `DepthwiseConv2D` or `Dense`; then a
    BatchNormalization with `scale`, or none; then ReLU without a largest value,
    LeakyReLU, pooling or padding of images, or dropout; and the next `Conv2D`,
    `DepthwiseConv2D` or `Dense`, which alone reads the channels. All else stays
    as it is: residual additions, operators, layers that are called twice, and
    ReLU6, unless `replace_relu6` replaces it by ReLU as the paper does.

    Args:
        model: A built functional or sequential `keras.Model`. It stays
            unchanged.
        iterations: Int, the largest number of passes over all pairs. Defaults
            to 50; a pass that changes nothing is the last.
        replace_relu6: Bool, whether ReLU replaces each ReLU6 first. This
            changes the outputs in float where a channel exceeds 6: measure the
            accuracy before. Defaults to False.

    Returns:
        A copy of the model with other weights and equal outputs; equal to
        those of the network with ReLU if `replace_relu6`.

    Raises:
        ValueError: if the model has no graph of layers, or no such pair.

    Reference:
        https://arxiv.org/abs/1906.04721, section 4.1.

    Example:
        >>> equal = di.quantization.equalize(teacher)
        >>> bool(np.allclose(equal(images), teacher(images), atol=1e-3))
        True
    """
    require_graph(model)
    equal = copy_of(model)
    if replace_relu6:
        _replace_relu6(equal)
    pairs = pairs_of(equal)
    if not pairs:
        raise ValueError(
            "Expected a convolution or dense layer, ReLU, and a convolution or "
            "dense layer that alone reads its channels; ReLU6 would not let "
            "the scales through unless `replace_relu6` replaces it by ReLU. "
            f"Received: {model.name!r} without such a pair"
        )
    for _ in range(iterations):
        if max(_equalize(pair) for pair in pairs) < 1e-4:
            break
    return equal


def _replace_relu6(model):
    for layer in layers_of(model, include_self=False):
        if isinstance(layer, layers.ReLU) and layer.max_value == 6:
            layer.max_value = None
        if getattr(layer, "activation", None) is keras.activations.relu6:
            layer.activation = keras.activations.relu


def _equalize(pair) -> float:
    """Equalizes a pair; returns the largest relative change of a weight."""
    made = _ranges(pair.first, factors_of(pair.first_norm), makes=True)
    read = _ranges(pair.second, factors_of(pair.second_norm), makes=False)
    # A channel without weights keeps its scale.
    some = (made > 0) & (read > 0)
    scale = np.sqrt(np.where(some, made, 1) / np.where(some, read, 1))
    if pair.first_norm:
        _multiply(pair.first_norm.gamma, 1 / scale)
        if pair.first_norm.center:
            _multiply(pair.first_norm.beta, 1 / scale)
    else:
        axis = _axis(pair.first, makes=True)
        _multiply(pair.first.kernel, _along(1 / scale, axis))
        if pair.first.use_bias:
            _multiply(pair.first.bias, 1 / scale)
    axis = _axis(pair.second, makes=False)
    _multiply(pair.second.kernel, _along(scale, axis))
    return float(np.abs(scale - 1).max())


def _axis(layer, makes):
    """Returns the axis of a kernel's outputs or inputs, from the end."""
    depthwise = isinstance(layer, layers.DepthwiseConv2D)
    return -1 if makes and not depthwise else -2


def _along(scale, axis):
    return scale if axis == -1 else scale[:, np.newaxis]


def _ranges(layer, factors, makes):
    """Returns the largest weight of each channel of a folded kernel."""
    kernel = np.asarray(layer.kernel, "float64")
    outputs = _axis(layer, makes=True)
    factors = np.broadcast_to(factors, kernel.shape[outputs])
    folded = np.abs(kernel * _along(factors, outputs))
    axis = _axis(layer, makes) % kernel.ndim
    return folded.max(tuple(i for i in range(kernel.ndim) if i != axis))


def _multiply(variable, factors):
    product = np.asarray(variable, "float64") * factors
    variable.assign(product.astype("float32"))
