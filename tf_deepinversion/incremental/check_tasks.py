"""Tasks of labeled images: checked, and read in batches."""

import numpy as np
import tensorflow as tf

from tf_deepinversion.core.checks import check_pixels
from tf_deepinversion.datasets.real_images import image_and_label


def as_task(images, labels, name="the task") -> tuple:
    """Images and labels of a task as arrays, one label an image.

    Args:
        images: Array of whole numbers in [0, 255], `(n, height, width,
            channels)`.
        labels: Int array `(n,)`.
        name: String, for what is said of the task.

    Returns:
        A pair: uint8 images and the labels.

    Raises:
        TypeError: if they are not arrays of integers.
        ValueError: if they are of other shapes, or out of range.
    """
    for given in (images, labels):
        if isinstance(given, (tf.data.Dataset, dict)) or given is None:
            raise TypeError(
                "Expected images and labels as arrays, such as "
                "`tfds.as_numpy(tfds.load(..., batch_size=-1, "
                "as_supervised=True))` of TensorFlow Datasets. "
                f"Received: {type(images)} and {type(labels)} in {name}"
            )
    labels = np.asarray(labels)
    if not labels.size:
        raise ValueError(f"It is empty, without a label. Received: {name}")
    images = check_pixels(images)
    if labels.dtype.kind not in "iu":
        raise TypeError(
            "Expected whole labels. Received: labels of "
            f"{labels.dtype} in {name}"
        )
    if labels.shape != (len(images),):
        raise ValueError(
            "Expected one label an image, of shape (n,); of one-hot rows "
            f"`labels.argmax(-1)`. Received: {len(images)} images and labels "
            f"of shape {labels.shape} in {name}"
        )
    return images, labels


def as_tasks(tasks, kind="task") -> list:
    """Any number of tasks, each as `as_task` returns it.

    Args:
        tasks: Iterable of pairs of images and labels, or of dictionaries of
            `"image"` and `"label"`, as TensorFlow Datasets has them.
        kind: String, for what is said of them.

    Raises:
        TypeError: as for `as_task`, or if `tasks` is a data set.
        ValueError: as for `as_task`.
    """
    if isinstance(tasks, (tf.data.Dataset, dict)):
        raise TypeError(
            "Expected a list of pairs of images and labels, both arrays. "
            f"Received: {type(tasks)}"
        )
    return [
        as_task(*image_and_label(task), f"{kind} {number}")
        for number, task in enumerate(tasks, 1)
    ]


def check_tasks(tasks, classes, image_shape) -> list:
    """Tasks of new classes, each of which goes on where the last one ended.

    Args:
        tasks: List of pairs, as of `as_task`.
        classes: Int, how many classes are known before the first of them: its
            labels are `classes`, `classes + 1`, ...
        image_shape: Tuple `(height, width, channels)`.

    Returns:
        A list of ints, how many classes are known after each task.

    Raises:
        ValueError: if a task has images of another shape, old labels or gaps.
    """
    known = []
    for number, (images, labels) in enumerate(tasks, 1):
        if images.shape[1:] != tuple(image_shape):
            raise ValueError(
                f"Expected images of shape {tuple(image_shape)}. "
                f"Received: {images.shape[1:]} in task {number}"
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


def check_tests(tests, classes, shape):
    """Refuses test sets that are not of the classes of each task.

    Args:
        tests: List of pairs, as of `as_task`.
        classes: List of ints, how many classes are known before the first
            task and after each.
        shape: Tuple `(height, width, channels)`.

    Raises:
        ValueError: as said.
    """
    if len(tests) != len(classes):
        raise ValueError(
            f"`tests` must be a list of {len(classes)}: for the first network "
            f"and for each task. Received: {len(tests)}"
        )
    begin = 0
    for number, ((images, labels), end) in enumerate(
        zip(tests, classes, strict=True)
    ):
        if (
            images.shape[1:] != shape
            or labels.min() < begin
            or labels.max() >= end
        ):
            raise ValueError(
                f"Test set {number} must have images {tuple(shape)} of classes "
                f"{begin} to {end - 1}. Received: {images.shape[1:]}, labels "
                f"{np.unique(labels).tolist()}"
            )
        begin = end
