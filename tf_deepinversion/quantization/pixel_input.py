"""Networks whose input is pixels, as devices feed them."""

import keras
import numpy as np
import tensorflow as tf

from tf_deepinversion.networks.image_shape import takes
from tf_deepinversion.networks.preprocessing import Preprocessing


def takes_pixels(
    model, preprocessing=None, image_shape=None, batch_size=None
) -> keras.Model:
    """Wraps a network so that its input is pixels in [0, 255], red first.

    Args:
        model: A `keras.Model` from images to logits or probabilities.
        preprocessing: The model's `Preprocessing`, or None if the model is
            known by its name. Defaults to None.
        image_shape: Tuple `(height, width, channels)`, required if the network
            does not fix it. Defaults to the network's.
        batch_size: Int, the number of images of a call. Defaults to the
            network's own, or to any number.

    Returns:
        A `keras.Model`; `model` itself if it already takes pixels.

    Raises:
        ValueError: if the size of the images is unknown or another one, or if
            the network fixes another batch size.

    Example:
        >>> di.quantization.takes_pixels(teacher) is teacher
        True
    """
    preprocessing = Preprocessing.of(model, preprocessing)
    count, *shape = _input_shape(model, image_shape)
    count = _batch_size(count, batch_size)
    # The network's input is affine in z, and z is affine in the pixels, so
    # black and white determine the whole map.
    ends = np.zeros((2, 1, 1, shape[-1]))
    ends[1] = 255
    z = tf.constant((ends - preprocessing.mean) / preprocessing.std)
    fed = preprocessing.teacher_input(z).numpy().reshape(2, shape[-1])
    scale, offset = (fed[1] - fed[0]) / 255, fed[0]
    bgr = preprocessing.channel_order == "bgr"
    same = np.allclose(scale, 1) and np.allclose(offset, 0) and not bgr
    if same and (count, *shape) == getattr(model, "input_shape", None):
        return model
    # float32 regardless of Keras's global dtype policy.
    x = pixels = keras.Input(shape, count, "float32", name="pixels")
    if bgr:
        scale, offset = scale[::-1], offset[::-1]
    if not np.allclose(scale, 1) or not np.allclose(offset, 0):
        rescaling = keras.layers.Rescaling(
            scale.tolist(), offset.tolist(), dtype="float32"
        )
        x = rescaling(x)
    if bgr:
        # Last: the converter gives a flip the scale of what comes after it, and
        # LiteRT's flip keeps the scale of its input.
        x = keras.ops.flip(x, axis=-1)
    return keras.Model(pixels, model(x, training=False), name=model.name)


def _input_shape(model, given):
    """Returns (batch, height, width, channels); the batch may be None."""
    found = getattr(model, "input_shape", None) or (None,) * 4
    shape = tuple(given or found[1:])
    if len(shape) != 3 or None in shape or not takes(found[1:], shape):
        raise ValueError(
            "LiteRT needs a fixed image size, (height, width, channels): pass "
            "images, `image_shape` or --image_size=H,W if the network does not "
            "fix the size. "
            f"Received: input_shape={found}, image_shape={given}"
        )
    return found[0], *shape


def _batch_size(found, given):
    """Returns the number of images of a call; None if any number."""
    if given is None:
        return found
    if (
        not isinstance(given, (int, np.integer))
        or given < 1
        or isinstance(given, bool)
    ):
        raise ValueError(
            "Expected `batch_size` as a positive whole number, or None. "
            f"Received: batch_size={given!r}"
        )
    if found not in (None, given):
        raise ValueError(
            f"Expected the batch size that the network fixes, {found}: leave "
            f"out `batch_size`. Received: batch_size={given}"
        )
    return int(given)
