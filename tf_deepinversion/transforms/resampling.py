"""Transforms that sample images anew between their pixels."""

import math

import keras
import tensorflow as tf
from keras import ops

from tf_deepinversion.transforms.base import Transform
from tf_deepinversion.transforms.base import uniform


def sampling_matrices(start, share, size):
    """Linear interpolation at the centers of `size` cells of a part of a row.

    Args:
        start: Float tensor `(batch,)`, where the part begins, in [0, 1).
        share: Float tensor `(batch,)`, its length, in (0, 1].
        size: Int, pixels of a row, and how many are sampled.

    Returns:
        A tensor `(batch, size, size)`: a sample's weights are in a row; they
        add up to 1.
    """
    pixels = ops.arange(size, dtype=start.dtype)
    places = (pixels + 0.5) / size * share[:, None] + start[:, None]
    # Beyond the center of the last pixel there is only that.
    places = ops.clip(places * size - 0.5, 0, size - 1)
    return ops.relu(1 - ops.abs(places[:, :, None] - pixels))


def _turned(images):
    return ops.transpose(images, (0, 2, 1, 3))


def _along_first_axis(matrices, images):
    flat = ops.reshape(images, (*ops.shape(images)[:2], -1))
    return ops.reshape(matrices @ flat, ops.shape(images))


@keras.saving.register_keras_serializable("tf_deepinversion")
class ResizedCrop(Transform):
    """Enlarges a random part of each image to the size of the whole.

    Most classifiers of ImageNet were trained on such crops: each part of an
    image that fools no such network must show its class by itself.

    Args:
        area: Pair of floats in (0, 1], the least and the largest share of the
            image. Defaults to `(0.08, 1.0)`, as in training.
        ratio: Float, at least 1, the most by which a part's shape may differ
            from the image's, either way. Defaults to 4/3.

    Reference:
        - Szegedy et al., Going Deeper with Convolutions, arXiv:1409.4842
    """

    def __init__(self, area=(0.08, 1.0), ratio=4 / 3):
        if len(area) != 2 or not 0 < area[0] <= area[1] <= 1:
            raise ValueError(
                "`area` must be a pair of shares, 0 < least <= largest <= 1. "
                f"Received: area={area}"
            )
        if not 1 <= ratio < float("inf"):
            raise ValueError(
                f"`ratio` must be at least 1. Received: ratio={ratio}"
            )
        self.area = float(area[0]), float(area[1])
        self.ratio = float(ratio)

    def draw(self, key, count):
        """Of each image the part's top, left, height and width, as shares."""
        u = uniform(key, (count, 4))
        least, largest = self.area
        area = least + (largest - least) * u[:, 0]
        stretch = self.ratio ** (u[:, 1] - 0.5)
        sides = tf.sqrt(area)[:, None] * tf.stack([stretch, 1 / stretch], 1)
        sides = tf.minimum(sides, 1.0)
        return tf.concat([u[:, 2:] * (1 - sides), sides], axis=1)

    def __call__(self, images, parts):
        top, left, height, width = ops.unstack(
            ops.cast(parts, images.dtype), 4, axis=1
        )
        # Two products of matrices, in half the time of one `einsum`.
        rows = sampling_matrices(top, height, images.shape[1])
        columns = sampling_matrices(left, width, images.shape[2])
        sampled = _along_first_axis(rows, images)
        turned = _along_first_axis(columns, _turned(sampled))
        return _turned(turned)

    def get_config(self):
        return {"area": list(self.area), "ratio": self.ratio}


@keras.saving.register_keras_serializable("tf_deepinversion")
class Affine(Transform):
    """Turns, stretches, slants and moves each image at random (ours).

    What distillation needs where images are few or alike: the teacher answers
    for a garment turned or made slim as readily as for the garment. What comes
    in from outside is the nearest pixel of the border.

    Args:
        rotation: Float, at least 0, the largest angle in degrees, either way.
        stretch: Float, at least 1, the most by which height and width, each
            for itself, grow or shrink.
        slant: Float, at least 0, the most by which a row moves against the
            next, in pixels.
        shift: Float, at least 0, the most that an image moves down or to the
            right, as a share of its size.
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
        """Rows of [[a, b], [c, d]] and (down, right), flat: `(count, 6)`.

        Pixel (row, column) of the new image, seen from its center, is that at
        (a row + b column + down, c row + d column + right) of the old one; down
        and right are shares of the size.
        """
        u = 2 * uniform(key, (count, 6)) - 1
        angle = u[:, 0] * self.rotation * math.pi / 180
        tall, wide = self.stretch ** u[:, 1], self.stretch ** u[:, 2]
        slant = self.slant * u[:, 3]
        cos, sin = tf.cos(angle), tf.sin(angle)
        matrix = [tall * cos, tall * (slant * cos + sin)]
        matrix += [-wide * sin, wide * (cos - slant * sin)]
        return tf.concat([tf.stack(matrix, 1), self.shift * u[:, 4:]], 1)

    def __call__(self, images, numbers):
        height, width = images.shape[1:3]
        a, b, c, d, down, right = ops.unstack(
            ops.cast(numbers, images.dtype)[:, :, None, None], 6, axis=1
        )
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
    """Bilinear interpolation of images at places between their pixels.

    Args:
        images: Float tensor `(batch, height, width, channels)`.
        rows: Float tensor `(batch, ...)`; beyond the border is the border.
        columns: The same.

    Returns:
        A tensor `(batch, ..., channels)`.
    """
    height, width = images.shape[1:3]
    rows = ops.clip(rows, 0, height - 1)
    columns = ops.clip(columns, 0, width - 1)
    top, left = ops.floor(rows), ops.floor(columns)
    lower, further = (rows - top)[..., None], (columns - left)[..., None]
    pixels = ops.reshape(images, (-1, images.shape[-1]))
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
