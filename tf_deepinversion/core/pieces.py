"""Splits many images into pieces that fit into memory beside a network."""

import numpy as np
import tensorflow as tf

from tf_deepinversion.core.checks import check_pixels
from tf_deepinversion.core.checks import require_whole

MOST = 250
PIXELS = 2**20  # about 250 images of 64x64 pixels, or 20 images of 224x224


def pieces_of(images, most=None):
    """Yields an array of images piece by piece.

    Reading a network keeps the inputs of all its BatchNormalizations in memory,
    which take about a hundred times the memory of the images. Pieces of large
    images are therefore smaller.

    Args:
        images: Array `(n, height, width, ...)`.
        most: Int, number of images of a piece. Defaults to 250, or fewer if
            they would have more than `PIXELS` pixels.

    Raises:
        ValueError: if there is no image, or `most` is out of range.

    >>> large = np.zeros((45, 224, 224, 3), "uint8")
    >>> [len(piece) for piece in pieces_of(large)]
    [20, 20, 5]
    >>> [len(piece) for piece in pieces_of(np.zeros((3, 2, 2, 1)), most=2)]
    [2, 1]
    """
    if not len(images):
        raise ValueError(
            "Expected at least one image. "
            f"Received: images of shape {images.shape}"
        )
    if most is not None:
        require_whole(batch_size=most)
    height, width = images.shape[1:3]
    fitting = max(1, PIXELS // (height * width))
    size = most or min(MOST, fitting)
    for start in range(0, len(images), size):
        yield images[start : start + size]


def read_by_pieces(function, images, batch_size):
    """Applies a function to images, piece by piece.

    Args:
        function: Function from a float32 tensor `(rows, height, width,
            channels)` of pixels to a tuple of tensors with as many rows.
        images: uint8 array `(n, height, width, channels)`.
        batch_size: Int, number of images of a piece, or None, see `pieces_of`.

    Returns:
        A tuple of arrays with n rows.
    """
    images = check_pixels(images)
    found = [
        [tensor.numpy() for tensor in function(tf.cast(piece, "float32"))]
        for piece in pieces_of(images, batch_size)
    ]
    return tuple(np.concatenate(arrays) for arrays in zip(*found, strict=True))
