"""Kernels on a grid of whole numbers, one scale for each output channel."""

from keras import layers
from keras import ops

KINDS = (layers.Conv2D, layers.DepthwiseConv2D, layers.Dense)


def has_kernel(layer) -> bool:
    """Tells whether a layer is a convolution or dense layer of Keras.

    `Conv2DTranspose`, layers with another `call`, with images whose channels
    come first, with low-rank updates, or quantized by Keras are none.
    """
    kinds = [kind for kind in KINDS if isinstance(layer, kind)]
    return (
        bool(kinds)
        and type(layer).call is kinds[0].call
        and getattr(layer, "data_format", None) != "channels_first"
        and not layer.quantization_mode
        and not getattr(layer, "lora_enabled", False)
    )


def has_two_kernels(layer) -> bool:
    """Tells whether a layer is a `SeparableConv2D` of Keras.

    The converter makes it a depthwise convolution and one of size 1.
    """
    return (
        isinstance(layer, layers.SeparableConv2D)
        and type(layer).call is layers.SeparableConv2D.call
        and layer.data_format != "channels_first"
    )


def is_depthwise(layer) -> bool:
    """Tells whether each output of a layer reads a single input channel."""
    return isinstance(layer, layers.DepthwiseConv2D)


def linear(layer, inputs, kernel, bias=None):
    """Computes a layer with another kernel and bias, without activation.

    Args:
        layer: A layer that `has_kernel`.
        inputs: Float tensor.
        kernel: Float tensor in the kernel's shape.
        bias: Float tensor `(outputs,)`, or None for none.
    """
    if isinstance(layer, layers.Dense) and len(inputs.shape) == 4:
        # Of a matrix product of images, LiteRT's converter leaves the bias
        # outside.
        outputs = ops.conv(
            inputs, kernel[None, None], data_format="channels_last"
        )
    elif isinstance(layer, layers.Dense):
        outputs = ops.matmul(inputs, kernel)
    else:
        convolution = ops.depthwise_conv if is_depthwise(layer) else ops.conv
        outputs = convolution(
            inputs,
            kernel,
            strides=layer.strides,
            padding=layer.padding,
            data_format=layer.data_format,
            dilation_rate=layer.dilation_rate,
        )
    return outputs if bias is None else outputs + bias


def largest(kernel, depthwise):
    """Returns the largest absolute weight of each output channel.

    Args:
        kernel: Float array or tensor, a kernel.
        depthwise: Bool, whether the last two axes number the outputs, as in a
            depthwise kernel, or the last axis alone.

    Returns:
        A tensor with axes of length 1 in place of those that are reduced.
    """
    outputs = 2 if depthwise else 1
    axes = tuple(range(len(kernel.shape) - outputs))
    return ops.max(ops.abs(kernel), axes, keepdims=True)


def on_grid(kernel, bits, depthwise):
    """Rounds a kernel to whole multiples of one scale per output channel.

    With n bits the multiples reach from -q to q, `q = 2^(n - 1) - 1`, and the
    largest weight of each channel is the multiple q or -q. The rounding lets
    gradients through unchanged (the straight-through estimator).

    A BatchNormalization behind multiplies kernel and scale of a channel alike:
    rounding before and after it is joined with the kernel gives the same.

    Args:
        kernel: Float array or tensor, a kernel.
        bits: Int, the bits of a weight.
        depthwise: Bool, see `largest`.

    Returns:
        A tensor in the kernel's shape.

    Reference:
        https://arxiv.org/abs/1806.08342, section 2.

    >>> on_grid(np.float32([[3.5], [-7.0]]), bits=4, depthwise=False).numpy()
    array([[ 4.], [-7.]], dtype=float32)
    """
    kernel = ops.convert_to_tensor(kernel)
    scale = largest(kernel, depthwise) / (2 ** (bits - 1) - 1)
    scale = ops.where(scale > 0, scale, 1.0)
    rounded = ops.round(kernel / scale) * scale
    return kernel + ops.stop_gradient(rounded - kernel)
