"""Endless streams of batches of images."""

import math

import numpy as np
import tensorflow as tf

from tf_deepinversion.core.checks import check_pixels
from tf_deepinversion.transforms.base import apply
from tf_deepinversion.transforms.base import draw


def epochs_of(images, labels, batch_size, seed=0, first_step=0):
    """An endless stream of batches, each image once an epoch.

    Element s is a pure function of (seed, s). What does not fill a batch at
    the end of an epoch is left out of it.

    Args:
        images: Array of pixels, whole numbers in [0, 255], `(n, height,
            width, channels)`.
        labels: Int array `(n,)`.
        batch_size: Int, at least 1; a smaller data set is one batch.
        seed: Int, 0 or more.
        first_step: Int, the s of the first element, to go on.

    Returns:
        A `tf.data.Dataset` of uint8 images and int32 labels.
    """
    images, labels = check_pixels(images), np.asarray(labels, "int32")
    size = min(batch_size, len(labels))
    steps = steps_of_epoch(len(labels), batch_size)

    def draw(step):
        epoch, place = divmod(int(step), steps)
        order = np.random.default_rng((seed, epoch)).permutation(len(labels))
        chosen = order[place * size : (place + 1) * size]
        return images[chosen], labels[chosen]

    def load(step):
        batch = tf.numpy_function(draw, [step], ["uint8", "int32"])
        for tensor, array in zip(batch, (images, labels), strict=True):
            tensor.set_shape((size, *array.shape[1:]))
        return tuple(batch)

    # Nothing is read ahead: a thread that still calls Python when the process
    # ends would crash it.
    options = tf.data.Options()
    options.experimental_optimization.apply_default_optimizations = False
    return tf.data.Dataset.counter(first_step).map(load).with_options(options)


def steps_of_epoch(count, batch_size) -> int:
    """How many whole batches there are, at least 1."""
    return max(1, math.floor(count / batch_size))


def augmented(dataset, transforms, seed, first_step=0):
    """Batches of images that go through transforms, drawn anew every step."""

    def transform_all(step, batch):
        images = tf.cast(batch[0], "float32")
        step = tf.cast(step, "int32")
        numbers = draw(transforms, [seed, 3], step, tf.shape(images)[0])
        return apply(transforms, images, numbers), batch[1]

    steps = tf.data.Dataset.counter(first_step)
    zipped = tf.data.Dataset.zip((steps, dataset))
    return zipped.map(transform_all)


def fixed_count(share, batch_size):
    """How many images of a batch are of portraits."""
    return max(1, round(share * batch_size))


def batches_of(pool, portraits, share, batch_size, seed, first_step):
    """Random batches of a pool, and a share of each of portraits, if any."""
    if portraits is None:
        return pool.dataset(batch_size, seed, first_step)
    lasting = fixed_count(share, batch_size)
    return tf.data.Dataset.zip(
        pool.dataset(batch_size - lasting, seed, first_step),
        portraits.dataset(lasting, seed, first_step),
    ).map(
        lambda new, old: tuple(
            tf.concat(pair, 0) for pair in zip(new, old, strict=True)
        )
    )
