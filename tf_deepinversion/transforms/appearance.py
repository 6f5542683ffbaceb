"""Transforms of brightness, and blends of two images."""

import keras
import tensorflow as tf
from keras import ops

from tf_deepinversion.core.checks import is_within
from tf_deepinversion.networks import replicas
from tf_deepinversion.transforms.base import Transform
from tf_deepinversion.transforms.base import uniform


@keras.saving.register_keras_serializable("tf_deepinversion")
class MixUp(Transform):
    """Blends some images of a batch with random other images of the batch.

    Use it in distillation, where the teacher labels the blends. Under several
    replicas, an image can be blended with an image of any replica.

    Args:
        probability: Float in [0, 1], the probability that an image is
            blended. Defaults to 0.25.

    Raises:
        ValueError: if `probability` is out of range.

    Example:
        >>> images = np.array([0.0, 100.0], "float32").reshape(2, 1, 1, 1)
        >>> mix = di.MixUp()
        >>> numbers = np.array([[0.9, 0.0, 0.5], [0.1, 0.0, 0.5]], "float32")
        >>> np.ravel(mix(images, numbers)).tolist()  # the second: 50% of each
        [0.0, 50.0]

    Reference:
        - Zhang et al., mixup, arXiv:1710.09412. Here the share of an image is
          uniform in [0, 1).
    """

    blends = True

    def __init__(self, probability=0.25):
        if not is_within(probability, "[0, 1]"):
            raise ValueError(
                "`probability` must lie in [0, 1]. "
                f"Received: probability={probability}"
            )
        self.probability = float(probability)

    def draw(self, key, count):
        """Draws rows of (blend?, position of the other image, share)."""
        return uniform(key, (count, 3))

    def __call__(self, images, numbers):
        if not keras.backend.is_float_dtype(images.dtype):
            images = ops.cast(images, "float32")
        batch = replicas.whole(images)
        count = tf.cast(tf.shape(batch)[0], numbers.dtype)
        chosen, place, share = ops.unstack(numbers, 3, axis=1)
        # A position in [0, 1) selects an image of the whole batch.
        others = tf.cast(place * count, "int32")
        # An image with share 1 stays as it is.
        share = ops.where(chosen < self.probability, share, 1.0)
        share = ops.cast(share, images.dtype)[:, None, None, None]
        return share * images + (1 - share) * tf.gather(batch, others)

    def get_config(self):
        return {"probability": self.probability}


@keras.saving.register_keras_serializable("tf_deepinversion")
class Tone(Transform):
    """Darkens or lightens each image: a pixel x becomes c x^g, white being 1.

    Use it in distillation, whose images are pixels in [0, 255]. Results above
    white are clipped to white.

    Args:
        gamma: Float, at least 1. g lies between 1/gamma and gamma, uniform in
            its logarithm. Defaults to 2.
        darkest: Float in (0, 1]. c lies between `darkest` and `brightest`,
            uniform in its logarithm. Defaults to 0.5.
        brightest: Float, at least 1. Defaults to 1.2.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> image = np.full((1, 1, 1, 1), 127.5, "float32")
        >>> tone = di.Tone()
        >>> float(tone(image, np.array([[2.0, 0.8]]))[0, 0, 0, 0])  # g=2, c=0.8
        51.0
    """

    of_pixels = True

    def __init__(self, gamma=2.0, darkest=0.5, brightest=1.2):
        if not 1 <= gamma < float("inf"):
            raise ValueError(
                f"`gamma` must be at least 1. Received: gamma={gamma}"
            )
        if not 0 < darkest <= 1 <= brightest < float("inf"):
            raise ValueError(
                "Expected 0 < darkest <= 1 <= brightest. "
                f"Received: darkest={darkest}, brightest={brightest}"
            )
        self.gamma, self.darkest = float(gamma), float(darkest)
        self.brightest = float(brightest)

    def draw(self, key, count):
        """Draws g and c of each image: a tensor `(count, 2)`."""
        u = uniform(key, (count, 2))
        # Both are uniform in their logarithms.
        g = self.gamma ** (2 * u[:, 0] - 1)
        c = self.darkest * (self.brightest / self.darkest) ** u[:, 1]
        return tf.stack([g, c], axis=1)

    def __call__(self, images, numbers):
        g, c = ops.unstack(
            ops.cast(numbers, images.dtype)[:, :, None, None, None], 2, axis=1
        )
        # At 0 the gradient of x^g is infinite for g < 1: black stays black.
        x = images / 255
        toned = c * ops.power(ops.maximum(x, 1e-4), g)
        toned = ops.where(x > 0, toned, 0.0)
        return 255 * ops.minimum(toned, 1.0)

    def get_config(self):
        return {
            "gamma": self.gamma,
            "darkest": self.darkest,
            "brightest": self.brightest,
        }
