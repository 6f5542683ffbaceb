"""A head that sums over classes determine: nothing is forgotten."""

import keras
import numpy as np

from tf_deepinversion.core.array_file import load_arrays
from tf_deepinversion.core.array_file import save_arrays
from tf_deepinversion.core.array_file import symmetric_of
from tf_deepinversion.core.array_file import upper_of
from tf_deepinversion.core.checks import require_positive
from tf_deepinversion.core.files import bytes_of_network
from tf_deepinversion.core.files import network_of_bytes
from tf_deepinversion.core.keras_internals import functional_of
from tf_deepinversion.core.pieces import pieces_of
from tf_deepinversion.incremental.check_tasks import as_task
from tf_deepinversion.networks.copies import copy_of
from tf_deepinversion.networks.image_shape import takes

FORMAT = "tf_deepinversion analytic head 2"
RIDGES = np.logspace(-5, 1, 25)  # among which cross-validation chooses
SMALLEST = 1e-4  # error of the regression, where it fits exactly


class AnalyticHead:
    """Ridge regression from fixed features to classes, kept as sums.

    Let z be the features of an image. The head keeps the mean mu_c of each
    class c, and A, the sum over classes of the mean of z z^T. With the mean m
    and the deviations s of all features, both read from these sums, ridge
    regression of one-hot labels of C classes is

        W = (R + ridge I)^-1 B,    y = W^T (z - m) / s + 1 / C,

    where R is the correlation matrix of the features and column c of B is
    (mu_c - m) / (s C). The logits are (y - 1 / C) / v, where v is the mean
    squared error of y: the classes' log-probabilities if errors are Gaussian.

    The result is the regression on the images of all classes at once, whatever
    the order of the tasks, and no image is kept. It is not the network that
    learns: the features never change. Each class weighs the same, however many
    images it has.

    Args:
        features: A `keras.Model` from pixels in [0, 255] to features `(batch,
            features)`, such as `random_features` or `pooled_features`. The head
            keeps a copy.
        ridge: Float, positive, added to the diagonal of R, or None for
            `best_ridge`. Defaults to None.

    Attributes:
        features: The copy.
        ridge: Float or None. It may change at any time.

    Raises:
        ValueError: if `features` has another output, or `ridge` is out of
            range.

    Example:
        >>> features = di.incremental.random_features((8, 8, 1), filters=2)
        >>> head = di.incremental.AnalyticHead(features)
        >>> head.update(images, labels)
        >>> head.classifier().output_shape, head.classes
        ((None, 3), [0, 1, 2])

    Reference:
        - Zhuang et al., ACIL, arXiv:2205.14922
        - Golub, Heath and Wahba, Generalized cross-validation as a method for
          choosing a good ridge parameter, Technometrics 21 (1979)
    """

    def __init__(self, features, *, ridge=None):
        if ridge is not None:
            require_positive(ridge=ridge)
        shape = getattr(features, "output_shape", None)
        if not (isinstance(shape, tuple) and len(shape) == 2 and shape[1]):
            raise ValueError(
                "`features` must be a `keras.Model` with one output (batch, "
                "features). `pooled_features(network)` makes one of a "
                f"classifier. Received: {features!r} with the output {shape}"
            )
        self.features = copy_of(features)
        self.features.trainable = False
        self.ridge = ridge if ridge is None else float(ridge)
        self._second = np.zeros((shape[1], shape[1]), "float32")
        self._means, self._counts = {}, {}  # by class

    @property
    def classes(self) -> list:
        """List of ints, the classes so far, in ascending order."""
        return sorted(self._means)

    @property
    def kept_bytes(self) -> int:
        """Int, number of bytes of the arrays that `save` writes.

        This is all that is kept of the classes: the sums and the features.
        """
        return sum(array.nbytes for array in self._arrays().values())

    def update(self, images, labels):
        """Adds the images of new classes.

        Args:
            images: Array `(n, height, width, channels)` of integers in [0,
                255].
            labels: Int array `(n,)`.

        Raises:
            TypeError: if images or labels are not arrays of integers.
            ValueError: if shapes do not fit, if a label is negative, or if a
                class was added before.
        """
        images, labels = as_task(images, labels)
        if not takes(self.features.input_shape[1:], images.shape[1:]):
            raise ValueError(
                "Expected images of the shape that the features take, "
                f"{self.features.input_shape[1:]}. "
                f"Received: {images.shape[1:]}"
            )
        new = np.unique(labels).tolist()
        again = sorted(set(new) & set(self._means))
        if again or new[0] < 0:
            raise ValueError(
                "Labels must be 0 or more, and all images of a class come in "
                "one update, because each class weighs the same. Received: "
                f"labels {new}, after updates of the classes {self.classes}"
            )
        means, counts, second = {}, {}, np.zeros(self._second.shape)
        for label in new:
            mean, moment = self._moments(images[labels == label])
            means[label] = mean.astype("float32")
            counts[label] = int(np.sum(labels == label))
            second += moment
        # All at once: an interruption leaves the head as it was.
        self._means, self._counts, self._second = (
            self._means | means,
            self._counts | counts,
            (self._second + second).astype("float32"),
        )

    def _moments(self, images) -> tuple:
        """Returns the means of z and of z z^T over images."""
        total, second = 0.0, np.zeros(self._second.shape)
        for piece in pieces_of(images):
            z = self.features(piece.astype("float32"), training=False)
            z = keras.ops.convert_to_numpy(z).astype("float32")
            total = total + z.sum(0, dtype="float64")
            second += z.T @ z
        return total / len(images), second / len(images)

    def solve(self) -> tuple:
        """Solves the regression, for features that are not standardized.

        Returns:
            A pair of float32 arrays: the kernel `(features, classes)` and the
            bias `(classes,)` of the logits.

        Raises:
            ValueError: if the classes are fewer than 2 or leave gaps.
        """
        correlation, targets, scale, center = self._equations()
        count, ridge = len(self._means), self.ridge
        if ridge is None:
            ridge = self._best_ridge(correlation, targets)
        eye = np.eye(len(scale))
        kernel = np.linalg.solve(correlation + ridge * eye, targets)
        # The mean of (y - W^T z)^2 over images and C classes, multiplied out:
        # y^2 - 2 W B + W R W. Summed over the classes, y^2 is 1 - 1 / C.
        fitted = 2 * targets - correlation @ kernel
        error = (1 - 1 / count - np.sum(kernel * fitted)) / count
        kernel *= scale[:, None] / max(error, SMALLEST)
        return kernel.astype("float32"), (-center @ kernel).astype("float32")

    def _equations(self) -> tuple:
        """Returns R, B, 1 / s and m."""
        count = len(self._means)
        if count < 2 or self.classes != list(range(count)):
            raise ValueError(
                "The classes must be 0, 1 and so on without gaps, at least 2, "
                "before the head can be solved: update it with images of the "
                "missing classes. A head of sums knows no other classes; if "
                "those images are gone, `abd` and `replay` teach a network. "
                f"Received: classes {self.classes}"
            )
        means = np.array([self._means[c] for c in self.classes], "float64")
        center = means.mean(0)
        correlation, scale = _correlation(self._second / count, center)
        targets = (means - center).T * scale[:, None] / count
        return correlation, targets, scale, center

    def best_ridge(self) -> float:
        """Chooses the ridge by generalized cross-validation, from the sums.

        Let e be the mean squared error of the regression on n images, and d the
        trace of R (R + ridge I)^-1. The ridge minimizes e / (1 - (d + 1) / n)^2
        among 25 values from 1e-5 to 10. It approximates the ridge with the
        least error on images that are left out. No image is read again.

        Returns:
            A float; the largest value if a class has so few images that no
            error can be estimated.

        Raises:
            ValueError: as for `solve`.
        """
        return self._best_ridge(*self._equations()[:2])

    def _best_ridge(self, correlation, targets):
        count = len(self._means)
        # As many images as weigh the same, if classes differ in size.
        images = count**2 / sum(1 / n for n in self._counts.values())
        values, vectors = np.linalg.eigh(correlation)
        values = np.maximum(values, 0)
        power = np.sum((vectors.T @ targets) ** 2, 1)
        scores = []
        for ridge in RIDGES:
            # Along an eigenvector of R with the eigenvalue v, where B is t, the
            # solution is w = t / (v + r), and
            # 2 t w - v w^2 = t^2 (v + 2 r) / (v + r)^2.
            left = values + ridge
            error = 1 - 1 / count - np.sum(power * (left + ridge) / left**2)
            free = 1 - (np.sum(values / left) + 1) / images
            scores.append(error / free**2 if free > 0 else np.inf)
        # With fewer images than the features can fit, no error is estimated.
        known = np.isfinite(scores).any()
        return float(RIDGES[np.argmin(scores) if known else -1])

    def classifier(self) -> keras.Model:
        """Builds a network of the features and the solved head.

        Returns:
            A plain `keras.Model` from pixels in [0, 255] to logits `(batch,
            classes)`.

        Raises:
            ValueError: as for `solve`.
        """
        kernel, bias = self.solve()
        features, name = copy_of(self.features), "logits"
        while name in {x.name for x in functional_of(features).operations}:
            name += "_"
        head = keras.layers.Dense(len(bias), name=name, trainable=False)
        logits = head(features.outputs[0])
        head.set_weights([kernel, bias])
        return keras.Model(features.inputs[0], logits, name="analytic")

    def save(self, path):
        """Saves the head with its features as one `.npz` file, without images.

        Args:
            path: String or path.
        """
        header = {"format": FORMAT, "ridge": self.ridge}
        save_arrays(path, self._arrays(), header)

    def _arrays(self) -> dict:
        size = len(self._second)
        means = [self._means[label] for label in self.classes]
        return {
            "second": upper_of(self._second),
            "means": np.array(means, "float32").reshape(-1, size),
            "classes": np.array(self.classes, "int32"),
            "counts": np.array([self._counts[c] for c in self.classes]),
            "features": np.frombuffer(bytes_of_network(self.features), "uint8"),
        }

    @classmethod
    def load(cls, path) -> "AnalyticHead":
        """Loads a file that `save` wrote.

        Args:
            path: String or path.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if the file is damaged, or holds something else.
        """
        return load_arrays(
            path,
            FORMAT,
            cls._of_arrays,
            "a file that `AnalyticHead.save` wrote",
        )

    @classmethod
    def _of_arrays(cls, arrays, header) -> "AnalyticHead":
        head = cls(
            network_of_bytes(arrays["features"].tobytes()),
            ridge=header["ridge"],
        )
        head._second = symmetric_of(arrays["second"])
        labels = arrays["classes"].tolist()
        head._means = dict(zip(labels, arrays["means"], strict=True))
        counts = arrays["counts"].tolist()
        head._counts = dict(zip(labels, counts, strict=True))
        return head


def _correlation(second, center) -> tuple:
    """Returns the correlation matrix of features, and 1 / deviations."""
    second = second.astype("float64")
    covariance = second - np.outer(center, center)
    variance, most = np.diag(covariance), np.diag(second)
    # Below the rounding of the sums a feature is constant, and tells nothing.
    scale = np.where(variance > 1e-6 * most, variance, np.inf) ** -0.5
    return covariance * np.outer(scale, scale), scale
