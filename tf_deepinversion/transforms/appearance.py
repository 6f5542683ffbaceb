"""Transforms of brightness, and blends of images."""

import keras
import tensorflow as tf
from keras import ops

from tf_deepinversion.networks import replicas
from tf_deepinversion.transforms.base import Transform
from tf_deepinversion.transforms.base import uniform


@keras.saving.register_keras_serializable("tf_deepinversion")
class MixUp(Transform):
    """Blends some images of a batch with others of it, at random shares.

    For distillation, where the teacher itself says what a blend is. Of several
    replicas each is given the images of all, before they are blended.

    Args:
        probability: Float in [0, 1], for each image. Defaults to 0.25.

    Reference:
        - Zhang et al., mixup, arXiv:1710.09412; shares here are uniform
    """

    blends = True

    def __init__(self, probability=0.25):
        if not 0 <= probability <= 1:
            raise ValueError(
                "`probability` must lie in [0, 1]. "
                f"Received: probability={probability}"
            )
        self.probability = float(probability)

    def draw(self, key, count):
        """Of each image: whether, the other's place, and its own share."""
        return uniform(key, (count, 3))

    def __call__(self, images, numbers):
        batch = replicas.whole(images)
        count = tf.cast(tf.shape(batch)[0], numbers.dtype)
        chosen, place, share = ops.unstack(numbers, 3, axis=1)
        others = tf.cast(place * count, "int32")
        share = ops.where(chosen < self.probability, share, 1.0)
        share = ops.cast(share, images.dtype)[:, None, None, None]
        return share * images + (1 - share) * tf.gather(batch, others)

    def get_config(self):
        return {"probability": self.probability}


@keras.saving.register_keras_serializable("tf_deepinversion")
class Tone(Transform):
    """Darkens or lightens each image: c x^g of pixels x, in parts of white.

    For distillation, whose images are pixels in [0, 255]; what would be
    whiter than white is white.

    Args:
        gamma: Float, at least 1. g lies between 1/gamma and gamma, evenly in
            its logarithm. Defaults to 2.
        darkest: Float in (0, 1]. c lies between it and `brightest`, likewise.
        brightest: Float, at least 1.
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
        """Of each image g and c."""
        u = uniform(key, (count, 2))
        g = self.gamma ** (2 * u[:, 0] - 1)
        c = self.darkest * (self.brightest / self.darkest) ** u[:, 1]
        return tf.stack([g, c], axis=1)

    def __call__(self, images, numbers):
        g, c = ops.unstack(
            ops.cast(numbers, images.dtype)[:, :, None, None, None], 2, axis=1
        )
        # Not of 0 itself, where a root has no gradient.
        toned = c * ops.power(ops.maximum(images / 255, 1e-4), g)
        return 255 * ops.minimum(toned, 1.0)

    def get_config(self):
        return {
            "gamma": self.gamma,
            "darkest": self.darkest,
            "brightest": self.brightest,
        }
