"""What the layers of a network compute in a file of whole numbers."""

import keras
import numpy as np
from keras import layers

from tf_deepinversion.core.keras_internals import layers_of
from tf_deepinversion.networks.call_hooks import original
from tf_deepinversion.networks.call_hooks import replace
from tf_deepinversion.quantization.layers.channel_pairs import factors_of
from tf_deepinversion.quantization.layers.kernels import has_kernel
from tf_deepinversion.quantization.layers.kernels import has_two_kernels
from tf_deepinversion.quantization.layers.kernels import is_depthwise
from tf_deepinversion.quantization.layers.kernels import largest
from tf_deepinversion.quantization.layers.kernels import linear
from tf_deepinversion.quantization.layers.kernels import on_grid
from tf_deepinversion.quantization.training.ranges import Phase
from tf_deepinversion.quantization.training.ranges import rounded

# LiteRT fixes the ranges of these functions.
FIXED = {
    keras.activations.sigmoid: (0.0, 255 / 256),
    keras.activations.softmax: (0.0, 255 / 256),
    keras.activations.tanh: (-1.0, 127 / 128),
}
# LiteRT's operations compute these functions on the way to their output.
JOINED = (keras.activations.relu, keras.activations.relu6)


def activation_of(operation):
    """Returns the function of a layer that is an activation alone, or None."""
    if isinstance(operation, layers.Activation):
        return original(operation, "activation")
    if isinstance(operation, layers.Softmax):
        return keras.activations.softmax
    if isinstance(operation, layers.ReLU):
        plain = not (operation.negative_slope or operation.threshold)
        joined = {None: keras.activations.relu, 6.0: keras.activations.relu6}
        return joined.get(operation.max_value) if plain else None
    return None


def activated(function, call, x, phase):
    """Computes an activation with the roundings inside.

    Args:
        function: The activation, which tells what LiteRT computes.
        call: Function that computes the activation in Keras.
        x: Tensor.
        phase: A `Phase`.
    """
    if function is keras.activations.silu:
        gate = keras.ops.sigmoid(x)
        if phase is not Phase.MEASURE:
            gate = rounded(gate, *FIXED[keras.activations.sigmoid])
        return x * gate
    y = call(x)
    last = function is keras.activations.softmax
    # Training reads the inputs of a softmax; its output is for files alone.
    rounds = phase is Phase.FIXED if last else phase is not Phase.MEASURE
    return rounded(y, *FIXED[function]) if rounds and function in FIXED else y


def output_of(layer, bits):
    """Returns the function that computes a layer with a rounded kernel.

    Gradients reach the kernel unchanged.
    """

    def compute(x):
        kernel = on_grid(layer.kernel, bits, is_depthwise(layer))
        return linear(layer, x, kernel, layer.bias)

    return compute


def folded_output_of(layer, norm, bits, read=None):
    """Returns the same function, joined with the BatchNormalization behind.

    The rounded kernel and the bias are constants, as in a file. A file holds
    the bias in whole steps, a step of the inputs times a step of the weights.

    Args:
        layer: A layer that `has_kernel`.
        norm: The BatchNormalization behind, or None.
        bits: Int, the bits of a weight.
        read: The `Range` of the inputs, or None to leave the bias as it is.
    """
    depthwise = is_depthwise(layer)
    # A file has no other floats, whatever the precision of the network.
    kernel = np.asarray(layer.kernel).astype("float32")
    kernel = np.asarray(on_grid(kernel, bits, depthwise))
    bias = (
        None if layer.bias is None else np.asarray(layer.bias).astype("float32")
    )
    if norm is not None:
        kernel, bias = _folded(kernel, bias, norm, depthwise)
    if bias is not None and read is not None:
        low, high = read.ends
        step = np.ravel(largest(kernel, depthwise)) / (2 ** (bits - 1) - 1)
        step = np.where(step > 0, step, 1) * (high - low) / 255
        bias = (np.rint(bias / step) * step).astype("float32")

    def compute(x):
        held = [keras.ops.convert_to_tensor(kernel)]
        held += [] if bias is None else [keras.ops.convert_to_tensor(bias)]
        return linear(layer, x, *held)

    return compute


def rounded_kernels(model, bits):
    """Returns a context in which a model of any kind has rounded kernels."""

    def call_of(layer):
        compute = folded_output_of(layer, None, bits)
        return lambda x, *args, **kwargs: layer.activation(compute(x))

    found = []
    for layer in layers_of(model):
        if has_kernel(layer):
            found.append((layer, call_of(layer)))
        elif has_two_kernels(layer):
            found.append((layer, _separable_call_of(layer, bits)))
    return replace("call", found)


def _separable_call_of(layer, bits):
    def call(x, *args, **kwargs):
        outputs = keras.ops.separable_conv(
            x,
            on_grid(layer.depthwise_kernel, bits, depthwise=True),
            on_grid(layer.pointwise_kernel, bits, depthwise=False),
            strides=layer.strides,
            padding=layer.padding,
            data_format=layer.data_format,
            dilation_rate=layer.dilation_rate,
        )
        if layer.bias is not None:
            outputs = outputs + layer.bias
        return layer.activation(outputs)

    return call


def _folded(kernel, bias, norm, depthwise):
    factors = np.asarray(factors_of(norm), "float64")
    shift = (0.0 if bias is None else bias) - np.asarray(norm.moving_mean)
    bias = shift * factors + (np.asarray(norm.beta) if norm.center else 0.0)
    if depthwise:
        factors = factors.reshape(kernel.shape[2:])
    return (kernel * factors).astype("float32"), bias.astype("float32")
