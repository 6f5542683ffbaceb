"""Transforms that interpolate between the pixels of an image."""

import math

import keras
import tensorflow as tf
from keras import ops

from tf_deepinversion.core.checks import is_within
from tf_deepinversion.transforms.base import Transform
from tf_deepinversion.transforms.base import uniform


def sampling_matrices(start, share, size):
    """Computes matrices that resample a part of a row by linear interpolation.

    Args:
        start: Float tensor `(batch,)` in [0, 1), where the part begins.
        share: Float tensor `(batch,)` in (0, 1], length of the part.
        size: Int, number of pixels of a row, and number of samples.

    Returns:
        A tensor `(batch, size, size)`. Each row holds the weights of one
        sample, which add up to 1.
    """
    pixels = ops.arange(size, dtype=start.dtype)
    places = (pixels + 0.5) / size * share[:, None] + start[:, None]
    # Beyond the center of the border pixel, take the border pixel.
    places = ops.clip(places * size - 0.5, 0, size - 1)
    # Linear interpolation: weight 1 at the sample, 0 one pixel away.
    return ops.relu(1 - ops.abs(places[:, :, None] - pixels))


def _turned(images):
    return ops.transpose(images, (0, 2, 1, 3))


def _along_first_axis(matrices, images):
    flat = ops.reshape(images, (*ops.shape(images)[:2], -1))
    return ops.reshape(matrices @ flat, ops.shape(images))


@keras.saving.register_keras_serializable("tf_deepinversion")
class ResizedCrop(Transform):
    """Enlarges a random part of each image to the size of the whole image.

    Most ImageNet classifiers were trained on such crops. Noise that fools a
    network on the whole image rarely fools it on every crop, so the image has
    to show its class everywhere.

    Args:
        area: Pair of floats in (0, 1], the smallest and the largest share of
            the image's area. Defaults to `(0.08, 1.0)`, as in training.
        ratio: Float, at least 1. The crop's aspect ratio differs from the
            image's by at most this factor. Defaults to 4/3.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> crop = di.ResizedCrop()
        >>> numbers = crop.draw([0, 1], count=2)  # top, left, height, width
        >>> crop(np.zeros((2, 8, 8, 3), "float32"), numbers).shape
        TensorShape([2, 8, 8, 3])

    Reference:
        - Szegedy et al., Going Deeper with Convolutions, arXiv:1409.4842
    """

    def __init__(self, area=(0.08, 1.0), ratio=4 / 3):
        if len(area) != 2 or not 0 < area[0] <= area[1] <= 1:
            raise ValueError(
                "`area` must be a pair of shares, 0 < least <= largest <= 1. "
                f"Received: area={area}"
            )
        if not is_within(ratio, "[1, inf)"):
            raise ValueError(
                f"`ratio` must be at least 1. Received: ratio={ratio}"
            )
        self.area = float(area[0]), float(area[1])
        self.ratio = float(ratio)

    def draw(self, key, count):
        """Draws rows of (top, left, height, width), shares of the image."""
        u = uniform(key, (count, 4))
        least, largest = self.area
        area = least + (largest - least) * u[:, 0]
        # height / width = stretch^2 lies in [1 / ratio, ratio], and neither is
        # more than 1.
        root = tf.sqrt(area)
        stretch = self.ratio ** (u[:, 1] - 0.5)
        stretch = tf.clip_by_value(stretch, root, 1 / root)
        sides = root[:, None] * tf.stack([stretch, 1 / stretch], 1)
        sides = tf.minimum(sides, 1.0)  # but for roundings
        # The corner is uniform over all places where the crop fits.
        return tf.concat([u[:, 2:] * (1 - sides), sides], axis=1)

    def __call__(self, images, parts):
        top, left, height, width = ops.unstack(
            ops.cast(parts, images.dtype), 4, axis=1
        )
        # Two matrix products take 50 % of the time of one `einsum`.
        rows = sampling_matrices(top, height, images.shape[1])
        columns = sampling_matrices(left, width, images.shape[2])
        sampled = _along_first_axis(rows, images)
        turned = _along_first_axis(columns, _turned(sampled))
        return _turned(turned)

    def get_config(self):
        return {"area": list(self.area), "ratio": self.ratio}


@keras.saving.register_keras_serializable("tf_deepinversion")
class Affine(Transform):
    """Turns, stretches, slants and moves each image at random.

    Use it in distillation when images are few or resemble each other: the
    teacher also labels a turned or narrowed garment. Areas from outside the
    image repeat the nearest border pixel. Not in the paper.

    Args:
        rotation: Float, at least 0. Largest angle in degrees, in both
            directions. Defaults to 20.
        stretch: Float, at least 1. Largest factor by which height and width,
            each independently, grow or shrink. Defaults to 1.35.
        slant: Float, at least 0. Largest vertical shift between neighboring
            columns, in pixels. Defaults to 0.2.
        shift: Float, at least 0. Largest move, vertically and horizontally, as
            a share of the image's size. Defaults to 0.15.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> move = di.Affine(rotation=0, stretch=1, slant=0, shift=0.5)
        >>> image = np.array([1, 2, 3, 4], "float32").reshape(1, 1, 4, 1)
        >>> right = np.array([[1, 0, 0, 1, 0, 0.25]], "float32")
        >>> np.ravel(move(image, right)).tolist()
        [2.0, 3.0, 4.0, 4.0]
    """

    def __init__(self, rotation=20.0, stretch=1.35, slant=0.2, shift=0.15):
        for name, value, least in (
            ("rotation", rotation, 0),
            ("stretch", stretch, 1),
            ("slant", slant, 0),
            ("shift", shift, 0),
        ):
            if not least <= value < float("inf"):
                raise ValueError(
                    f"`{name}` must be at least {least}. "
                    f"Received: {name}={value}"
                )
        self.rotation, self.stretch = float(rotation), float(stretch)
        self.slant, self.shift = float(slant), float(shift)

    def draw(self, key, count):
        """Draws [[a, b], [c, d]], down and right of each image: `(count, 6)`.

        Seen from the center, the pixel (row, column) of the result is the pixel
        (a row + b column + down, c row + d column + right) of the image. `down`
        and `right` are shares of the image's size.
        """
        # Six numbers in [-1, 1) for each image.
        u = 2 * uniform(key, (count, 6)) - 1
        angle = u[:, 0] * self.rotation * math.pi / 180
        tall, wide = self.stretch ** u[:, 1], self.stretch ** u[:, 2]
        slant = self.slant * u[:, 3]
        cos, sin = tf.cos(angle), tf.sin(angle)
        # diag(tall, wide) times the rotation times the slant.
        matrix = [tall * cos, tall * (slant * cos + sin)]
        matrix += [-wide * sin, wide * (cos - slant * sin)]
        return tf.concat([tf.stack(matrix, 1), self.shift * u[:, 4:]], 1)

    def __call__(self, images, numbers):
        height, width = images.shape[1:3]
        a, b, c, d, down, right = ops.unstack(
            ops.cast(numbers, images.dtype)[:, :, None, None], 6, axis=1
        )
        # Positions relative to the center of the image.
        row = ops.arange(height, dtype=images.dtype)[:, None] - (height - 1) / 2
        column = ops.arange(width, dtype=images.dtype) - (width - 1) / 2
        return sample(
            images,
            a * row + b * column + height * down + (height - 1) / 2,
            c * row + d * column + width * right + (width - 1) / 2,
        )

    def get_config(self):
        return {
            "rotation": self.rotation,
            "stretch": self.stretch,
            "slant": self.slant,
            "shift": self.shift,
        }


def sample(images, rows, columns):
    """Interpolates images bilinearly at positions between their pixels.

    Args:
        images: Float tensor `(batch, height, width, channels)`.
        rows: Float tensor `(batch, ...)`. Positions beyond the border take the
            border pixel.
        columns: Float tensor of the shape of `rows`.

    Returns:
        A tensor `(batch, ..., channels)`.
    """
    height, width = images.shape[1:3]
    rows = ops.clip(rows, 0, height - 1)
    columns = ops.clip(columns, 0, width - 1)
    top, left = ops.floor(rows), ops.floor(columns)
    lower, further = (rows - top)[..., None], (columns - left)[..., None]
    pixels = ops.reshape(images, (-1, images.shape[-1]))
    # The index of each image's first pixel in the list of all pixels.
    first = ops.arange(ops.shape(images)[0], dtype="int32") * height * width
    first = ops.reshape(first, (-1, *(1,) * (len(rows.shape) - 1)))

    def pixel(row, column):
        row = ops.minimum(ops.cast(row, "int32"), height - 1)
        column = ops.minimum(ops.cast(column, "int32"), width - 1)
        return ops.take(pixels, first + row * width + column, axis=0)

    above = (1 - further) * pixel(top, left) + further * pixel(top, left + 1)
    below = (1 - further) * pixel(top + 1, left) + further * pixel(
        top + 1, left + 1
    )
    return (1 - lower) * above + lower * below
