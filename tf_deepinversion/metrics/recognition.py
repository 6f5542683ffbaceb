"""How good synthesized images are, measured on the pixels as they are saved."""

import numpy as np
from keras import ops

from tf_deepinversion.core.checks import share_right
from tf_deepinversion.networks.reader import read
from tf_deepinversion.objective import distances
from tf_deepinversion.objective.losses import kullback_leibler


def accuracy(model, images, labels, preprocessing=None) -> float:
    """The share of images that a network takes for their labels.

    Args:
        model: A `keras.Model` classifier.
        images: uint8 array `(n, height, width, channels)`.
        labels: Int array `(n,)`.
        preprocessing: The network's `Preprocessing`; None if known by name.
    """
    logits, _ = read(model, images, preprocessing)
    return share_right(logits.argmax(-1), labels)


def agreement(teacher, student, images) -> float:
    """The share of images that two networks, known by name, take for the same.

    Args:
        teacher: A `keras.Model` classifier.
        student: Another of the same classes.
        images: uint8 array `(n, height, width, channels)`.
    """
    one, other = (read(model, images)[0] for model in (teacher, student))
    return float((one.argmax(-1) == other.argmax(-1)).mean())


def feature_distance(model, images, preprocessing=None) -> float:
    """The paper's R_feature of images as one batch, unweighted, no jitter.

    It depends on how many images there are: compare equal numbers.

    Args:
        model: A `keras.Model` with BatchNormalization layers.
        images: uint8 array `(n, height, width, channels)`.
        preprocessing: The network's `Preprocessing`; None if known by name.

    Reference:
        - Yin et al., arXiv:1912.08795, eq. 4
    """
    _, seen = read(model, images, preprocessing)
    return float(sum(distances.plain_distance(s, layer) for layer, s in seen))


def divergence(teacher_logits, student_logits) -> float:
    """The mean KL(p_T || p_S) of images, at temperature 1, in nats.

    Args:
        teacher_logits: Float array `(n, classes)`.
        student_logits: Float array `(n, classes)`.
    """
    log_p, log_q = (
        ops.log_softmax(ops.convert_to_tensor(x), axis=-1)
        for x in (teacher_logits, student_logits)
    )
    return float(ops.mean(kullback_leibler(log_p, log_q)))


def confusion(labels, predictions, classes) -> np.ndarray:
    """How many images of each class are taken for each class.

    Args:
        labels: Int array `(n,)` in [0, classes), what images show.
        predictions: Int array `(n,)` in [0, classes), what is said of them.
        classes: Int.

    Returns:
        An int array `(classes, classes)`: a row for each label.

    Raises:
        ValueError: if a label or a prediction is out of range, or there are
            not as many of both.

    >>> confusion([0, 0, 1], [0, 1, 1], 2).tolist()
    [[1, 1], [0, 1]]
    """
    places = _places(labels, predictions, classes)
    counts = np.bincount(places, minlength=classes**2)
    return counts.reshape(classes, classes)


def most_confused(labels, predictions, classes, most=10) -> list:
    """The pairs of classes that are most often taken for each other.

    What it takes to find them grows with the images, not with the classes.

    Args:
        labels: As for `confusion`.
        predictions: The same.
        classes: Int.
        most: Int, how many pairs at most.

    Returns:
        A list of triples: label, prediction, and how many images; the most
        frequent first, of equally frequent ones that of the lower label.

    Raises:
        ValueError: as for `confusion`.

    >>> most_confused([0, 0, 0, 1], [1, 1, 0, 2], 3)
    [(0, 1, 2), (1, 2, 1)]
    """
    places, counts = np.unique(
        _places(labels, predictions, classes), return_counts=True
    )
    rows, columns = np.divmod(places, classes)
    counts = np.where(rows == columns, 0, counts)
    order = np.argsort(-counts, kind="stable")[:most]
    return [
        (int(rows[i]), int(columns[i]), int(counts[i]))
        for i in order
        if counts[i]
    ]


def _places(labels, predictions, classes):
    """Where in a flat matrix of classes each image counts."""
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    if labels.shape != predictions.shape:
        raise ValueError(
            "Expected as many predictions as labels. Received: "
            f"{labels.shape} labels and {predictions.shape} predictions"
        )
    for name, values in (("labels", labels), ("predictions", predictions)):
        if values.size and not 0 <= values.min() <= values.max() < classes:
            raise ValueError(
                f"`{name}` must lie in [0, {classes}). Received: from "
                f"{values.min()} to {values.max()}"
            )
    return labels.astype(int) * classes + predictions.astype(int)
