"""Checks of labeled images of new classes, and of what learns them."""

import numpy as np
import tensorflow as tf

from tf_deepinversion.core.checks import check_pixels
from tf_deepinversion.core.labels import int32_of
from tf_deepinversion.datasets.elements import image_and_label
from tf_deepinversion.networks.require_trainable import require_trainable
from tf_deepinversion.networks.require_trainable import warn_of_frozen


def as_task(images, labels, name="the task") -> tuple:
    """Checks a task, and returns it as arrays with one label per image.

    Args:
        images: Array `(n, height, width, channels)` of integers in [0, 255].
        labels: Int array `(n,)`.
        name: String, the name of the task in errors.

    Returns:
        A pair: uint8 images and the labels as int32.

    Raises:
        TypeError: if images or labels are not arrays of integers.
        ValueError: if shapes do not fit, or values are out of range: labels
            from 0 to the largest int32.
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
        raise ValueError(
            f"A task needs at least one image. Received: {name} is empty"
        )
    images = check_pixels(images)
    if labels.dtype.kind not in "iu":
        raise TypeError(
            "Expected integer labels. Received: labels of "
            f"{labels.dtype} in {name}"
        )
    if labels.shape != (len(images),):
        raise ValueError(
            "Expected one label per image, of shape (n,): use "
            "`labels.argmax(-1)` for one-hot rows. "
            f"Received: {len(images)} images and labels of shape "
            f"{labels.shape} in {name}"
        )
    return images, int32_of(labels)


def as_tasks(tasks, kind="task") -> list:
    """Checks a list of tasks, and returns each as `as_task` does.

    Args:
        tasks: Iterable of pairs of images and labels, or of dictionaries with
            `"image"` and `"label"`, as in TensorFlow Datasets.
        kind: String, the name of a task in errors.

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


def require_one_size(new, *old):
    """Checks that batches of new and of old classes have images of one size.

    Args:
        new: Tensor `(batch, height, width, channels)`.
        *old: More such tensors.

    Raises:
        ValueError: if the shapes differ.
    """
    for batch in old:
        if not batch.shape[1:].is_compatible_with(new.shape[1:]):
            raise ValueError(
                "The images of old classes must have the size of the new "
                f"images. Received: new {new.shape[1:]}, old {batch.shape[1:]}"
            )


def check_tasks(tasks, classes, image_shape) -> list:
    """Checks that each task has new classes that continue the known ones.

    Args:
        tasks: List of pairs from `as_task`.
        classes: Int, number of classes known before the first task, whose
            labels must be `classes`, `classes + 1`, ...
        image_shape: Tuple `(height, width, channels)`.

    Returns:
        A list of ints, number of known classes after each task.

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
        # New classes follow the known classes: their outputs are added to the
        # head.
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
    """Checks that each test set has the classes of its task.

    Args:
        tests: List of pairs from `as_task`.
        classes: List of ints, number of known classes before the first task and
            after each task.
        shape: Tuple `(height, width, channels)`.

    Raises:
        ValueError: if the number of test sets, shapes or classes do not fit.
    """
    if len(tests) != len(classes):
        raise ValueError(
            f"`tests` must be a list of {len(classes)} test sets: one for the "
            f"first network and one per task. Received: {len(tests)} test sets"
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


def check_pair(old, model, old_classes, classes):
    """Checks that a network can learn beside the network that stays.

    Args:
        old: A `keras.Model`.
        model: A `keras.Model`, which learns.
        old_classes: Int, number of classes of `old`.
        classes: Int, number of classes of `model`.

    Raises:
        ValueError: if `model` has no more classes, takes other images, is
            frozen, or shares layers with `old` that are not frozen.
    """
    if classes <= old_classes:
        raise ValueError(
            "`model` must know more classes than `old`, see `grow_head`. "
            f"Received: {classes} and {old_classes}"
        )
    shapes = [tuple(network.input_shape[1:]) for network in (old, model)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            "`old` and `model` must take the same images. "
            f"Received: {shapes[0]} and {shapes[1]}"
        )
    require_trainable(model, old)
    warn_of_frozen(model)
