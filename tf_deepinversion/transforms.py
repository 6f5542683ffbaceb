"""Random changes of the images before the teacher sees them, every step.

A transform is a pair: `draw`, which makes its random numbers from a key, one
row an image, and the transform itself, which is deterministic. The numbers of
an image depend on the key and its place in the batch of all replicas alone, so
that neither replicas nor a resumed run nor XLA change them.
"""

import keras
import tensorflow as tf
from keras import ops

from tf_deepinversion import replicas
from tf_deepinversion.checks import require_whole


def uniform(key, shape):
    """Random floats in [0, 1), the same where XLA compiles and where not.

    Those of `tf.random.stateless_uniform`, which under XLA takes other bits for
    its floats: here they are made of the whole numbers, which are the same.

    Args:
        key: Int tensor `(2,)`.
        shape: Tuple of ints or int scalar tensors.

    Returns:
        A float32 tensor of that shape.
    """
    bits = tf.random.stateless_uniform(
        shape, key, None, None, "uint32", alg="philox"
    )
    # The 23 lowest are the mantissa of a float in [1, 2).
    one_to_two = tf.bitwise.bitwise_or(
        tf.bitwise.bitwise_and(bits, 0x007FFFFF), 0x3F800000
    )
    return tf.bitcast(one_to_two, "float32") - 1


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
    """A random change of images, each by numbers of its own.

    Attributes:
        blends: Bool, whether what becomes of an image depends on others of
            its batch, so that it has no label and the batch cannot be cut.
        of_pixels: Bool, whether the images must be pixels in [0, 255], and
            not z of an inversion.
    """

    blends = False
    of_pixels = False

    def draw(self, key, count):
        """The numbers of `count` images: a tensor with a row for each."""
        raise NotImplementedError

    def __call__(self, images, numbers):
        """The images, changed by their numbers; differentiable in them."""
        raise NotImplementedError

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def require_transforms(transforms, labelled=False, pixels=True) -> list:
    """A list of what changes images as a `Transform` does; no Keras layers.

    Args:
        transforms: Iterable.
        labelled: Bool, whether each image must stay one of its label.
        pixels: Bool, whether the images are pixels in [0, 255].
    """
    transforms = list(transforms)
    wrong = [
        x
        for x in transforms
        if isinstance(x, type) or not (hasattr(x, "draw") and callable(x))
    ]
    if wrong:
        raise TypeError(
            "Expected a list of transforms of tf_deepinversion, such as "
            "[Shift(2), HorizontalFlip()], or of what has their `draw`. "
            f"Received: {wrong[0]!r}"
        )
    for x in transforms:
        name = f"`{type(x).__name__}`"
        if labelled and getattr(x, "blends", False):
            raise ValueError(
                f"{name} blends images, and a blend has no label: leave it "
                f"out. Received: {transforms}"
            )
        if not pixels and getattr(x, "of_pixels", False):
            raise ValueError(
                f"{name} is for pixels in [0, 255], and an inversion changes "
                "z = (pixel - mean) / std: leave it out. "
                f"Received: {transforms}"
            )
    return transforms


@keras.saving.register_keras_serializable("tf_deepinversion")
class Jitter(Transform):
    """Rolls each image by up to `pixels` in both directions.

    Args:
        pixels: Int, at least 0. The paper uses 2 at 32x32 and 30 at 224x224.

    Reference:
        - Yin et al., arXiv:1912.08795
    """

    def __init__(self, pixels):
        require_whole(0, pixels=pixels)
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
        rolled = roll(_mirrored(images, p), shifts)
        height, width = images.shape[1:3]
        return rolled[:, p : p + height, p : p + width]


def _mirrored(images, pixels):
    """Images with as many pixels more on each side, as in facing mirrors."""
    left = [pixels, pixels]
    while any(left):  # once, where an image is no smaller than that
        rows, columns = map(min, left, images.shape[1:3])
        sides = [(0, 0), (rows, rows), (columns, columns), (0, 0)]
        images = ops.pad(images, sides, mode="symmetric")
        left = [left[0] - rows, left[1] - columns]
    return images


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
        return uniform(key, (count, 1, 1, 1)) < self.probability

    def __call__(self, images, flipped):
        return ops.where(flipped, ops.flip(images, axis=2), images)

    def get_config(self):
        return {"probability": self.probability}


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

    def fold_in(key, number):
        # Under XLA the default is another algorithm.
        return tf.random.experimental.stateless_fold_in(
            key, number, alg="philox"
        )

    key = fold_in(seed, step)
    return [t.draw(fold_in(key, i), count) for i, t in enumerate(transforms)]


def draw_own(transforms, seed, step, *counts):
    """`draw`, where a replica asks for the numbers of its own images.

    For a `train_step`: N devices draw what one device draws for the batch of
    all. On one device it is `draw` of `sum(counts)` images, to the bit.

    Args:
        transforms: List of transforms.
        seed: Int tensor `(2,)`.
        step: Int scalar tensor, the same on all replicas.
        *counts: Int scalar tensors, how many images this replica has, a number
            for each stream whose images stand one after the other, as those of
            new and of old classes; see `replicas.own_rows`.

    Returns:
        A list of tensors, one a transform, each with `sum(counts)` rows.
    """
    places, count = replicas.own_rows(*counts)
    drawn = draw(transforms, seed, step, count)
    if replicas.several() is None:
        return drawn
    return [tf.gather(numbers, places) for numbers in drawn]
