"""Traces a network's first BatchNormalization back to its training images.

If only convolutions and rescalings precede that layer, its inputs are affine in
the image. The layer's moving mean and variance, measured on the training
images, then tell the mean and deviation of the values that the network
received.
"""

import typing
import weakref

import keras
import numpy as np
import tensorflow as tf

from tf_deepinversion.networks.batch_norm_moments import batch_norms
from tf_deepinversion.networks.batch_norm_moments import channels_axis
from tf_deepinversion.networks.batch_norm_moments import tap
from tf_deepinversion.networks.call_hooks import collect
from tf_deepinversion.networks.compute_policy import reading

# Fewer channels could agree by chance.
_LEAST_CHANNELS = 8
# The least share of a channel's variance that brightness must explain.
_BRIGHT = 0.5
# Deviations further apart than this factor, or means further apart than one
# deviation, are a contradiction: [0, 1] and [-1, 1] differ by a factor of 2.
_FACTOR = 1.7
# The largest share of a moving variance that may be of its beginning.
_BEGUN = 0.5
# Pixels of images deviate by more gray levels.
_LEAST_LEVELS = 15

_found = weakref.WeakKeyDictionary()  # by network


class RememberedInput(typing.NamedTuple):
    """Mean and deviation of the values that a network received in training.

    Attributes:
        mean: Float, in the units of the network's input.
        deviation: Float, in the units of the network's input.
    """

    mean: float
    deviation: float


def remembered_input(model, image_shape=None):
    """Traces the first BatchNormalization's statistics back to the images.

    The mean m solves `moving_mean = response(0) + m response'`, by weighted
    least squares over the channels. The deviation s is the median of
    `sqrt(moving_variance / variance(1))`. `variance(1)` is the variance of the
    layer's inputs for noise of unit deviation with the spectrum of natural
    images, whose power falls with the square of the frequency. The median
    covers only channels that respond to brightness: channels that respond to
    edges depend on the sharpness of the images.

    Args:
        model: A `keras.Model`.
        image_shape: Tuple `(height, width, channels)`; None if the model
            fixes it.

    Returns:
        A `RememberedInput`, or None if the layers do not tell: without
        BatchNormalization, with fewer than 8 channels or fewer than 2 channels
        of brightness, after an activation, without training or after few
        steps, or if the channels contradict each other.
    """
    shape = tuple(image_shape or model.input_shape[1:])
    if not any(_may_tell(layer) for layer in batch_norms(model)):
        return None
    # Gray images of the values 0, 1 and 2 show whether the response is linear.
    levels = np.ones((3, *shape), "float32") * [[[[0]]], [[[1]]], [[[2]]]]
    noise = natural_noise(4, shape)
    # And noise of both signs, as large as pixels.
    images = np.concatenate([levels, noise, 255 * noise, -255 * noise])
    found = _first_inputs(model, images.astype("float32"))
    if found is None:
        return None
    layer, seen = found
    if not _may_tell(layer):
        return None
    mean = np.asarray(layer.moving_mean, "float64")
    variance = np.asarray(layer.moving_variance, "float64")
    # Channels that never vary tell nothing.
    alive = variance > 1e-6 * variance.max()
    if not alive.any():  # not finite, or never trained on anything that varies
        return None
    mean, variance, seen = mean[alive], variance[alive], seen[..., alive]
    zero, one, two = seen[:3].mean((1, 2))
    slope = one - zero
    if not np.allclose(two - one, slope, rtol=1e-2, atol=1e-4 * _size(one)):
        return None
    above, below = seen[7:11] - seen[0], seen[0] - seen[11:]
    if not np.allclose(above, below, rtol=1e-2, atol=1e-2 * _size(above)):
        return None
    unit = (seen[3:7] - seen[0]).var((0, 1, 2))
    bright = slope**2 > _BRIGHT * unit
    if bright.sum() < 2:
        return None
    if _least_variance(model) > _BEGUN * np.median(variance[bright]):
        return None
    deviations = np.sqrt(variance[bright] / unit[bright])
    low, s, high = np.quantile(deviations, [0.25, 0.5, 0.75])
    # Channels that disagree by a factor of 2 give no answer.
    if not high < 2 * low:
        return None
    # Weighted least squares over the channels.
    m = (slope * (mean - zero) / variance).sum() / (slope**2 / variance).sum()
    return RememberedInput(float(m), float(s))


def input_of(model) -> RememberedInput | None:
    """Returns the `remembered_input` of a network, traced once per training.

    A network without a fixed size gets images of 64x64. A network that was
    never called, or that has several inputs, gives None.
    """
    statistics = _statistics(model)
    if model not in _found or _found[model][0] != statistics:
        shape = getattr(model, "input_shape", None)
        image = isinstance(shape, tuple) and len(shape) == 4 and shape[-1]
        size = image and (shape[1] or 64, shape[2] or 64, shape[3])
        found = remembered_input(model, size) if size else None
        _found[model] = statistics, found
    return _found[model][1]


def disregard(model):
    """Ignores the present statistics of a network.

    After new classes, the statistics are those of new and replayed images. The
    statistics count again as soon as another training changes them.
    """
    _found[model] = _statistics(model), None


def _statistics(model) -> int:
    """Returns a hash of all moving means: training changes it."""
    means = (np.asarray(layer.moving_mean) for layer in batch_norms(model))
    return hash(tuple(mean.tobytes() for mean in means))


def contradict(told, remembered) -> bool:
    """Tells whether two `RememberedInput`s cannot describe the same images."""
    ratio = remembered.deviation / told.deviation
    gap = abs(remembered.mean - told.mean)
    widest = max(remembered.deviation, told.deviation)
    return not 1 / _FACTOR < ratio < _FACTOR or gap > widest


def in_words(remembered) -> str:
    """Says what inputs a network remembers, and what may have fed them."""
    fed = " or ".join(f"Preprocessing({x})" for x in feedings(remembered))
    return (
        "first BatchNormalization remembers inputs of mean "
        f"{remembered.mean:.3g} and deviation {remembered.deviation:.3g}"
        + (f", as from about {fed}" if fed else "")
    )


def feedings(remembered) -> list:
    """Finds what may have fed a network the inputs that it remembers.

    Args:
        remembered: A `RememberedInput`.

    Returns:
        A list of texts, the arguments of a `Preprocessing` each: for each
        common `pixel_range`, the mean and deviation of the pixels, such as
        `"102, 64, (0, 1)"`, if images can have them.
    """
    found = []
    for black, white in ((0, 255), (0, 1), (-1, 1)):
        levels = 255 / (white - black)
        mean = (remembered.mean - black) * levels
        std = remembered.deviation * levels
        # The largest variance of values in [0, 255] with that mean.
        if _LEAST_LEVELS < std <= np.sqrt(max(mean * (255 - mean), 0)):
            found.append(f"{mean:.0f}, {std:.0f}, ({black}, {white})")
    if not contradict(RememberedInput(0, 1), remembered):
        found.append('mean, std, "normalized"')
    return found


def _may_tell(layer) -> bool:
    """Tells whether a layer has enough channels and was ever trained."""
    mean = np.asarray(layer.moving_mean)
    trained = mean.any() or (np.asarray(layer.moving_variance) != 1).any()
    return mean.size >= _LEAST_CHANNELS and bool(trained)


def _least_variance(model) -> float:
    """Returns the least moving variance of a network's channels.

    Of the initial variance 1, a training of few steps leaves a share in each
    moving variance. This share is at most the least of them, and at most 1.
    """
    layers = [layer for layer in batch_norms(model) if _may_tell(layer)]
    least = min(float(np.min(layer.moving_variance)) for layer in layers)
    return min(1.0, least)


def _size(values):
    return float(np.abs(values).max()) + 1e-12


def _first_inputs(model, images):
    """Returns the BatchNormalization called first and its inputs, or None."""
    float32 = keras.DTypePolicy("float32")  # an input of uint8 wraps around
    with reading(model, float32), tap(model, sums=False), collect() as calls:
        model(tf.constant(images), training=False)
    calls = [call for call in calls if call.inputs is not None]
    if not calls or len(calls[0].inputs.shape) != 4:
        return None
    seen = np.asarray(calls[0].inputs, "float64")
    return calls[0].layer, np.moveaxis(seen, channels_axis(calls[0].layer), -1)


def natural_noise(count, shape, seed=0) -> np.ndarray:
    """Makes noise with the spectrum of natural images and unit deviation.

    The power falls with the square of the frequency. All channels share 90% of
    the variance.

    Args:
        count: Int.
        shape: Tuple `(height, width, channels)`.
        seed: Int.

    Returns:
        A float array `(count, height, width, channels)`.
    """
    height, width, channels = shape
    random = np.random.default_rng(seed)
    # Crops of noise of twice the size also differ in mean brightness.
    size = 2 * height, 2 * width
    frequency = np.hypot(
        np.fft.fftfreq(size[0])[:, None], np.fft.rfftfreq(size[1])[None]
    )
    frequency[0, 0] = frequency[frequency > 0].min()

    def plane():
        parts = random.standard_normal((2, count, *frequency.shape))
        spectrum = (parts[0] + 1j * parts[1]) / frequency
        noise = np.fft.irfft2(spectrum, size)[:, :height, :width]
        return noise / noise.std()

    common = plane()
    noise = np.stack(
        [
            np.sqrt(0.9) * common + np.sqrt(0.1) * plane()
            for _ in range(channels)
        ],
        axis=-1,
    )
    return noise / noise.std()
