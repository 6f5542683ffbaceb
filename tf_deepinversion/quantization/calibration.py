"""The images on which the converter measures the ranges of activations."""

import contextlib

import numpy as np
import tensorflow as tf

from tf_deepinversion.core.progress import Progress
from tf_deepinversion.datasets.elements import image_and_label
from tf_deepinversion.datasets.pool import Pool


def checked_images(images, model):
    """Yields uint8 images that fit a network, all of one size, one at a time.

    Raises:
        TypeError: if the images are not uint8, or are a function.
        ValueError: if the images do not have the network's shape, or there are
            none, or they have no end.
    """
    count, shape = 0, None
    if isinstance(images, Pool):
        images = images.images
    elif isinstance(images, (tuple, dict)):
        images, _ = image_and_label(images)
    elif callable(images):
        raise TypeError(
            "Expected a finite set of images, not a function of a step: pass "
            "the `Pool` or the arrays that the function draws from. "
            f"Received: {type(images)}"
        )
    endless = isinstance(images, tf.data.Dataset) and (
        images.cardinality() == tf.data.INFINITE_CARDINALITY
    )
    if endless:
        raise ValueError(
            "Expected a finite number of calibration images: `take` some, or "
            "pass a `Pool`. Received: an endless dataset"
        )
    for element in images:
        image = np.asarray(image_and_label(element)[0])
        shape = shape or _fitting(model, image.shape)
        if image.shape != shape:
            raise ValueError(
                f"Expected single calibration images of shape {shape}: "
                "unbatch() a dataset of batches. "
                f"Received: shape={image.shape}"
            )
        if image.dtype != np.uint8:
            raise TypeError(
                "Expected uint8 images, pixels as they are saved. "
                f"Received: dtype={image.dtype}"
            )
        count += 1
        yield image
    if not count:
        raise ValueError(
            "Expected at least one calibration image. Received: no image"
        )


def _fitting(model, shape):
    """Returns the shape of a network's images, open sizes being `shape`'s."""
    known = getattr(model, "input_shape", (None,) * 4)[1:]
    if len(known) != len(shape):
        return tuple(known)
    return tuple(a or b for a, b in zip(known, shape, strict=True))


def counted(images, verbose, stdout):
    """Yields images one by one, and shows the progress despite `quiet`."""
    with contextlib.redirect_stdout(stdout):
        progress = Progress("Calibration", len(images), "image", verbose)
    tenth = -(-len(images) // 10)
    for number, image in enumerate(images, 1):
        yield image
        with contextlib.redirect_stdout(stdout):
            line = number % tenth == 0 or number == len(images)
            progress.advance(line=line)
