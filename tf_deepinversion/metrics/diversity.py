"""How different synthesized images of a class are."""

import numpy as np


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
