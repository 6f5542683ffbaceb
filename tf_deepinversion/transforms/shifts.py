"""Transforms that move or mirror images by whole pixels."""

import keras
import tensorflow as tf
from keras import ops

from tf_deepinversion.core.checks import is_within
from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.transforms.base import Transform
from tf_deepinversion.transforms.base import uniform


def roll(images, shifts):
    """Rolls each image by its own shift, so that pixels wrap around.

    Args:
        images: Float tensor `(batch, height, width, channels)`.
        shifts: Int32 tensor `(batch, 2)`: pixels down and to the right.

    Returns:
        A tensor of the shape of `images`, differentiable with respect to the
        images.
    """

    @tf.custom_gradient
    def rolled(images):
        def gradient(upstream):
            return _gather_rolled(upstream, -shifts)

        return _gather_rolled(images, shifts), gradient

    return rolled(images)


def _gather_rolled(images, shifts):
    # One gather of whole pixels. TensorFlow's gradient of a gather is a
    # scatter, many times slower than rolling back.
    batch, height, width, channels = tf.unstack(tf.shape(images))
    rows = (tf.range(height)[None] - shifts[:, :1]) % height
    columns = (tf.range(width)[None] - shifts[:, 1:]) % width
    index = rows[:, :, None] * width + columns[:, None, :]
    index += (tf.range(batch) * height * width)[:, None, None]
    pixels = tf.reshape(images, (-1, channels))
    return tf.ensure_shape(tf.gather(pixels, index), images.shape)


@keras.saving.register_keras_serializable("tf_deepinversion")
class Jitter(Transform):
    """Rolls each image by a random number of pixels in both directions.

    Args:
        pixels: Int, at least 0, the largest shift. The paper uses 2 pixels for
            32x32 images and 30 pixels for 224x224.

    Example:
        >>> image = np.arange(4.0).reshape(1, 1, 4, 1)
        >>> np.ravel(di.Jitter(2)(image, np.array([[0, 1]]))).tolist()
        [3.0, 0.0, 1.0, 2.0]

    Reference:
        - Yin et al., arXiv:1912.08795
    """

    def __init__(self, pixels):
        require_whole(0, pixels=pixels)
        self.pixels = int(pixels)

    def draw(self, key, count):
        # The default algorithm differs with XLA: philox gives equal numbers.
        return tf.random.stateless_uniform(
            (count, 2),
            key,
            -self.pixels,
            self.pixels + 1,
            "int32",
            alg="philox",
        )

    def __call__(self, images, shifts):
        return roll(images, shifts)

    def get_config(self):
        return {"pixels": self.pixels}


@keras.saving.register_keras_serializable("tf_deepinversion")
class Shift(Jitter):
    """Moves each image by up to `pixels`; mirrored pixels fill the border.

    `Jitter` wraps pixels around, so that an object may lie anywhere, cut in
    two. `Shift` keeps objects whole and near the center, like the random crops
    of padded images with which most classifiers are trained. Not in the paper.

    Args:
        pixels: Int, at least 0, the largest shift.

    Example:
        >>> image = np.arange(4.0).reshape(1, 1, 4, 1)
        >>> np.ravel(di.Shift(2)(image, np.array([[0, 1]]))).tolist()
        [0.0, 0.0, 1.0, 2.0]
    """

    def __call__(self, images, shifts):
        p = self.pixels
        # Pixels that wrap around lie outside the part that is cut out.
        rolled = roll(_mirrored(images, p), shifts)
        height, width = images.shape[1:3]
        return rolled[:, p : p + height, p : p + width]


def _mirrored(images, pixels):
    """Extends images by `pixels` on each side, mirrored as often as needed."""
    left = [pixels, pixels]
    while any(left):  # more than once only if an image is smaller than `pixels`
        rows, columns = map(min, left, images.shape[1:3])
        sides = [(0, 0), (rows, rows), (columns, columns), (0, 0)]
        images = ops.pad(images, sides, mode="symmetric")
        left = [left[0] - rows, left[1] - columns]
    return images


@keras.saving.register_keras_serializable("tf_deepinversion")
class HorizontalFlip(Transform):
    """Mirrors each image left to right with the given probability.

    Args:
        probability: Float in [0, 1]. Defaults to 0.5.

    Raises:
        ValueError: if `probability` is out of range.

    Example:
        >>> image = np.arange(3.0).reshape(1, 1, 3, 1)
        >>> flip = di.HorizontalFlip()
        >>> np.ravel(flip(image, np.array(True))).tolist()
        [2.0, 1.0, 0.0]
    """

    def __init__(self, probability=0.5):
        if not is_within(probability, "[0, 1]"):
            raise ValueError(
                "`probability` must lie in [0, 1]. "
                f"Received: probability={probability}"
            )
        self.probability = float(probability)

    def draw(self, key, count):
        return uniform(key, (count, 1, 1, 1)) < self.probability

    def __call__(self, images, flipped):
        return ops.where(flipped, ops.flip(images, axis=2), images)

    def get_config(self):
        return {"probability": self.probability}
