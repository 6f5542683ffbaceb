"""Means and variances that the features of synthesized images should have."""

import hashlib

import numpy as np

from tf_deepinversion.core.array_file import load_arrays
from tf_deepinversion.core.array_file import save_arrays
from tf_deepinversion.core.checks import check_pixels
from tf_deepinversion.core.described import add_arrays
from tf_deepinversion.core.keras_internals import layers_of
from tf_deepinversion.core.pieces import pieces_of
from tf_deepinversion.networks.feature_reader import FeatureReader
from tf_deepinversion.networks.feature_reader import calls_to
from tf_deepinversion.networks.layer_statistics import LayerStatistics
from tf_deepinversion.networks.layer_statistics import implied_statistics
from tf_deepinversion.networks.layer_statistics import new_statistics
from tf_deepinversion.networks.layer_statistics import normalizations
from tf_deepinversion.networks.layer_statistics import side_of
from tf_deepinversion.networks.preprocessing import Preprocessing
from tf_deepinversion.networks.statistics_check import folded_hint

FORMAT = "tf_deepinversion feature targets 1"
FEWEST = 10


class FeatureTargets:
    """Means and variances of a network's features, for `FeatureStatistics`.

    A teacher with BatchNormalization stores these statistics and needs no
    targets. For another teacher, `measure` measures them on a few unlabeled
    images, and `from_weights` derives them from the teacher alone. In
    `DeepInversion`, `synthesize` and `distill`, targets replace the statistics
    of BatchNormalization layers.

    Args:
        statistics: List of `LayerStatistics`, in the order of the calls.
        network: String, the fingerprint of the teacher's weights.
        source: String, origin of the statistics, such as `"images"`.
        images: Int, number of images that were measured. Defaults to 0.

    Raises:
        ValueError: if there are no statistics, or a value is not finite.

    Example:
        >>> pictures = np.concatenate([images, images[:, ::-1]])
        >>> targets = di.FeatureTargets.measure(teacher, pictures)
        >>> targets.images, targets.statistics[0].moving_mean.shape
        (24, (4,))

    Reference:
        - Yin et al., arXiv:1912.08795, for statistics of 100 images
    """

    def __init__(self, statistics, network, source, images=0):
        self.statistics = list(statistics)
        self.network, self.source = str(network), str(source)
        self.images = int(images)
        if not self.statistics:
            raise ValueError(
                "Targets need the statistics of at least one layer. "
                "Received: none"
            )
        for one in self.statistics:
            values = np.append(one.moving_mean, one.moving_variance)
            if not np.isfinite(values).all() or one.moving_variance.min() < 0:
                raise ValueError(
                    "Means must be finite, variances finite and at least 0: "
                    "the network gives values that are not, check its "
                    f"preprocessing. Received: statistics of {one.name!r}"
                )

    @classmethod
    def measure(
        cls,
        teacher,
        images,
        layers=None,
        preprocessing=None,
        *,
        batch_size=None,
    ) -> "FeatureTargets":
        """Measures the statistics of unlabeled images.

        Mean and variance run over all images and over all axes of the features
        except the channels. They do not depend on `batch_size`, up to the
        rounding of the network itself.

        Args:
            teacher: A `keras.Model` classifier.
            images: uint8 array `(n, height, width, channels)` of at least 10
                images, better 100, that resemble the training images.
            layers: List of layers of the teacher, or of their names. The
                method measures the inputs of a normalization and the outputs
                of any other layer. Defaults to all normalizations, or, without
                normalizations, to all convolutions and dense layers except the
                head.
            preprocessing: The teacher's `Preprocessing`, or None if the teacher
                is known by its name. Defaults to None.
            batch_size: Int, number of images per call. Defaults to a number
                that fits into memory.

        Returns:
            A `FeatureTargets`.

        Raises:
            TypeError: if the images are not integers.
            ValueError: if there are fewer than 10 images, if they have another
                shape, or if a layer does not exist or is never called.
        """
        images = check_pixels(images)
        if len(images) < FEWEST:
            raise ValueError(
                f"Expected at least {FEWEST} images, better 100: the variances "
                "of fewer say little of other images. "
                f"Received: {len(images)} images"
            )
        preprocessing = Preprocessing.of(teacher, preprocessing)
        reader = FeatureReader(teacher, layers, images.shape[1:])
        sums = None
        for pixels in pieces_of(images, batch_size):
            rows = reader.rows(preprocessing.fed(pixels))
            found = [_Sums.of(x) for x in rows]
            sums = found if sums is None else list(map(_Sums.plus, sums, found))
        statistics = [
            new_statistics(*call, side_of(call[1]), one.mean, one.variance)
            for call, one in zip(reader.calls, sums, strict=True)
        ]
        return cls(statistics, fingerprint(teacher), "images", len(images))

    @classmethod
    def from_weights(cls, teacher, *, image_shape=None) -> "FeatureTargets":
        """Derives statistics from a teacher's weights, without any image.

        A BatchNormalization stores the mean and the variance of its inputs. The
        outputs of a `LayerNormalization`, `GroupNormalization` or
        `RMSNormalization` have mean beta and variance gamma^2 *if all channels
        are alike*. In trained networks some channels differ, so these targets
        are worth less than targets of images, see docs/teachers.md.

        Args:
            teacher: A `keras.Model` classifier with normalizations.
            image_shape: Tuple `(height, width, channels)`, required if the
                teacher does not fix it. Defaults to the teacher's.

        Returns:
            A `FeatureTargets`.

        Raises:
            ValueError: if the teacher has no normalization.
        """
        reader = FeatureReader(teacher, None, image_shape)
        if not normalizations(teacher):
            raise ValueError(
                "The weights of a network without normalizations say nothing "
                f"of its features.{folded_hint(teacher)} Take "
                "`FeatureTargets.measure(teacher, images)`. "
                f"Received: {teacher.name!r}"
            )
        reader.rows(reader.noise())
        statistics = [implied_statistics(*call) for call in reader.calls]
        return cls(statistics, fingerprint(teacher), "weights")

    def save(self, path):
        """Saves the statistics as an `.npz` file without images.

        Args:
            path: String or path.
        """
        header = {
            "format": FORMAT,
            "network": self.network,
            "source": self.source,
            "images": self.images,
            "layers": [
                [x.place, x.name, x.kind, x.side, x.axis, x.epsilon]
                for x in self.statistics
            ],
        }
        arrays = {}
        for i, one in enumerate(self.statistics):
            arrays[f"mean_{i}"] = one.moving_mean
            arrays[f"variance_{i}"] = one.moving_variance
        save_arrays(path, arrays, header)

    @classmethod
    def load(cls, path) -> "FeatureTargets":
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
            "a file that `FeatureTargets.save` wrote: measure again",
        )

    @classmethod
    def _of_arrays(cls, arrays, header) -> "FeatureTargets":
        statistics = [
            LayerStatistics(
                *layer, arrays[f"mean_{i}"], arrays[f"variance_{i}"]
            )
            for i, layer in enumerate(header["layers"])
        ]
        return cls(
            statistics, header["network"], header["source"], header["images"]
        )

    def get_config(self) -> dict:
        """Describes these targets, to tell a run with other targets."""
        return {
            "statistics": [
                [x.place, x.side, x.epsilon, x.moving_mean, x.moving_variance]
                for x in self.statistics
            ],
            "network": self.network,
            "source": self.source,
            "images": self.images,
        }

    def require_network(self, teacher):
        """Checks that the targets belong to this network.

        Raises:
            ValueError: if the network has other layers or other weights.
        """
        places = layers_of(teacher)
        alike = all(
            one.place < len(places)
            and type(places[one.place]).__name__ == one.kind
            for one in self.statistics
        )
        if not alike or fingerprint(teacher) != self.network:
            layer = "the same layers, but other weights"
            raise ValueError(
                "The targets are of another network, or of this network with "
                "other weights: take `FeatureTargets.measure(teacher, images)` "
                f"of this one. Received: {teacher.name!r}, which has "
                f"{layer if alike else 'other layers'}"
            )

    def layers_of(self, model) -> list:
        """Lists the layers of a network whose calls `calls_of` needs."""
        found = layers_of(model)
        return [found[i] for i in sorted({x.place for x in self.statistics})]

    def calls_of(self, model, calls) -> list:
        """Finds the calls to which the statistics belong.

        Args:
            model: The network.
            calls: List of `Call`, in the order of one reading.

        Returns:
            A list of `Call`, one for each of `statistics`.

        Raises:
            ValueError: if the network calls other layers.
        """
        found = calls_to(self.layers_of(model), calls)
        layers = layers_of(model)
        expected = [layers[one.place] for one in self.statistics]
        if [call.layer for call in found] != expected:
            raise ValueError(
                "The network calls other layers than when the targets were "
                "made, or in another order: measure again. Received: calls of "
                f"{', '.join(call.layer.name for call in found)}"
            )
        return [
            one.call_of(call)
            for one, call in zip(self.statistics, found, strict=True)
        ]


def fingerprint(model) -> str:
    """Hashes a network's weights, to tell it from other networks."""
    digest = hashlib.sha256()
    add_arrays(digest, model.get_weights())
    return digest.hexdigest()[:32]


class _Sums:
    """Count, mean and squared deviations of rows.

    They add up over pieces without differences of large numbers.
    """

    def __init__(self, count, mean, squares):
        self.count, self.mean, self.squares = count, mean, squares

    @classmethod
    def of(cls, rows):
        with np.errstate(invalid="ignore"):  # the constructor refuses NaN
            mean = rows.mean(0)
            return cls(len(rows), mean, ((rows - mean) ** 2).sum(0))

    def plus(self, other):
        # The deviations within both parts, and between the means of the parts.
        count, gap = self.count + other.count, other.mean - self.mean
        mean = self.mean + gap * other.count / count
        between = gap**2 * self.count * other.count / count
        return _Sums(count, mean, self.squares + other.squares + between)

    @property
    def variance(self):
        return self.squares / self.count
