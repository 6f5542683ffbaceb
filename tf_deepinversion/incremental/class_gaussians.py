"""Classes as Gaussians of features, which follow a network that changes."""

import dataclasses

import keras
import numpy as np

from tf_deepinversion.core.array_file import load_arrays
from tf_deepinversion.core.array_file import save_arrays
from tf_deepinversion.core.array_file import symmetric_of
from tf_deepinversion.core.array_file import upper_of
from tf_deepinversion.core.checks import require_positive
from tf_deepinversion.core.pieces import pieces_of
from tf_deepinversion.incremental._pooled_features import pooled_features
from tf_deepinversion.incremental.check_tasks import as_task
from tf_deepinversion.incremental.head import Head
from tf_deepinversion.networks.copies import copy_of

FORMAT = "tf_deepinversion class gaussians 1"


@dataclasses.dataclass(frozen=True)
class ClassGaussians:
    """Mean and second moments of the pooled features of each class.

    `measure` measures a class while its images are available. When the network
    learns other classes, its features change, and `moved` moves the moments
    along: by the linear map that fits the change of the features of images that
    are available, real images of new classes and synthesized images of old
    classes. `network` solves a head from the moments, in closed form.

    With u = (h, 1) for features h, a class is kept as the matrix of the mean of
    u u^T, which holds the mean of h, too. No image is kept.

    Attributes:
        moments: Dict from classes to float32 arrays `(features + 1, features +
            1)`, symmetric.

    Example:
        >>> gaussians = di.incremental.ClassGaussians.measure(
        ...     teacher, images, labels
        ... )
        >>> gaussians.classes, gaussians.moments[0].shape
        ([0, 1, 2], (5, 5))
        >>> gaussians.network(teacher).output_shape
        (None, 3)

    Reference:
        - He et al., DPCR, arXiv:2503.05423, for the map and the closed form
    """

    moments: dict

    @property
    def classes(self) -> list:
        """List of ints, in ascending order."""
        return sorted(self.moments)

    @property
    def kept_bytes(self) -> int:
        """Int, number of bytes of the arrays that `save` writes."""
        return sum(array.nbytes for array in self._arrays().values())

    @classmethod
    def measure(
        cls, network, images, labels, preprocessing=None
    ) -> "ClassGaussians":
        """Measures the classes of images.

        Args:
            network: A `keras.Model` classifier, see `Head`.
            images: Array `(n, height, width, channels)` of integers in [0,
                255].
            labels: Int array `(n,)`.
            preprocessing: The network's `Preprocessing`, or None if the network
                is known by its name. Defaults to None.

        Returns:
            A `ClassGaussians`.

        Raises:
            TypeError: as for `Head`, or if images or labels are not arrays of
                integers.
            ValueError: as for `Head`, or if images and labels do not fit.
        """
        images, labels = as_task(images, labels)
        features = _extended(network, images, preprocessing)
        rows = {c: features[labels == c] for c in np.unique(labels).tolist()}
        return cls(
            {c: (u.T @ u / len(u)).astype("float32") for c, u in rows.items()}
        )

    def joined(self, other) -> "ClassGaussians":
        """Adds the classes of `other`, which replace classes of the same label.

        Raises:
            ValueError: if the features of the two differ in number.
        """
        shapes = {
            m.shape for m in [*self.moments.values(), *other.moments.values()]
        }
        if len(shapes) > 1:
            raise ValueError(
                "Expected Gaussians of the same number of features. "
                f"Received: moments of the shapes {sorted(shapes)}"
            )
        return ClassGaussians({**self.moments, **other.moments})

    def moved(
        self, old, new, images, labels, preprocessing=None
    ) -> "ClassGaussians":
        """Moves the moments from the features of one network to another's.

        The map P minimizes the mean over classes of the squared length of
        u P - u', where u are the old features of an image and u' the new ones.
        Moments M become P^T M P.

        Args:
            old: A `keras.Model`, the network of these moments.
            new: A `keras.Model`, the same network after a task.
            images: Array `(n, height, width, channels)` of integers in [0,
                255], of old classes as far as possible. More images than
                features.
            labels: Int array `(n,)`. Each class weighs the same.
            preprocessing: The `Preprocessing` of both networks, or None if they
                are known by their names. Defaults to None.

        Returns:
            A `ClassGaussians`.
        """
        images, labels = as_task(images, labels)
        one, other = (
            _extended(network, images, preprocessing) for network in (old, new)
        )
        _, places, counts = np.unique(
            labels, return_inverse=True, return_counts=True
        )
        change = least_squares_map(one, other, 1 / counts[places])
        return ClassGaussians(
            {
                label: (change.T @ moment @ change).astype("float32")
                for label, moment in self.moments.items()
            }
        )

    def head(self, shrinkage=1e-2) -> tuple:
        """Solves the head: linear discriminant analysis of the Gaussians.

        With the means mu_c and the mean S of the classes' covariances, the
        logits of features h are

            h^T S^-1 mu_c - mu_c^T S^-1 mu_c / 2,

        up to a number that all classes share, so that the mean of the logits
        is 0.

        Args:
            shrinkage: Float, positive, added to the diagonal of S relative to
                its mean. Defaults to 1e-2.

        Returns:
            A pair of float32 arrays: the kernel `(features, classes)` and the
            bias `(classes,)`.
        """
        require_positive(shrinkage=shrinkage)
        moments = np.array([self.moments[c] for c in self.classes], "float64")
        means, second = moments[:, -1, :-1], moments[:, :-1, :-1]
        within = np.mean(second - means[:, :, None] * means[:, None], 0)
        size = len(within)
        # Also if all images of each class are the same.
        scale = max(np.trace(within) / size, 1e-6)
        within += shrinkage * scale * np.eye(size)
        kernel = np.linalg.solve(within, means.T)
        bias = -np.sum(means.T * kernel, 0) / 2
        kernel, bias = (x - x.mean(-1, keepdims=True) for x in (kernel, bias))
        return kernel.astype("float32"), bias.astype("float32")

    def network(self, model, shrinkage=1e-2) -> keras.Model:
        """Copies a network, with the head that `head` solves.

        Args:
            model: A `keras.Model` classifier with these classes and a bias.
            shrinkage: Float, see `head`. Defaults to 1e-2.

        Returns:
            A `keras.Model`.

        Raises:
            ValueError: if the classes differ, or the head has no bias.
        """
        copy = copy_of(model)
        head = Head(copy)
        if self.classes != list(range(head.classes)):
            raise ValueError(
                f"Expected Gaussians of all {head.classes} classes of the "
                f"network. Received: classes {self.classes}"
            )
        if head.layer.bias is None:
            raise ValueError(
                "The head that Gaussians give needs a bias: build the network "
                f"with `use_bias=True`. Received: {head.layer.name!r}"
            )
        kernel, bias = self.head(shrinkage)
        if head.layer.bias.shape[0] == 1:  # the logits (0, x)
            kernel, bias = kernel[:, 1:] - kernel[:, :1], bias[1:] - bias[:1]
        head.layer.set_weights([kernel.reshape(head.layer.kernel.shape), bias])
        return copy

    def save(self, path):
        """Saves the moments as an `.npz` file, without images.

        Args:
            path: String or path.
        """
        save_arrays(path, self._arrays(), {"format": FORMAT})

    def _arrays(self) -> dict:
        moments = np.array([self.moments[label] for label in self.classes])
        return {
            "moments": upper_of(moments),
            "classes": np.array(self.classes, "int32"),
        }

    @classmethod
    def load(cls, path) -> "ClassGaussians":
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
            "a file that `ClassGaussians.save` wrote",
        )

    @classmethod
    def _of_arrays(cls, arrays, _) -> "ClassGaussians":
        moments = symmetric_of(arrays["moments"])
        labels = arrays["classes"].tolist()
        return cls(dict(zip(labels, moments, strict=True)))


def least_squares_map(old, new, weights, ridge=1e-6) -> np.ndarray:
    """Computes the matrix P that minimizes the mean of w |old P - new|^2.

    Args:
        old: Float array `(n, features)`.
        new: Float array `(n, features)`.
        weights: Float array `(n,)`.
        ridge: Float, added to the diagonal of the normal equations relative to
            its mean; it draws P to the identity. Defaults to 1e-6.

    Returns:
        A float64 array `(features, features)`.

    >>> old = np.array([[1.0, 1.0], [2.0, 1.0], [4.0, 1.0]])
    >>> change = np.array([[3.0, 0.0], [5.0, 1.0]])
    >>> least_squares_map(old, old @ change, np.ones(3)).round(3)
    array([[3., 0.],
           [5., 1.]])
    """
    weighted = (old * (weights / weights.sum())[:, None]).T
    normal = weighted @ old
    size = len(normal)
    # The moments of a feature that no image shows stay as they are.
    normal[np.diag_indices(size)] += ridge * np.trace(normal) / size
    return np.eye(size) + np.linalg.solve(normal, weighted @ (new - old))


def _extended(network, images, preprocessing) -> np.ndarray:
    """Returns the features of images, and 1: float64 `(n, features + 1)`."""
    model = pooled_features(network, preprocessing)
    features = np.concatenate(
        [
            keras.ops.convert_to_numpy(model(piece, training=False))
            for piece in pieces_of(images)
        ]
    ).astype("float64")
    return np.pad(features, [(0, 0), (0, 1)], constant_values=1)
