"""Which classes to synthesize."""

import numpy as np


def balanced_labels(classes, images, batch_index=0) -> np.ndarray:
    """Labels in which every class is as frequent as any other, or one more.

    Args:
        classes: Int.
        images: Int, how many labels.
        batch_index: Int, the number of the batch. Where a batch has fewer
            images than there are classes, its labels go on where those of the
            batch before stop; otherwise every class is in every batch, and
            all batches have the same labels.

    Returns:
        An int32 array `(images,)`: 0, 1, 2, ... and around again.

    >>> balanced_labels(3, 7).tolist()
    [0, 1, 2, 0, 1, 2, 0]
    >>> [balanced_labels(5, 3, i).tolist() for i in range(3)]
    [[0, 1, 2], [3, 4, 0], [1, 2, 3]]
    """
    first = batch_index * images if images < classes else 0
    return ((first + np.arange(images)) % classes).astype("int32")


def check_labels(labels, classes, replicas=1) -> np.ndarray:
    """`labels` as an int32 array `(n,)`.

    Raises:
        TypeError: if they are not integers.
        ValueError: if they are of another shape, out of [0, classes), or no
            multiple of the replicas.
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or not labels.size:
        raise ValueError(
            "`labels` must be a list of classes, one an image. "
            f"Received: an array of shape {labels.shape}"
        )
    if labels.dtype.kind not in "iu":
        raise TypeError(
            f"`labels` must be integers. Received: dtype {labels.dtype}"
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(
            f"`labels` must lie in [0, {classes}), the teacher's classes. "
            f"Received: labels from {labels.min()} to {labels.max()}"
        )
    if len(labels) % replicas:
        raise ValueError(
            f"The number of labels must be a multiple of the {replicas} "
            f"replicas. Received: {len(labels)} labels; add "
            f"{-len(labels) % replicas} or drop {len(labels) % replicas}."
        )
    return labels.astype("int32")
