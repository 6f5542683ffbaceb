"""What sets of images are like, by the features of any network, in float64.

A figure made of features says nothing without the network that they are of,
the layer, and the number of images: compare equal numbers, and name all three.
The published figures of ImageNet are of one Inception network; those of
another are on another scale.
"""

import keras
import numpy as np
from keras import ops


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


@keras.saving.register_keras_serializable("tf_deepinversion")
class InceptionScore(_Metric):
    """exp(mean KL(p(y|x) || p(y))): images of sure and of different classes.

    Between 1 and the number of classes. Of all images at once, not the mean of
    ten tenths that is often reported, which is smaller.

    Args:
        classes: Int, number of logits.
        name: String. Defaults to `"inception_score"`.

    Attributes:
        images: How many images it is of.

    Reference:
        - Salimans et al., arXiv:1606.03498

    >>> score = InceptionScore(classes=3)
    >>> score.update_state(100 * np.eye(3))
    >>> round(float(score.result()), 6), float(score.images)
    (3.0, 3.0)
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
        # Where a class has underflowed, p log p is 0 and not 0 x -inf.
        terms = ops.where(p > 0, p * log_p, ops.zeros_like(p))
        self.negative_entropy.assign_add(ops.sum(terms))

    def result(self):
        p = self.probabilities / self.images
        marginal = ops.sum(p * ops.log(ops.where(p > 0, p, ops.ones_like(p))))
        return ops.exp(self.negative_entropy / self.images - marginal)

    def get_config(self):
        return {"classes": self.size, "name": self.name}


@keras.saving.register_keras_serializable("tf_deepinversion")
class FrechetDistance(_Metric):
    """Squared distance of two sets of features, each taken as a Gaussian.

    It is `|m - m'|^2 + tr(C + C' - 2 (C C')^(1/2))`, of means m and covariances
    C. It is biased: few images give too large a distance, so compare equal
    numbers of images.

    Args:
        features: Int, how many.
        name: String. Defaults to `"frechet_distance"`.

    Attributes:
        images: How many images of either set it is of: a variable `(2,)`, the
            made ones first.

    Reference:
        - Heusel et al., arXiv:1706.08500

    >>> distance = FrechetDistance(features=1)
    >>> distance.update_state(np.array([[0.0], [2.0]]))
    >>> distance.update_state(np.array([[3.0], [5.0]]), real=True)
    >>> round(float(distance.result()), 6)
    9.0
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
            real: Bool, of which set they are.
        """
        rows, count = self._rows(features)
        side = ops.one_hot(int(real), 2, dtype="float64")
        second = ops.transpose(rows) @ rows
        self.images.assign_add(side * count)
        self.first.assign_add(side[:, None] * ops.sum(rows, axis=0))
        self.second.assign_add(side[:, None, None] * second)

    def _mean_and_covariance(self, side):
        count = self.images[side]
        mean = self.first[side] / count
        outer = mean[:, None] * mean[None] * count
        return mean, (self.second[side] - outer) / (count - 1)

    def result(self):
        """The distance.

        Raises:
            ValueError: if a set has fewer than two images.
        """
        count = ops.convert_to_numpy(self.images.value)
        if count.min() < 2:
            raise ValueError(
                "The Frechet distance needs two images of either set at "
                f"least. Received: {count.astype(int).tolist()}"
            )
        mean, covariance = self._mean_and_covariance(0)
        other_mean, other = self._mean_and_covariance(1)
        # (C C')^(1/2) has the trace of (R C' R)^(1/2) with R = C^(1/2), which
        # is symmetric; rounding makes zeros negative.
        root = _symmetric_root(covariance)
        values, _ = ops.linalg.eigh(root @ other @ root)
        crossed = ops.sum(ops.sqrt(ops.maximum(values, 0.0)))
        return (
            ops.sum(ops.square(mean - other_mean))
            + ops.trace(covariance)
            + ops.trace(other)
            - 2 * crossed
        )

    def get_config(self):
        return {"features": self.size, "name": self.name}


def _symmetric_root(matrix):
    values, vectors = ops.linalg.eigh(matrix)
    roots = ops.sqrt(ops.maximum(values, 0.0))
    return (vectors * roots) @ ops.transpose(vectors)


def _distances(rows, others):
    """Squared distances, `(rows, others)`; the cancellation of float64."""
    squares = (rows**2).sum(1)[:, None] + (others**2).sum(1)[None]
    return np.maximum(squares - 2 * rows @ others.T, 0)


def _covered(points, centers, neighbors, block):
    """The share of points in a ball about a center that reaches its k-th."""
    radii = np.concatenate(
        [
            # The nearest of all is the center itself.
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
    """How many images are like real ones, and how many real ones are reached.

    A set is taken as the union of balls about its features, each as large as
    the distance to the k-th nearest of the set.

    Args:
        made: Float array `(n, features)`.
        real: Float array `(m, features)`.
        neighbors: Int k, at least 1 and less than n and m. Defaults to 3.
        block: Int, rows whose distances are held in memory at once.

    Returns:
        A pair: precision, the share of made images among the real ones, and
        recall, the share of real ones among the made.

    Raises:
        ValueError: if the shapes do not fit or there are too few images.

    Reference:
        - Kynkaanniemi et al., arXiv:1904.06991
    """
    made, real = (np.asarray(x, "float64") for x in (made, real))
    if made.ndim != 2 or real.ndim != 2 or made.shape[1] != real.shape[1]:
        raise ValueError(
            "Expected two arrays (n, features) of equal features. "
            f"Received: shapes {made.shape} and {real.shape}"
        )
    if not 1 <= neighbors < min(len(made), len(real)):
        raise ValueError(
            "`neighbors` must be at least 1 and less than the number of "
            f"images of either set. Received: neighbors={neighbors}, "
            f"{len(made)} and {len(real)} images"
        )
    return (
        _covered(made, real, neighbors, block),
        _covered(real, made, neighbors, block),
    )
