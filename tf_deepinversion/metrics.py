"""How good synthesised images are, measured on the pixels as they are saved."""

import numpy as np
from keras import ops

from tf_deepinversion import feature_statistics
from tf_deepinversion.checks import check_pixels
from tf_deepinversion.checks import share_right
from tf_deepinversion.classifier import Classifier
from tf_deepinversion.losses import kullback_leibler
from tf_deepinversion.preprocessing import Preprocessing


def read(model, images, preprocessing=None, batch_size=250):
    """What a network makes of images: its logits, and what its BNs see.

    Args:
        model: A `keras.Model` classifier.
        images: uint8 array `(n, height, width, channels)`.
        preprocessing: The network's `Preprocessing`; None if known by name.
        batch_size: Int, how many images are read at once. What is returned
            does not depend on it.

    Returns:
        A pair: logits, an array `(n, classes)`, and a list of pairs (layer,
        `Moments` over all images), one for each BatchNormalization call.

    Raises:
        TypeError: if the images are not of integers.
        ValueError: if they are of another shape.
    """
    images = check_pixels(images)
    preprocessing = Preprocessing.of(model, preprocessing)
    classifier = Classifier(model, images.shape[1:])
    logits, sums = [], None
    with classifier.open():
        for start in range(0, len(images), batch_size):
            z = preprocessing.normalise(images[start : start + batch_size])
            y, records = classifier(
                preprocessing.teacher_input(ops.convert_to_tensor(z))
            )
            logits.append(ops.convert_to_numpy(y))
            piece = [feature_statistics.moments(r) for r in records]
            layers = [r.layer for r in records]
            if sums is None:
                sums = piece
            else:
                sums = [
                    feature_statistics.Moments(
                        *(a + b for a, b in zip(s, p, strict=True))
                    )
                    for s, p in zip(sums, piece, strict=True)
                ]
    return np.concatenate(logits), list(zip(layers, sums, strict=True))


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
    return float(
        sum(feature_statistics.plain_distance(s, layer) for layer, s in seen)
    )


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


def effective_classes(predictions) -> float:
    """How many classes there are, counted by how frequent they are.

    The exponential of the entropy of their frequencies: k classes equally
    frequent are k, and a rare one more adds little.

    Args:
        predictions: Int array `(n,)`, n at least 1, not negative.

    >>> effective_classes([3, 3, 5, 5])
    2.0
    """
    counts = np.bincount(np.asarray(predictions))
    shares = counts[counts > 0] / counts.sum()
    return round(float(np.exp(-np.sum(shares * np.log(shares)))), 6)


def penultimate_features(model, images, preprocessing=None) -> np.ndarray:
    """What the last layer of a network is fed, `(n, features)`.

    Args:
        model: A `keras.Model` classifier; of one whose head is not dense the
            logits are taken.
        images: uint8 array `(n, height, width, channels)`.
        preprocessing: The network's `Preprocessing`; None if known by name.
    """
    images = check_pixels(images)
    preprocessing = Preprocessing.of(model, preprocessing)
    classifier, found = Classifier(model, images.shape[1:]), []
    with classifier.open():
        for start in range(0, len(images), 250):
            z = preprocessing.normalise(images[start : start + 250])
            fed = preprocessing.teacher_input(ops.convert_to_tensor(z))
            features = classifier.with_features(fed)[1]
            found.append(ops.convert_to_numpy(features))
    return np.concatenate(found)


def within_class_spread(features, labels) -> float:
    """The root of the mean squared distance of features to their class mean.

    The mean is over classes, the variance the unbiased one. Ten good pictures
    repeated have the spread 0.

    Args:
        features: Float array `(n, features)`.
        labels: Int array `(n,)`; a class of one image is left out.

    Raises:
        ValueError: if no class has two images.
    """
    features, labels = np.asarray(features, "float64"), np.asarray(labels)
    variances = [
        features[labels == c].var(axis=0, ddof=1).sum()
        for c in np.unique(labels)
        if (labels == c).sum() > 1
    ]
    if not variances:
        raise ValueError(
            "The spread within classes needs two images of a class. "
            f"Received: {len(labels)} images of {len(np.unique(labels))} "
            "classes"
        )
    return float(np.sqrt(np.mean(variances)))


def alike(images, labels, wanted):
    """For each label wanted, the next image that has it.

    Args:
        images: Array `(n, ...)`.
        labels: Int array `(n,)`.
        wanted: Int array `(m,)`.

    Returns:
        An array `(m, ...)`, in the order of `wanted`.

    Raises:
        ValueError: if there are not enough images of a class.
    """
    chosen = np.empty(len(wanted), int)
    for c in np.unique(wanted):
        places = np.flatnonzero(np.asarray(wanted) == c)
        found = np.flatnonzero(labels == c)[: len(places)]
        if len(found) < len(places):
            raise ValueError(
                f"{len(places)} images of class {c} are wanted, "
                f"there are {len(found)}."
            )
        chosen[places] = found
    return images[chosen]
