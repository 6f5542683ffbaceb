"""Random changes of the images before the teacher sees them, every step.

A transform is a pair: `draw`, which makes its random numbers from a key, one
row an image, and the transform itself, which is deterministic. The numbers of
an image depend on the key and its place in the batch of all replicas alone, so
that neither replicas nor a resumed run nor XLA change them.
"""

import tensorflow as tf

from tf_deepinversion.core.random_keys import fold_in
from tf_deepinversion.networks import replicas


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


def require_transforms(transforms, labeled=False, pixels=True) -> list:
    """A list of what changes images as a `Transform` does; no Keras layers.

    Args:
        transforms: Iterable.
        labeled: Bool, whether each image must stay one of its label.
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
        if labeled and getattr(x, "blends", False):
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


def draw(transforms, seed, step, count):
    """The random numbers of one step for a list of transforms.

    Args:
        transforms: List of transforms.
        seed: Int tensor `(2,)`.
        step: Int scalar tensor.
        count: Int, number of images of the whole batch.

    Returns:
        A list of tensors, one a transform, each with `count` rows.

    Raises:
        ValueError: if a transform draws another number of rows.
    """
    key = fold_in(seed, step)
    drawn = [t.draw(fold_in(key, i), count) for i, t in enumerate(transforms)]
    for transform, numbers in zip(transforms, drawn, strict=True):
        require_rows(transform, numbers, count)
    return drawn


def require_rows(drawer, numbers, count):
    """Refuses random numbers that are not a row for each image.

    Args:
        drawer: The transform that drew the numbers.
        numbers: Tensor.
        count: Int, the number of images; a tensor is not looked at.

    Raises:
        ValueError: as said.
    """
    rows = count if isinstance(count, int) else None
    if not numbers.shape.rank or not numbers.shape[:1].is_compatible_with(
        [rows]
    ):
        raise ValueError(
            f"`draw` of {type(drawer).__name__} must give a tensor with a row "
            f"for each of {count} images. "
            f"Received: one of shape {numbers.shape}"
        )


def apply(transforms, images, draws):
    """The images after all transforms, one after the other.

    Args:
        transforms: List of transforms.
        images: Float tensor `(batch, height, width, channels)`.
        draws: List of what `draw` gave, a tensor for each transform with a
            row for each of these images.

    Returns:
        A tensor of the shape of `images`.

    Raises:
        ValueError: if a transform changes the shape of the images.
    """
    for transform, numbers in zip(transforms, draws, strict=True):
        changed = transform(images, numbers)
        if not images.shape.is_compatible_with(changed.shape):
            raise ValueError(
                f"{type(transform).__name__} must leave images of the shape "
                f"{images.shape}. Received: {changed.shape}"
            )
        images = changed
    return images


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
