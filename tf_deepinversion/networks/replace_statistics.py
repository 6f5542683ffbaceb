"""The same network, with the moving statistics of other images."""

import keras
import numpy as np

from tf_deepinversion.networks.batch_norm_moments import Moments
from tf_deepinversion.networks.batch_norm_moments import batch_norms
from tf_deepinversion.networks.batch_norm_moments import mean_and_variance_gaps
from tf_deepinversion.networks.copies import copy_of
from tf_deepinversion.networks.reader import read


def restated(model, images, preprocessing=None):
    """A copy that answers as before, and remembers these images instead.

    Each BatchNormalization computes y = gamma (x - m) / s + beta, where s is
    sqrt(v + epsilon). With the mean m' and the variance v' of what it sees of
    the images in place of m and v, that stays the same function of x if

        gamma' = gamma s' / s,    beta' = beta + gamma (m' - m) / s.

    So what is synthesized from the copy looks like these images: those of a
    few classes, say, of a network that was trained on others too. Train
    further with the model itself: statistics of batches suit its own gamma
    and beta.

    Args:
        model: A `keras.Model` that can be copied; it stays as it is.
        images: uint8 array `(n, height, width, channels)`.
        preprocessing: The network's `Preprocessing`; None if known by name.

    Returns:
        A `keras.Model`. Its answers differ by rounding.

    Raises:
        ValueError: if there are no images, or a layer has no gamma or beta to
            hold what changes.
    """
    if not len(images):
        raise ValueError(
            "`images` must have at least one image, to measure statistics of. "
            "Received: none"
        )
    check_restatable(model)
    copy = copy_of(model)
    _, seen = read(copy, images, preprocessing)
    for layer in batch_norms(copy):
        # One that is called twice has seen both.
        calls = [sums for of, sums in seen if of is layer]
        if calls:
            _restate(layer, *mean_and_variance_gaps(_total(calls), layer))
    return copy


def check_restatable(model):
    """Refuses a network that `restated` cannot copy.

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
            "A BatchNormalization needs gamma and beta, to stay the same "
            f"function with other statistics. Received: {model.name!r}, whose "
            f"layers {bare} have not both (`center=False`, `scale=False`). "
            "`learn_tasks` does without by `measure=False`."
        )


def _total(calls):
    """The sums of all calls, in float64."""
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
    mean, variance = m + _array(mean_gap), v + _array(variance_gap)
    slope = gamma / np.sqrt(v + layer.epsilon)
    layer.moving_mean.assign(mean)
    layer.moving_variance.assign(variance)
    layer.gamma.assign(slope * np.sqrt(variance + layer.epsilon))
    layer.beta.assign(beta + slope * (mean - m))


def _array(x):
    return keras.ops.convert_to_numpy(x).astype("float64")
