"""Reads logits, features and statistics of images, batch by batch."""

import numpy as np
from keras import ops

from tf_deepinversion.core.checks import check_pixels
from tf_deepinversion.core.pieces import pieces_of
from tf_deepinversion.networks.batch_norm_moments import Moments
from tf_deepinversion.networks.batch_norm_moments import moments
from tf_deepinversion.networks.classifier import Classifier
from tf_deepinversion.networks.preprocessing import Preprocessing


def readings_of(classifier, images, preprocessing, take, batch_size=None):
    """Reads images piece by piece, without the sums of statistics.

    Args:
        classifier: A `Classifier`.
        images: uint8 array `(n, height, width, channels)`.
        preprocessing: The network's `Preprocessing`.
        take: Function from a `Reading` to a tensor with a row for each image.
        batch_size: See `pieces_of`.

    Returns:
        An array with n rows.
    """
    with classifier.open(sums=False):
        found = [
            ops.convert_to_numpy(
                take(classifier.read(preprocessing.fed(pixels)))
            )
            for pixels in pieces_of(images, batch_size)
        ]
    return np.concatenate(found)


def read_logits(model, images, preprocessing=None, batch_size=None):
    """Reads a network's logits for images.

    Args:
        model: A `keras.Model` classifier.
        images: uint8 array `(n, height, width, channels)`.
        preprocessing: The network's `Preprocessing`, or None if the network is
            known by its name.
        batch_size: Int, number of images per call; defaults to `pieces_of`'s.
            The result depends on it only by rounding.

    Returns:
        A float array `(n, classes)`.

    Raises:
        TypeError: if the images are not integers.
        ValueError: if the images have another shape.
    """
    images = check_pixels(images)
    preprocessing = Preprocessing.of(model, preprocessing)
    return readings_of(
        Classifier(model, images.shape[1:]),
        images,
        preprocessing,
        lambda reading: reading.logits,
        batch_size,
    )


def read_statistics(
    model, images, preprocessing=None, batch_size=None, targets=None
) -> list:
    """Reads the statistics of a network's layers over images.

    Args:
        model: See `read_logits`.
        images: See `read_logits`.
        preprocessing: See `read_logits`.
        batch_size: See `read_logits`.
        targets: `FeatureTargets` of the network, or None.

    Returns:
        A list of pairs (layer, `Moments` over all images), one for each
        BatchNormalization call; with targets, one for each `LayerStatistics`.

    Raises:
        TypeError: if the images are not integers.
        ValueError: if the images have another shape.
    """
    images = check_pixels(images)
    preprocessing = Preprocessing.of(model, preprocessing)
    if targets is not None:
        targets.require_network(model)
    classifier = Classifier(model, images.shape[1:], targets=targets)
    sums = None
    with classifier.open():
        for pixels in pieces_of(images, batch_size):
            reading = classifier.read(preprocessing.fed(pixels))
            # Sums add up over the pieces, so the statistics are those of all
            # images.
            piece = [moments(call) for call in reading.batch_norm_calls]
            sums = _added(sums, piece)
    return list(zip(classifier.batch_norms, sums, strict=True))


def _added(sums, piece) -> list:
    """Adds the moments of a piece to the sums so far."""
    if sums is None:
        return piece
    return [
        Moments(*(a + b for a, b in zip(s, p, strict=True)))
        for s, p in zip(sums, piece, strict=True)
    ]


def penultimate_features(model, images, preprocessing=None) -> np.ndarray:
    """Reads the inputs of a network's last layer.

    The functions of `metrics` that compare features take these.

    Args:
        model: A `keras.Model` classifier. The function returns the logits of a
            model whose last layer is not dense.
        images: uint8 array `(n, height, width, channels)`.
        preprocessing: The network's `Preprocessing`, or None if the network is
            known by its name. Defaults to None.

    Returns:
        A float array `(n, features)`.

    Raises:
        TypeError: if the images are not integers.
        ValueError: if the images have another shape, or there is no image.

    Example:
        >>> features = di.metrics.penultimate_features(teacher, images)
        >>> labels = np.argmax(teacher(images), axis=-1)
        >>> di.metrics.within_class_spread(features, labels) > 0
        True
    """
    images = check_pixels(images)
    preprocessing = Preprocessing.of(model, preprocessing)
    return readings_of(
        Classifier(model, images.shape[1:]),
        images,
        preprocessing,
        lambda reading: reading.features,
    )


def resized(images, network) -> np.ndarray:
    """Resizes images to the size that a network requires, as uint8."""
    images = check_pixels(images)
    shape = getattr(network, "input_shape", None)  # none if subclassed
    size = tuple(shape[1:3]) if shape else (None,)
    if None in size or size == images.shape[1:3]:
        return images
    # Antialiasing, because a smaller image would otherwise skip pixels.
    scaled = ops.image.resize(ops.cast(images, "float32"), size, antialias=True)
    return np.rint(ops.convert_to_numpy(scaled)).clip(0, 255).astype("uint8")
