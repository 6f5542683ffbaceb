"""The same network with the moving statistics of other images."""

import keras
import numpy as np

from tf_deepinversion.networks.batch_norm_moments import Moments
from tf_deepinversion.networks.batch_norm_moments import batch_norms
from tf_deepinversion.networks.batch_norm_moments import epsilon_of
from tf_deepinversion.networks.batch_norm_moments import mean_and_variance_gaps
from tf_deepinversion.networks.copies import copy_of
from tf_deepinversion.networks.reader import read_statistics


def restated(model, images, preprocessing=None):
    """Copies a network; the copy stores the statistics of the given images.

    The copy computes the same function. Each BatchNormalization computes
    y = gamma (x - m) / s + beta, where s is sqrt(v + epsilon). The copy holds
    the images' mean m' and variance v' in place of m and v. The function of x
    stays the same with

        gamma' = gamma s' / s,    beta' = beta + gamma (m' - m) / s.

    Images synthesized from the copy resemble the given images, for instance
    images of some of the network's classes. Continue training with the original
    model: its gamma and beta suit the statistics of batches.

    Args:
        model: A `keras.Model` that can be copied. It stays unchanged.
        images: uint8 array `(n, height, width, channels)`.
        preprocessing: The network's `Preprocessing`, or None if the network is
            known by its name.

    Returns:
        A `keras.Model`, whose outputs differ by rounding only.

    Raises:
        ValueError: if there are no images, or a layer lacks gamma or beta.

    Example:
        >>> given = di.Preprocessing.of(teacher)
        >>> copy = di.networks.restated(teacher, images, given)
        >>> bool(np.allclose(copy(images), teacher(images), atol=1e-3))
        True
    """
    if not len(images):
        raise ValueError(
            "`images` must contain at least one image, to measure its "
            "statistics. Received: no image"
        )
    check_restatable(model)
    copy = copy_of(model)
    # The sums are of x - m. First m becomes the images' mean: otherwise the
    # variance may be a small difference of large numbers.
    for mean_alone in (True, False):
        seen = read_statistics(copy, images, preprocessing)
        for layer in batch_norms(copy):
            # A layer that is called twice sees the inputs of both calls.
            calls = [sums for of, sums in seen if of is layer]
            if calls:
                gaps = mean_and_variance_gaps(_total(calls), layer)
                _restate(layer, gaps[0], 0 if mean_alone else gaps[1])
    return copy


def check_restatable(model):
    """Checks that `restated` can copy a network.

    Raises:
        ValueError: if a layer has no gamma or beta.
    """
    bare = [
        layer.name
        for layer in batch_norms(model)
        if getattr(layer, "gamma", None) is None
        or getattr(layer, "beta", None) is None
    ]
    if bare:
        raise ValueError(
            "A BatchNormalization needs gamma and beta to compute the same "
            "function with other statistics. `learn_tasks(measure=False)` "
            f"avoids the need. Received: {model.name!r}, whose layers {bare} "
            "lack gamma or beta (`scale=False`, `center=False`)"
        )


def _total(calls):
    """Adds up the sums of all calls, in float64 to keep small differences."""
    return Moments(
        *(
            np.sum([keras.ops.convert_to_numpy(x) for x in part], 0, "float64")
            for part in zip(*calls, strict=True)
        )
    )


def _restate(layer, mean_gap, variance_gap):
    m, v, gamma, beta = (
        _array(x)
        for x in (
            layer.moving_mean,
            layer.moving_variance,
            layer.gamma,
            layer.beta,
        )
    )
    mean = m + _array(mean_gap)
    variance = np.maximum(0, v + _array(variance_gap))
    # The slope of y as a function of x stays the same.
    epsilon = epsilon_of(layer)
    slope = gamma / np.sqrt(v + epsilon)
    layer.moving_mean.assign(mean)
    layer.moving_variance.assign(variance)
    layer.gamma.assign(slope * np.sqrt(variance + epsilon))
    layer.beta.assign(beta + slope * (mean - m))


def _array(x):
    return np.asarray(keras.ops.convert_to_numpy(x), "float64")
