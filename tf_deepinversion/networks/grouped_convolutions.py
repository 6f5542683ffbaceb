"""Grouped convolutions with Keras's results, many times faster on a CPU.

On a CPU, Keras has each grouped convolution compiled by XLA, which is slow
there: benchmarks/grouped_convolutions.py measures it. On other devices Keras's
own convolution runs: this code was never tried there.
"""

import contextlib

import keras
import tensorflow as tf

from tf_deepinversion.core.keras_internals import layers_of
from tf_deepinversion.networks.call_hooks import is_method_of
from tf_deepinversion.networks.call_hooks import replace
from tf_deepinversion.networks.on_cpu import on_cpu


@contextlib.contextmanager
def faster(model):
    """Within the context, grouped convolutions on a CPU are faster.

    Args:
        model: A built `keras.Model`.
    """
    layers = [x for x in layers_of(model) if _is_grouped(x)]
    with replace("convolution_op", [(x, _of_groups(x)) for x in layers]):
        yield


def _is_grouped(layer) -> bool:
    if not isinstance(layer, keras.layers.Conv2D) or layer.groups == 1:
        return False
    if not layer.built:  # a layer that no call reaches
        return False
    if not is_method_of(keras.layers.Conv2D, layer, "convolution_op"):
        return False
    # With LoRA, `kernel` is no variable but a sum.
    return on_cpu(layer.variables[0])


def _of_groups(layer):
    """Returns a function from inputs and kernel to the layer's convolution."""
    groups = layer.groups
    arguments = {
        "padding": layer.padding,
        "data_format": layer.data_format,
        "dilation_rate": layer.dilation_rate,
    }

    def depthwise(inputs, kernel):
        # Output channel o reads the input channel o // multiplier, in both.
        kernel = keras.ops.reshape(kernel, (*kernel.shape[:2], groups, -1))
        return keras.ops.depthwise_conv(
            inputs, kernel, layer.strides, **arguments
        )

    def each(inputs, kernel):
        channels = -1 if layer.data_format == "channels_last" else 1
        parts = zip(
            tf.split(inputs, groups, channels),
            tf.split(kernel, groups, -1),
            strict=True,
        )
        convolved = [
            keras.ops.conv(x, own, layer.strides, **arguments)
            for x, own in parts
        ]
        return tf.concat(convolved, channels)

    # TensorFlow's kernel for depthwise convolutions moves as far down as right.
    square = len(set(layer.strides)) == 1
    return depthwise if layer.kernel.shape[-2] == 1 and square else each
