"""Measures of how networks classify images, on the pixels as saved."""

import keras
import numpy as np
from keras import ops

from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.core.labels import require_classes
from tf_deepinversion.core.predictions import share_right
from tf_deepinversion.networks.ending import at_least_float32
from tf_deepinversion.networks.preprocessing import Preprocessing
from tf_deepinversion.networks.reader import read_logits
from tf_deepinversion.networks.reader import read_statistics
from tf_deepinversion.networks.student_input import preprocessing_of_student
from tf_deepinversion.objective import distances
from tf_deepinversion.objective.losses import kullback_leibler


def accuracy(model, images, labels, preprocessing=None) -> float:
    """Computes the share of images that a network assigns to their labels.

    Args:
        model: A `keras.Model` classifier.
        images: uint8 array `(n, height, width, channels)`.
        labels: Int array `(n,)` in [0, classes).
        preprocessing: The network's `Preprocessing`. Not needed for a network
            of `di.models` or of `keras.applications`. Defaults to None.

    Returns:
        A float in [0, 1].

    Raises:
        TypeError: if the labels are not integers.
        ValueError: if there is no image, not one label per image, or a label
            that is none of the network's classes.

    Example:
        >>> predicted = np.argmax(teacher(images), axis=-1)
        >>> di.metrics.accuracy(teacher, images, predicted)
        1.0
    """
    logits = read_logits(model, images, preprocessing)
    return share_right(logits, labels)


def agreement(
    teacher, student, images, preprocessing=None, student_preprocessing=None
) -> float:
    """Computes the share of images that two networks assign to the same class.

    Args:
        teacher: A `keras.Model` classifier.
        student: A `keras.Model` classifier with the same classes.
        images: uint8 array `(n, height, width, channels)`.
        preprocessing: The teacher's `Preprocessing`. Not needed for a network
            of `di.models` or of `keras.applications`. Defaults to None.
        student_preprocessing: The student's. Not needed for a network that is
            known, or contains its preprocessing. Defaults to the teacher's.

    Returns:
        A float in [0, 1].

    Raises:
        ValueError: if the networks have different numbers of classes, or there
            is no image.

    Example:
        >>> di.metrics.agreement(teacher, teacher, images)
        1.0
    """
    preprocessing = Preprocessing.of(teacher, preprocessing)
    own = preprocessing_of_student(
        student, student_preprocessing, preprocessing, teacher
    )
    logits = read_logits(teacher, images, preprocessing)
    answers = read_logits(student, images, own)
    if logits.shape != answers.shape:
        raise ValueError(
            "Expected two networks of the same classes. Received: "
            f"{logits.shape[-1]} and {answers.shape[-1]} classes"
        )
    return float((logits.argmax(-1) == answers.argmax(-1)).mean())


def feature_distance(model, images, preprocessing=None, targets=None) -> float:
    """Computes the paper's R_feature of images, as one batch.

    The layers have equal weights, and no jitter applies. The distance depends
    on the number of images: compare equal numbers only.

    Args:
        model: A `keras.Model` with BatchNormalization layers or `targets`.
        images: uint8 array `(n, height, width, channels)`.
        preprocessing: The network's `Preprocessing`. Not needed for a network
            of `di.models` or of `keras.applications`. Defaults to None.
        targets: `FeatureTargets` of the network. Defaults to None, the
            statistics of its BatchNormalization layers.

    Returns:
        A float, at least 0.

    Raises:
        ValueError: if the network has no BatchNormalization and no targets.

    Example:
        >>> di.metrics.feature_distance(teacher, images) > 0
        True

    Reference:
        - Yin et al., arXiv:1912.08795, eq. 4
    """
    seen = read_statistics(model, images, preprocessing, targets=targets)
    if not seen:
        raise ValueError(
            "The distance compares images with the statistics that "
            "BatchNormalization layers store, and this network has no such "
            "layer: pass `targets`, see `FeatureTargets`. "
            f"Received: {model.name!r}"
        )
    return float(sum(distances.plain_distance(s, layer) for layer, s in seen))


def divergence(teacher_logits, student_logits) -> float:
    """Computes the mean KL(p_T || p_S) over images, in nats, at temperature 1.

    Args:
        teacher_logits: Float array `(n, classes)`. A class that is
            impossible to the teacher may have the logit -inf.
        student_logits: Float array `(n, classes)`.

    Returns:
        A float, at least 0.

    Raises:
        ValueError: if the shapes differ, there is no image or a single output,
            or a logit is a NaN.

    Example:
        >>> teacher = np.array([[2.0, 0.0]], "float32")
        >>> student = np.array([[0.0, 0.0]], "float32")
        >>> round(di.metrics.divergence(teacher, student), 4)
        0.3278
    """
    logits = [
        at_least_float32(ops.convert_to_tensor(x))
        for x in (teacher_logits, student_logits)
    ]
    wider = keras.backend.result_type(*(x.dtype for x in logits))
    logits = [ops.cast(x, wider) for x in logits]
    shape = tuple(logits[0].shape)
    # A single output is no distribution over classes.
    possible = len(shape) == 2 and shape[0] > 0 and shape[1] > 1
    if logits[0].shape != logits[1].shape or not possible:
        raise ValueError(
            "Expected logits (n, classes) of the same images and classes, at "
            "least one image and two classes. Received: shapes "
            f"{tuple(logits[0].shape)} and {tuple(logits[1].shape)}"
        )
    for name, each in zip(
        ("teacher_logits", "student_logits"), logits, strict=True
    ):
        if np.isnan(each).any():
            raise ValueError(f"`{name}` must have no NaN. Received: a NaN")
    log_p, log_q = (ops.log_softmax(x, axis=-1) for x in logits)
    return float(ops.mean(kullback_leibler(log_p, log_q)))


def confusion(labels, predictions, classes) -> np.ndarray:
    """Counts the images of each class by the class that a network predicts.

    Args:
        labels: Int array `(n,)` in [0, classes), the true classes.
        predictions: Int array `(n,)` in [0, classes).
        classes: Int, number of classes.

    Returns:
        An int array `(classes, classes)` with one row per true class.

    Raises:
        TypeError: if labels or predictions are not integers.
        ValueError: if a label or a prediction is out of range, or their
            numbers differ.

    Example:
        >>> di.metrics.confusion([0, 0, 1], [0, 1, 1], 2).tolist()
        [[1, 1], [0, 1]]
    """
    places = _places(labels, predictions, classes)
    counts = np.bincount(places, minlength=classes**2)
    return counts.reshape(classes, classes)


def most_confused(labels, predictions, classes, most=10) -> list:
    """Lists the pairs of classes that a network confuses most often.

    Memory and time grow with the number of images, not of classes.

    Args:
        labels: Int array `(n,)` in [0, classes), the true classes.
        predictions: Int array `(n,)` in [0, classes).
        classes: Int, number of classes.
        most: Int, the largest number of pairs. Defaults to 10.

    Returns:
        A list of triples (label, prediction, number of images), the most
        frequent first; of equally frequent pairs, the lower label first.

    Raises:
        TypeError: if labels or predictions are not integers.
        ValueError: if a label or a prediction is out of range, or their
            numbers differ.

    >>> most_confused([0, 0, 0, 1], [1, 1, 0, 2], 3)
    [(0, 1, 2), (1, 2, 1)]
    """
    # Only pairs that occur take memory, not the whole matrix.
    require_whole(0, most=most)
    places, counts = np.unique(
        _places(labels, predictions, classes), return_counts=True
    )
    rows, columns = np.divmod(places, classes)
    counts = np.where(rows == columns, 0, counts)
    # A stable sort keeps the lower label first among equal counts.
    order = np.argsort(-counts, kind="stable")[:most]
    return [
        (int(rows[i]), int(columns[i]), int(counts[i]))
        for i in order
        if counts[i]
    ]


def _places(labels, predictions, classes):
    """Returns the index of each image's cell in the flattened matrix."""
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    if labels.ndim != 1 or labels.shape != predictions.shape:
        raise ValueError(
            "Expected as many predictions as labels, one per image. Received: "
            f"shapes {labels.shape} of labels and {predictions.shape} of "
            "predictions"
        )
    require_whole(classes=classes)
    require_classes(classes, labels=labels, predictions=predictions)
    # Small integer types would overflow.
    return labels.astype(int) * classes + predictions.astype(int)
