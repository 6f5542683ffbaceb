"""Layers that rescale, and ranges that black and white pixels determine."""

import keras
import numpy as np
from keras import layers

from tf_deepinversion.quantization.training.ranges import FixedRange
from tf_deepinversion.quantization.training.ranges import Phase

PIXELS = FixedRange(0, 255)


def range_of_inputs(preprocessing) -> FixedRange:
    """Returns the range of a network's inputs, from black to white."""
    ends = np.zeros((2, 1, 1, preprocessing.channels), "float32")
    ends[1] = 255
    fed = np.asarray(preprocessing.fed(ends))
    return FixedRange.of_pixels(fed.min(), fed.max())


def rescales(layer) -> bool:
    """Tells whether a layer is a `Rescaling`."""
    return isinstance(layer, layers.Rescaling)


def ranges_of_rescaled(layer, inputs) -> tuple[FixedRange, FixedRange]:
    """Returns the ranges of a Rescaling's product and of its output.

    Args:
        layer: A `Rescaling`.
        inputs: The `FixedRange` of its inputs.
    """
    scale, offset = np.float64(layer.scale), np.float64(layer.offset)
    products = np.stack([end * scale for end in inputs.ends])
    outputs = products + offset
    return (
        FixedRange(products.min(), products.max()),
        FixedRange.of_pixels(outputs.min(), outputs.max()),
    )


def rescaled(layer, inner):
    """Returns a Rescaling's call with the rounding of the product.

    Args:
        layer: A `Rescaling`.
        inner: Function that rounds the product.
    """
    scale, offset = np.float32(layer.scale), np.float32(layer.offset)

    def call(inputs):
        x = keras.ops.cast(inputs, "float32") * scale
        return inner(x) + offset if offset.any() else x

    return call


def normalizes(layer) -> bool:
    """Tells whether a layer is a `Normalization`."""
    return isinstance(layer, layers.Normalization)


def normalized(layer, inner):
    """Returns a Normalization's call with a rounding between its two steps.

    Args:
        layer: A `Normalization`.
        inner: Function that rounds the difference from the mean; the product,
            if the layer inverts.
    """
    mean = np.asarray(layer.mean).astype("float32")
    std = np.sqrt(np.asarray(layer.variance).astype("float32"))
    std = np.maximum(std, keras.config.epsilon())

    def call(inputs):
        x = keras.ops.cast(inputs, "float32")
        if layer.invert:
            return inner(x * std) + mean
        return inner(x - mean) * (1 / std)

    return call


def rescaled_pixels(layer, flipped):
    """Returns the call of the Rescaling that makes a network's inputs.

    Args:
        layer: A `Rescaling`.
        flipped: Bool, whether a flip of the channels follows. The converter
            gives it no range, and LiteRT's flip keeps that of its input.
    """
    product, outputs = ranges_of_rescaled(layer, PIXELS)
    call = rescaled(layer, lambda x: product(x, Phase.FIXED))
    if not flipped:
        return call
    return lambda inputs: outputs(call(inputs), Phase.FIXED)
