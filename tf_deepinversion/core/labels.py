"""Labels of images: their classes, balanced labels, checks of labels."""

import numpy as np


def balanced_labels(classes, images, batch_index=0) -> np.ndarray:
    """Makes labels in which all classes are equally frequent, up to one image.

    Args:
        classes: Int.
        images: Int, number of labels.
        batch_index: Int, number of the batch, whose labels continue after those
            of the batch before. Defaults to 0.

    Returns:
        An int32 array `(images,)`: 0, 1, 2, ..., repeated.

    Example:
        >>> di.balanced_labels(3, 7).tolist()
        [0, 1, 2, 0, 1, 2, 0]
        >>> di.balanced_labels(3, 7, batch_index=1).tolist()
        [1, 2, 0, 1, 2, 0, 1]
        >>> [di.balanced_labels(5, 3, i).tolist() for i in range(3)]
        [[0, 1, 2], [3, 4, 0], [1, 2, 3]]
    """
    places = batch_index * images + np.arange(images)
    return (places % classes).astype("int32")


def names_of(names, classes) -> list:
    """Returns the names of classes as strings.

    Args:
        names: Iterable of at least `classes` names; None, or none of them, for
            `class 0`, `class 1`, and so on.
        classes: Int.

    Raises:
        ValueError: if there are fewer names.
    """
    names = [] if names is None else [str(name) for name in names]
    if 0 < len(names) < classes:
        raise ValueError(
            f"`names` must name all {classes} classes. "
            f"Received: {len(names)} names, {names}"
        )
    return names or [f"class {c}" for c in range(classes)]


def classes_of(network) -> int:
    """Returns how many classes a network tells apart: one output tells two.

    Args:
        network: A `keras.Model` with outputs `(batch, outputs)`.
    """
    return max(2, network.output_shape[-1])


def int32_of(labels, least=0) -> np.ndarray:
    """Returns integer labels as int32.

    Args:
        labels: Array of integers.
        least: Int, the smallest label; None for any.

    Raises:
        ValueError: if a label is smaller, or int32 cannot hold it.
    """
    limits = np.iinfo("int32")
    least = limits.min if least is None else least
    if labels.size and not least <= labels.min() <= labels.max() <= limits.max:
        raise ValueError(
            f"Expected labels from {least} to {limits.max}. "
            f"Received: labels from {labels.min()} to {labels.max()}"
        )
    return labels.astype("int32", copy=False)


def require_classes(classes, **values):
    """Checks that arguments are integers in [0, classes).

    Args:
        classes: Int.
        **values: Arrays by the names of the arguments. Empty ones pass.

    Raises:
        TypeError: if an array is not of integers.
        ValueError: if a number is out of range; the error names the argument.

    >>> require_classes(3, labels=np.array([0, 2]))
    >>> require_classes(2, labels=np.array([0, 2]))
    Traceback (most recent call last):
    ValueError: `labels` must lie in [0, 2), the classes. Received...
    """
    for name, array in values.items():
        if not array.size:
            continue
        if array.dtype.kind not in "iu":
            raise TypeError(
                f"`{name}` must be integers. Received: dtype {array.dtype}"
            )
        if array.min() < 0 or array.max() >= classes:
            raise ValueError(
                f"`{name}` must lie in [0, {classes}), the classes. "
                f"Received: {name} from {array.min()} to {array.max()}"
            )


def check_labels(labels, classes, replicas=1) -> np.ndarray:
    """Returns labels as an int32 array `(n,)`.

    Raises:
        TypeError: if the labels are not integers.
        ValueError: if the labels have another shape, are out of [0, classes)
            or of int32, or their number is not a multiple of the replicas.
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or not labels.size:
        raise ValueError(
            "`labels` must be a list of classes, one per image. "
            f"Received: an array of shape {labels.shape}"
        )
    require_classes(classes, labels=labels)
    if len(labels) % replicas:
        raise ValueError(
            f"The number of labels must be a multiple of the {replicas} "
            f"replicas: add {-len(labels) % replicas} labels or drop "
            f"{len(labels) % replicas}. Received: {len(labels)} labels"
        )
    return np.array(int32_of(labels))  # not the caller's own
