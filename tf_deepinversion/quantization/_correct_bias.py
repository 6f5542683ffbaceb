"""Biases that make up for the rounding of weights."""

import keras
import numpy as np

from tf_deepinversion.core.pieces import pieces_of
from tf_deepinversion.networks.call_hooks import Call
from tf_deepinversion.networks.call_hooks import collect
from tf_deepinversion.networks.call_hooks import watch
from tf_deepinversion.networks.compute_policy import reading
from tf_deepinversion.networks.copies import copy_of
from tf_deepinversion.networks.preprocessing import Preprocessing
from tf_deepinversion.quantization.calibration import checked_images
from tf_deepinversion.quantization.layers.expected_inputs import expected_inputs
from tf_deepinversion.quantization.layers.kernels import has_kernel
from tf_deepinversion.quantization.layers.kernels import is_depthwise
from tf_deepinversion.quantization.layers.kernels import linear
from tf_deepinversion.quantization.layers.kernels import on_grid
from tf_deepinversion.quantization.layers.layer_graph import LayerGraph
from tf_deepinversion.quantization.scheme import ROUNDED_IN_DYNAMIC
from tf_deepinversion.quantization.scheme import weight_bits


def correct_bias(
    model, images=None, preprocessing=None, *, scheme="int8"
) -> keras.Model:
    """Shifts biases so that rounded weights keep the mean of each channel.

    Rounding changes a kernel by E, and the mean output by the sum of E times
    the mean input. The bias takes the opposite. BatchNormalization before a
    layer tells the mean input without data: its beta, or the mean of a clipped
    normal distribution behind ReLU. For other layers, images tell how far the
    mean output moves.

    Where a BatchNormalization follows a layer, the moving mean takes the shift,
    as after a training with rounded weights. So the copy fits rounded weights
    alone: in float, its outputs are worse than the model's.

    Args:
        model: A built functional or sequential `keras.Model`. It stays
            unchanged.
        images: uint8 images as for `quantize`, or None. Without images, layers
            behind no BatchNormalization keep their bias. Defaults to None.
        preprocessing: The model's `Preprocessing`, or None if the model is
            known by its name. Used with images only. Defaults to None.
        scheme: String, the scheme of `quantize`. Defaults to "int8".

    Returns:
        A copy of the model with other biases and moving means.

    Raises:
        ValueError: if the model has no graph of layers, if the scheme rounds no
            weights, or if the images do not fit.

    Reference:
        https://arxiv.org/abs/1906.04721, section 4.2.

    Example:
        >>> corrected = di.quantization.correct_bias(teacher, scheme="int4")
        >>> content = di.quantize(
        ...     corrected, images, scheme="int4", verbose=0
        ... )
    """
    bits = weight_bits(scheme)
    graph = LayerGraph(model)
    means = expected_inputs(graph)
    shifts, unknown = {}, []
    for node in graph.nodes:
        layer = node.operation
        if not (has_kernel(layer) and graph.called_once(layer)):
            continue
        if scheme == "dynamic" and np.size(layer.kernel) < ROUNDED_IN_DYNAMIC:
            continue
        if id(layer) in means:
            shifts[id(layer)] = _shift(layer, means[id(layer)], bits)
        else:
            unknown.append(layer)
    if images is not None and unknown:
        shifts |= _measured(model, images, preprocessing, unknown, bits)
    # The copy has the same nodes in the same order.
    corrected = copy_of(model)
    copied = LayerGraph(corrected)
    for node, twin in zip(graph.nodes, copied.nodes, strict=True):
        shift = shifts.get(id(node.operation))
        if shift is not None:
            _apply(twin.operation, copied.norm_behind(twin), shift)
    return corrected


def _error(layer, bits):
    """Returns what rounding adds to a kernel, in float32."""
    kernel = np.asarray(layer.kernel).astype("float32")
    return on_grid(kernel, bits, is_depthwise(layer)) - kernel


def _shift(layer, mean, bits) -> np.ndarray:
    """Returns the shift of each output's mean, for mean inputs."""
    error = np.asarray(_error(layer, bits), "float64")
    if is_depthwise(layer):
        return (error.sum((0, 1)) * mean[:, np.newaxis]).ravel()
    error = error.sum(tuple(range(error.ndim - 2)))
    groups = len(mean) // len(error)  # each reads its own part of the inputs
    pairs = zip(np.split(mean, groups), np.split(error, groups, 1), strict=True)
    return np.concatenate([part @ kernel for part, kernel in pairs])


def _measured(model, images, preprocessing, layers, bits) -> dict:
    """Returns the shift of each output's mean over images, by layer."""
    preprocessing = Preprocessing.of(model, preprocessing)
    errors = {id(layer): _error(layer, bits) for layer in layers}

    def read(layer, function, inputs, *args, **kwargs):
        moved = linear(layer, inputs, errors[id(layer)])
        axes = tuple(range(len(moved.shape) - 1))
        sums = keras.ops.mean(moved, axes)
        return Call(layer, None, function(inputs, *args, **kwargs), sums=sums)

    sums, count = {id(layer): 0.0 for layer in layers}, 0
    pixels = np.stack(list(checked_images(images, model)))
    float32 = keras.DTypePolicy("float32")
    with reading(model, float32), watch(layers, read=read):
        for batch in pieces_of(pixels, 100):
            with collect() as calls:
                model(preprocessing.fed(batch), training=False)
            for call in calls:
                sums[id(call.layer)] += len(batch) * np.asarray(call.sums)
            count += len(batch)
    return {key: total / count for key, total in sums.items()}


def _apply(layer, norm, shift):
    if norm is not None:
        variable, sign = norm.moving_mean, 1
    elif layer.use_bias:
        variable, sign = layer.bias, -1
    else:
        return  # no weight that could take the shift
    variable.assign(np.asarray(variable) + (sign * shift).astype("float32"))
