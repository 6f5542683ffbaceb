"""Measures of the variety of synthesized images."""

import numpy as np

from tf_deepinversion.core.checks import require_finite


def effective_classes(predictions) -> float:
    """Counts the classes that predictions cover, weighted by frequency.

    The count is the exponential of the entropy of the class frequencies: k
    equally frequent classes give k, and a rare class adds little.

    Args:
        predictions: Int array `(n,)`, at least one, not negative.

    Returns:
        A float, at least 1.

    Raises:
        ValueError: if there is no prediction, or one that is no class.

    Example:
        >>> di.metrics.effective_classes([3, 3, 5, 5])
        2.0
    """
    predictions = np.asarray(predictions)
    if (
        predictions.ndim != 1
        or predictions.dtype.kind not in "iu"
        or not predictions.size
        or predictions.min() < 0
    ):
        raise ValueError(
            "Expected predicted classes, one per image, integers from 0. "
            f"Received: an array of shape {predictions.shape} and dtype "
            f"{predictions.dtype}"
        )
    counts = np.bincount(predictions)
    shares = counts[counts > 0] / counts.sum()
    # Rounded, because exp(log 3) is not exactly 3.
    return round(float(np.exp(-np.sum(shares * np.log(shares)))), 6)


def within_class_spread(features, labels) -> float:
    """Measures how much the features of one class vary.

    The spread is the root of the mean over classes of the unbiased variance,
    summed over features. Copies of one picture per class have the spread 0.

    Args:
        features: Float array `(n, features)`.
        labels: Int array `(n,)`. Classes with one image are left out.

    Returns:
        A float.

    Raises:
        ValueError: if the shapes do not match, a feature is a NaN or infinite,
            or no class has two images.

    Example:
        >>> di.metrics.within_class_spread([[1.0], [3.0], [5.0]], [0, 0, 1])
        1.4142135623730951
    """
    features, labels = np.asarray(features, "float64"), np.asarray(labels)
    if features.ndim != 2 or labels.shape != features.shape[:1]:
        raise ValueError(
            "Expected features (n, features) and labels (n,). Received: "
            f"shapes {features.shape} and {labels.shape}"
        )
    require_finite(features=features)
    variances = [
        features[labels == c].var(axis=0, ddof=1).sum()
        for c in np.unique(labels)
        if (labels == c).sum() > 1
    ]
    if not variances:
        raise ValueError(
            "The spread within classes needs a class with two images. "
            f"Received: {len(labels)} images of {len(np.unique(labels))} "
            "classes"
        )
    return float(np.sqrt(np.mean(variances)))


def alike(images, labels, wanted):
    """Picks the next image of the requested class, for each requested label.

    Args:
        images: Array `(n, ...)`.
        labels: Int array `(n,)`.
        wanted: Int array `(m,)`, the requested labels.

    Returns:
        An array `(m, ...)`, in the order of `wanted`.

    Raises:
        ValueError: if there is not one label per image, or a class has too few
            images.

    Example:
        >>> images, labels = np.array([10, 11, 12]), np.array([0, 1, 0])
        >>> di.metrics.alike(images, labels, [1, 0, 0]).tolist()
        [11, 10, 12]
    """
    images, labels = np.asarray(images), np.asarray(labels)
    if labels.shape != images.shape[:1]:
        raise ValueError(
            "Expected one label per image. Received: images of shape "
            f"{images.shape} and labels of shape {labels.shape}"
        )
    chosen = np.empty(len(wanted), int)
    for c in np.unique(wanted):
        places = np.flatnonzero(np.asarray(wanted) == c)
        found = np.flatnonzero(labels == c)[: len(places)]
        if len(found) < len(places):
            raise ValueError(
                f"`wanted` asks for {len(places)} images of class {c}. "
                f"Received: {len(found)} images of that class"
            )
        chosen[places] = found
    return images[chosen]
