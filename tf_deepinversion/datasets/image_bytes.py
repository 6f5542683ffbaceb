"""The bytes of an image in a shard: PNG keeps each pixel, JPEG takes less room.

JPEG keeps colors at the resolution of the brightness here. The images of an
inversion have fine colors, which the usual JPEG file would blur.
"""

import numpy as np
import tensorflow as tf

from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.datasets import png

_JPEG = b"\xff\xd8\xff"  # with which each such file begins


def check_quality(quality, image_shape):
    """Refuses a quality that no JPEG image has, and shapes without JPEG.

    Args:
        quality: Int in [1, 100], or None for PNG.
        image_shape: Tuple `(height, width, channels)`.

    Raises:
        ValueError: if the quality is out of range, or JPEG does not store such
            images.

    >>> check_quality(None, (8, 8, 4))
    >>> check_quality(101, (8, 8, 3))
    Traceback (most recent call last):
    ValueError: `jpeg_quality` must lie in [1, 100]. Received: ...
    """
    if quality is None:
        return
    require_whole(jpeg_quality=quality)
    if quality > 100:
        raise ValueError(
            "`jpeg_quality` must lie in [1, 100]. "
            f"Received: jpeg_quality={quality}"
        )
    if image_shape[-1] == 4:
        raise ValueError(
            "JPEG stores images with 1 or 3 channels: leave `jpeg_quality` "
            f"out for PNG. Received: image_shape={tuple(image_shape)}"
        )


def encoded(image, jpeg_quality=None) -> bytes:
    """Encodes a uint8 image `(height, width, channels)`.

    Args:
        image: uint8 array, with 1, 3 or (PNG only) 4 channels.
        jpeg_quality: Int in [1, 100], or None for PNG. Defaults to None.

    >>> content = encoded(np.full((2, 3, 1), 7, "uint8"), jpeg_quality=95)
    >>> decoded(content, (2, 3, 1)).tolist()
    [[[7], [7], [7]], [[7], [7], [7]]]
    """
    if jpeg_quality is None:
        return png.encoded(image)
    return tf.io.encode_jpeg(
        image, quality=int(jpeg_quality), chroma_downsampling=False
    ).numpy()


def decoded(content, shape) -> np.ndarray:
    """Decodes the bytes of a PNG or JPEG image by any encoder.

    Args:
        content: Bytes, which tell what they are.
        shape: Tuple `(height, width, channels)`.

    Returns:
        A uint8 array of that shape.

    Raises:
        ValueError: if the image is damaged, or of another shape.
    """
    try:
        if content.startswith(_JPEG):
            image = tf.io.decode_jpeg(
                content, shape[-1], dct_method="INTEGER_ACCURATE"
            )
        else:
            image = tf.io.decode_png(content, shape[-1])
    except tf.errors.InvalidArgumentError as error:
        raise ValueError(f"An image is damaged: {error.message}") from error
    if image.shape != tuple(shape):
        raise ValueError(
            f"Expected an image of shape {tuple(shape)}. "
            f"Received: shape {tuple(image.shape)}"
        )
    return image.numpy()
