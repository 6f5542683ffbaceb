"""Tasks of labelled images: checked, and read in batches."""

import math

import numpy as np
import tensorflow as tf


def check_tasks(tasks, classes, image_shape) -> list:
    """Tasks of new classes, each of which goes on where the last one ended.

    Args:
        tasks: List of pairs, uint8 images `(n, height, width, channels)` and
            int labels `(n,)`.
        classes: Int, how many classes are known before the first of them: its
            labels are `classes`, `classes + 1`, ...
        image_shape: Tuple `(height, width, channels)`.

    Returns:
        A list of ints, how many classes are known after each task.

    Raises:
        TypeError: if images are not uint8, or labels no integers.
        ValueError: if a task is empty, has another shape, old labels or gaps.
    """
    known = []
    for number, (images, labels) in enumerate(tasks, 1):
        images, labels = np.asarray(images), np.asarray(labels)
        if not len(labels):
            raise ValueError(f"Task {number} is empty: it has no images.")
        if images.dtype != np.uint8 or labels.dtype.kind not in "iu":
            raise TypeError(
                "Expected uint8 pixels in [0, 255] and whole labels. Received: "
                f"{images.dtype} and {labels.dtype} in task {number}"
            )
        if images.shape != (len(labels), *image_shape) or labels.ndim != 1:
            raise ValueError(
                f"Expected images of shape {tuple(image_shape)}, one a label. "
                f"Received: {images.shape} and {labels.shape} in task {number}"
            )
        found = np.unique(labels)
        if found[0] < classes:
            raise ValueError(
                f"Classes 0 to {classes - 1} are known: the labels of new "
                f"classes begin at {classes}. Received: "
                f"{found[found < classes].tolist()} in task {number}"
            )
        if found.tolist() != list(range(classes, classes + len(found))):
            raise ValueError(
                f"The labels of new classes must be {classes}, {classes + 1} "
                "and so on without gaps, each with an image: renumber them. "
                f"Received: {found.tolist()} in task {number}"
            )
        classes += len(found)
        known.append(classes)
    return known


def epochs_of(images, labels, batch_size, seed=0, first_step=0):
    """An endless stream of batches, each image once an epoch.

    Element s is a pure function of (seed, s). What does not fill a batch at
    the end of an epoch is left out of it.

    Args:
        images: uint8 array `(n, height, width, channels)`.
        labels: Int array `(n,)`.
        batch_size: Int, at least 1; a smaller data set is one batch.
        seed: Int, 0 or more.
        first_step: Int, the s of the first element, to go on.

    Returns:
        A `tf.data.Dataset` of uint8 images and int32 labels.
    """
    labels = np.asarray(labels, "int32")
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
