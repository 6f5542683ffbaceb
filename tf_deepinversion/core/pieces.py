"""Many images in pieces, of which one fits into memory beside a network."""

import numpy as np
import tensorflow as tf

from tf_deepinversion.core.checks import check_pixels
from tf_deepinversion.core.checks import require_whole

MOST = 250
PIXELS = 2**20  # of 250 images of 64 pixels a side; of 20 of 224


def pieces_of(images, most=None):
    """Yields an array of images piece by piece.

    While a network is read it holds what all its BatchNormalizations see, some
    hundred times as much as the images: of large ones a piece has fewer.

    Args:
        images: Array `(n, height, width, ...)`.
        most: Int, how many images a piece has; None: at most 250, fewer where
            they would have more than `PIXELS` pixels.

    >>> large = np.zeros((45, 224, 224, 3), "uint8")
    >>> [len(piece) for piece in pieces_of(large)]
    [20, 20, 5]
    >>> [len(piece) for piece in pieces_of(np.zeros((3, 2, 2, 1)), most=2)]
    [2, 1]
    """
    height, width = images.shape[1:3]
    fitting = max(1, PIXELS // (height * width))
    size = most or min(MOST, fitting)
    for start in range(0, len(images), size):
        yield images[start : start + size]


def read_by_pieces(function, images, batch_size):
    """What a function gives for images that it is given piece by piece.

    Args:
        function: Function from a float32 tensor `(rows, height, width,
            channels)` of pixels to a tuple of tensors with as many rows.
        images: uint8 array `(n, height, width, channels)`.
        batch_size: Int, how many images a piece has.

    Returns:
        A tuple of arrays with n rows.
    """
    images = check_pixels(images)
    require_whole(batch_size=batch_size)
    found = [
        [tensor.numpy() for tensor in function(tf.cast(piece, "float32"))]
        for piece in pieces_of(images, batch_size)
    ]
    return tuple(np.concatenate(arrays) for arrays in zip(*found, strict=True))
