"""Distances and scores of whole sets of images, computed in float64.

A figure made from features depends on the network, on the layer and on the
number of images. Compare figures of equal numbers of images only, and name all
three. Published ImageNet figures use one Inception network; features of another
network have another scale.
"""

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tf_deepinversion.core.checks import not_finite
from tf_deepinversion.core.checks import require_finite
from tf_deepinversion.core.checks import require_whole


class _Metric(keras.metrics.Metric):
    """A metric of sums in float64, over any number of batches."""

    def __init__(self, size, name):
        super().__init__(name=name, dtype="float64")
        if int(size) != size or size < 1:
            raise ValueError(
                "Expected a whole number of features or classes, 1 or more. "
                f"Received: {size}"
            )
        self.size = int(size)

    def _sum(self, name, *shape):
        # float64, because sums over many images lose digits in float32.
        return self.add_weight(
            name=name, shape=shape, initializer="zeros", dtype="float64"
        )

    def _rows(self, values):
        rows = ops.cast(ops.convert_to_tensor(values), "float64")
        if len(rows.shape) != 2 or rows.shape[-1] != self.size:
            raise ValueError(
                f"Expected an array of shape (n, {self.size}). "
                f"Received: shape={tuple(rows.shape)}"
            )
        return rows, ops.cast(ops.shape(rows)[0], "float64")

    def _require(self, least, what):
        """Checks what `update_state` has added, unless in a graph."""
        if not tf.executing_eagerly():
            return
        images = ops.convert_to_numpy(self.images.value)
        if images.min() < least:
            raise ValueError(
                f"{self.name} needs at least {what}. "
                f"Received: {images.astype(int).tolist()} images"
            )
        wrong = not_finite(self.variables)
        if wrong is not None:
            raise ValueError(
                f"{self.name} needs finite numbers. Received: a NaN or an "
                f"infinity in an earlier `update_state`: {wrong.name}"
            )


@keras.saving.register_keras_serializable("tf_deepinversion")
class InceptionScore(_Metric):
    """exp(mean KL(p(y|x) || p(y))): rewards certain and varied predictions.

    The score lies between 1 and the number of classes. It uses all images at
    once. Papers often report the mean over ten parts, which is smaller.

    Args:
        classes: Int, number of logits.
        name: String. Defaults to `"inception_score"`.

    Attributes:
        images: Variable, number of images so far.

    Example:
        >>> score = di.metrics.InceptionScore(classes=3)
        >>> score.update_state(100 * np.eye(3))
        >>> round(float(score.result()), 6), float(score.images)
        (3.0, 3.0)

    Reference:
        - Salimans et al., arXiv:1606.03498
    """

    def __init__(self, classes, name="inception_score"):
        super().__init__(classes, name)
        self.images = self._sum("images")
        self.probabilities = self._sum("probabilities", self.size)
        self.negative_entropy = self._sum("negative_entropy")

    def update_state(self, logits):
        """Adds images.

        Args:
            logits: Float array `(n, classes)`.
        """
        logits, count = self._rows(logits)
        log_p = ops.log_softmax(logits, axis=-1)
        p = ops.exp(log_p)
        self.images.assign_add(count)
        self.probabilities.assign_add(ops.sum(p, axis=0))
        # p log p tends to 0; an underflowed p would give 0 x -inf = NaN.
        terms = ops.where(p > 0, p * log_p, ops.zeros_like(p))
        self.negative_entropy.assign_add(ops.sum(terms))

    def result(self):
        """Computes the score.

        Returns:
            A scalar tensor.

        Raises:
            ValueError: if there is no image, or a logit was a NaN.
        """
        self._require(1, "one image")
        p = self.probabilities / self.images
        marginal = ops.sum(p * ops.log(ops.where(p > 0, p, ops.ones_like(p))))
        return ops.exp(self.negative_entropy / self.images - marginal)

    def get_config(self):
        return {"classes": self.size, "name": self.name}


@keras.saving.register_keras_serializable("tf_deepinversion")
class FrechetDistance(_Metric):
    """Squared distance of two sets of features, each modeled as a Gaussian.

    `|m - m'|^2 + tr(C + C' - 2 (C C')^(1/2))`, with means m and covariances C.
    The distance is biased: few images give too large a distance. Compare equal
    numbers of images only.

    Args:
        features: Int, number of features per image.
        name: String. Defaults to `"frechet_distance"`.

    Attributes:
        images: Variable `(2,)`, numbers of synthesized and of real images so
            far.

    Example:
        >>> distance = di.metrics.FrechetDistance(features=1)
        >>> distance.update_state(np.array([[0.0], [2.0]]))
        >>> distance.update_state(np.array([[3.0], [5.0]]), real=True)
        >>> round(float(distance.result()), 6)
        9.0

    Reference:
        - Heusel et al., arXiv:1706.08500
    """

    def __init__(self, features, name="frechet_distance"):
        super().__init__(features, name)
        self.images = self._sum("images", 2)
        self.first = self._sum("first", 2, self.size)
        self.second = self._sum("second", 2, self.size, self.size)

    def update_state(self, features, real=False):
        """Adds images to one of the two sets.

        Args:
            features: Float array `(n, features)`.
            real: Bool, whether the images are real. Defaults to False.

        Raises:
            ValueError: if the shape is another, or `real` is not a bool.
        """
        if real not in (False, True):
            raise ValueError(f"`real` must be a bool. Received: real={real!r}")
        # Sums of features and of their products add up over any batches.
        rows, count = self._rows(features)
        side = ops.one_hot(int(real), 2, dtype="float64")
        second = ops.transpose(rows) @ rows
        self.images.assign_add(side * count)
        self.first.assign_add(side[:, None] * ops.sum(rows, axis=0))
        self.second.assign_add(side[:, None, None] * second)

    def _require_precise(self):
        """Refuses features whose squares leave no digit for the variance."""
        if not tf.executing_eagerly():
            return
        count = ops.convert_to_numpy(self.images.value)
        power = np.trace(ops.convert_to_numpy(self.second.value), 0, 1, 2)
        first = ops.convert_to_numpy(self.first.value)
        variance = power / count - np.sum((first / count[:, None]) ** 2, 1)
        if np.any(1e-12 * power / count > variance):
            raise ValueError(
                "The features vary too little for their distance from 0: "
                "subtract the same vector from both sets, such as the mean of "
                "the real features, which leaves the Frechet distance as it "
                f"is. Received: variances of {variance.tolist()} beside mean "
                f"squares of {(power / count).tolist()}"
            )

    def _mean_and_covariance(self, side):
        count = self.images[side]
        mean = self.first[side] / count
        outer = mean[:, None] * mean[None] * count
        # The unbiased covariance.
        return mean, (self.second[side] - outer) / (count - 1)

    def result(self):
        """Computes the distance.

        Returns:
            A scalar tensor.

        Raises:
            ValueError: if a set has fewer than two images, a feature was a NaN
                or infinite, or rounding is as large as the features' spread.
        """
        self._require(2, "two images of each set")
        self._require_precise()
        mean, covariance = self._mean_and_covariance(0)
        other_mean, other = self._mean_and_covariance(1)
        # (C C')^(1/2) has the trace of (R C' R)^(1/2) with R = C^(1/2). The
        # latter is symmetric, so `eigh` applies; rounding may turn its zero
        # eigenvalues negative.
        root = _symmetric_root(covariance)
        values, _ = ops.linalg.eigh(root @ other @ root)
        crossed = ops.sum(ops.sqrt(ops.maximum(values, 0.0)))
        squared = ops.sum(ops.square(mean - other_mean))
        spread = ops.trace(covariance) + ops.trace(other) - 2 * crossed
        return ops.maximum(squared + spread, 0.0)

    def get_config(self):
        return {"features": self.size, "name": self.name}


def _symmetric_root(matrix):
    values, vectors = ops.linalg.eigh(matrix)
    roots = ops.sqrt(ops.maximum(values, 0.0))
    return (vectors * roots) @ ops.transpose(vectors)


def _distances(rows, others):
    """Computes squared distances `(rows, others)`, never below 0."""
    squares = (rows**2).sum(1)[:, None] + (others**2).sum(1)[None]
    return np.maximum(squares - 2 * rows @ others.T, 0)


def _covered(points, centers, neighbors, block):
    """Computes the share of points inside a ball about at least one center.

    The radius of a ball is the distance from the center to its k-th neighbor.
    """
    radii = np.concatenate(
        [
            # Place 0 is the center itself, at distance 0.
            np.partition(_distances(b, centers), neighbors, 1)[:, neighbors]
            for b in np.split(centers, range(block, len(centers), block))
        ]
    )
    inside = [
        (_distances(b, centers) <= radii).any(1)
        for b in np.split(points, range(block, len(points), block))
    ]
    return float(np.concatenate(inside).mean())


def precision_and_recall(
    made, real, neighbors=3, block=1000
) -> tuple[float, float]:
    """Measures how real synthesized images are, and how completely they cover.

    The function replaces each set by balls about its features. The radius of a
    ball is the distance to the k-th nearest neighbor in the same set.

    Args:
        made: Float array `(n, features)` of synthesized images.
        real: Float array `(m, features)` of real images.
        neighbors: Int k, at least 1 and less than n and m. Defaults to 3.
        block: Int, number of rows whose distances are in memory at once.
            Defaults to 1000.

    Returns:
        A pair: precision, the share of synthesized images inside the balls of
        real images; and recall, the share of real images inside the balls of
        synthesized images.

    Raises:
        ValueError: if the shapes do not match, a feature is a NaN or infinite,
            or a set has too few images.

    Example:
        >>> real = np.array([[0.0], [1.0], [10.0], [11.0]])
        >>> made = np.array([[0.0], [1.0]])
        >>> di.metrics.precision_and_recall(made, real, neighbors=1)
        (1.0, 0.5)

    Reference:
        - Kynkaanniemi et al., arXiv:1904.06991
    """
    made, real = (np.asarray(x, "float64") for x in (made, real))
    if made.ndim != 2 or real.ndim != 2 or made.shape[1] != real.shape[1]:
        raise ValueError(
            "Expected two arrays (n, features) with equal numbers of features. "
            f"Received: shapes {made.shape} and {real.shape}"
        )
    require_finite(made=made, real=real)
    require_whole(neighbors=neighbors, block=block)
    if not 1 <= neighbors < min(len(made), len(real)):
        raise ValueError(
            "`neighbors` must be at least 1 and less than the number of "
            f"images of either set. Received: neighbors={neighbors}, "
            f"{len(made)} and {len(real)} images"
        )
    # Distances do not depend on the origin; their rounding does.
    middle = real.mean(0)
    made, real = made - middle, real - middle
    return (
        _covered(made, real, neighbors, block),
        _covered(real, made, neighbors, block),
    )
