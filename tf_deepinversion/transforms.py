"""Random changes of the images before the teacher sees them, every step.

A transform is a pair: `draw`, which makes its random numbers from a key, one
row an image, and the transform itself, which is deterministic. The numbers of
an image depend on the key and its index alone, so that neither replicas nor a
resumed run change them, and they are drawn outside of what XLA compiles.
"""

import keras
import tensorflow as tf
from keras import ops


def roll(images, shifts):
    """Rolls each image by its own shift; what leaves comes in on the far side.

    Args:
        images: Float tensor `(batch, height, width, channels)`.
        shifts: Int32 tensor `(batch, 2)`: pixels down and to the right.

    Returns:
        A tensor of the shape of `images`, differentiable in them.
    """

    @tf.custom_gradient
    def rolled(images):
        def gradient(upstream):
            return _gather_rolled(upstream, -shifts)

        return _gather_rolled(images, shifts), gradient

    return rolled(images)


def _gather_rolled(images, shifts):
    # One gather of whole pixels. TensorFlow's own gradient of it is a
    # scatter, many times slower than the roll back.
    batch, height, width, channels = tf.unstack(tf.shape(images))
    rows = (tf.range(height)[None] - shifts[:, :1]) % height
    columns = (tf.range(width)[None] - shifts[:, 1:]) % width
    index = rows[:, :, None] * width + columns[:, None, :]
    index += (tf.range(batch) * height * width)[:, None, None]
    pixels = tf.reshape(images, (-1, channels))
    return tf.ensure_shape(tf.gather(pixels, index), images.shape)


class Transform:
    """A random change of images, each by numbers of its own."""

    def draw(self, key, count):
        """The numbers of `count` images: a tensor with a row for each."""
        raise NotImplementedError

    def __call__(self, images, numbers):
        """The images, changed by their numbers; differentiable in them."""
        raise NotImplementedError

    @classmethod
    def from_config(cls, config):
        return cls(**config)


@keras.saving.register_keras_serializable("tf_deepinversion")
class Jitter(Transform):
    """Rolls each image by up to `pixels` in both directions.

    Args:
        pixels: Int, at least 0. The paper uses 2 at 32x32 and 30 at 224x224.

    Reference:
        - Yin et al., arXiv:1912.08795
    """

    def __init__(self, pixels):
        if int(pixels) != pixels or pixels < 0:
            raise ValueError(
                "`pixels` must be a whole number, 0 or more. "
                f"Received: pixels={pixels}"
            )
        self.pixels = int(pixels)

    def draw(self, key, count):
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
    """Moves each image by up to `pixels`; its mirror image comes in (ours).

    Where `Jitter` brings what leaves in on the far side, and so lets objects
    lie anywhere, cut in two, this keeps them in the middle and whole, as the
    random crops of padded images do with which most classifiers are trained.

    Args:
        pixels: Int, at least 0.
    """

    def __call__(self, images, shifts):
        p = self.pixels
        sides = [(0, 0), (p, p), (p, p), (0, 0)]
        rolled = roll(ops.pad(images, sides, mode="symmetric"), shifts)
        height, width = images.shape[1:3]
        return rolled[:, p : p + height, p : p + width]


@keras.saving.register_keras_serializable("tf_deepinversion")
class HorizontalFlip(Transform):
    """Mirrors each image with the given probability.

    Args:
        probability: Float in [0, 1]. Defaults to 0.5.
    """

    def __init__(self, probability=0.5):
        if not 0 <= probability <= 1:
            raise ValueError(
                "`probability` must lie in [0, 1]. "
                f"Received: probability={probability}"
            )
        self.probability = float(probability)

    def draw(self, key, count):
        return (
            tf.random.stateless_uniform((count, 1, 1, 1), key, alg="philox")
            < self.probability
        )

    def __call__(self, images, flipped):
        return ops.where(flipped, ops.flip(images, axis=2), images)

    def get_config(self):
        return {"probability": self.probability}


def sampling_matrices(start, share, size):
    """Linear interpolation at the centres of `size` cells of a part of a row.

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
    # Beyond the centre of the last pixel there is only that.
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
        u = tf.random.stateless_uniform((count, 4), key, alg="philox")
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


def draw(transforms, seed, step, count):
    """The random numbers of one step for a list of transforms.

    Args:
        transforms: List of transforms.
        seed: Int tensor `(2,)`.
        step: Int scalar tensor.
        count: Int, number of images of the whole batch.

    Returns:
        A list of tensors, one a transform, each with `count` rows.
    """
    fold_in = tf.random.experimental.stateless_fold_in
    key = fold_in(seed, step)
    return [t.draw(fold_in(key, i), count) for i, t in enumerate(transforms)]
