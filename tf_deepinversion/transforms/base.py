"""Random changes of images.

A transform has two parts. `draw` makes random numbers from a key, one row per
image. Calling the transform applies these numbers and is deterministic. The
numbers of an image depend only on the key and on the image's position in the
batch of all replicas. Replicas, resuming and XLA therefore change nothing.
"""

import tensorflow as tf

from tf_deepinversion.core.random_keys import fold_in
from tf_deepinversion.networks import replicas


def uniform(key, shape):
    """Draws floats in [0, 1) that are the same with XLA and without.

    `tf.random.stateless_uniform` draws the same integers with XLA and without,
    but converts them to floats differently. This function converts the
    integers itself.

    Args:
        key: Int tensor `(2,)`.
        shape: Tuple of ints or int scalar tensors.

    Returns:
        A float32 tensor of shape `shape`.
    """
    bits = tf.random.stateless_uniform(
        shape, key, None, None, "uint32", alg="philox"
    )
    # The lowest 23 bits become the mantissa of a float in [1, 2).
    one_to_two = tf.bitwise.bitwise_or(
        tf.bitwise.bitwise_and(bits, 0x007FFFFF), 0x3F800000
    )
    return tf.bitcast(one_to_two, "float32") - 1


class Transform:
    """Base class of random changes of images.

    A subclass defines `draw` and `__call__`.

    Attributes:
        blends: Bool, whether an image's result depends on other images of the
            batch. Such an image has no label, and the batch cannot be split.
        of_pixels: Bool, whether the images must be pixels in [0, 255] rather
            than the normalized images of an inversion.

    Example:
        >>> class Noise(di.transforms.Transform):
        ...     def draw(self, key, count):
        ...         return tf.random.stateless_normal((count, 1, 1, 1), key)
        ...
        ...     def __call__(self, images, numbers):
        ...         return images + numbers
        >>> noise = Noise()
        >>> noise(np.zeros((2, 4, 4, 3)), noise.draw([0, 1], 2)).shape
        TensorShape([2, 4, 4, 3])
    """

    blends = False
    of_pixels = False

    def draw(self, key, count):
        """Draws the random numbers of a batch.

        Args:
            key: Int tensor `(2,)`, a key of stateless random numbers.
            count: Int, number of images.

        Returns:
            A tensor with one row per image.
        """
        raise NotImplementedError

    def __call__(self, images, numbers):
        """Changes images; differentiable with respect to the images.

        Args:
            images: Float tensor `(batch, height, width, channels)`.
            numbers: Tensor from `draw`, one row per image.

        Returns:
            A tensor of the shape of `images`.
        """
        raise NotImplementedError

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def require_transforms(transforms, labeled=False, pixels=True) -> list:
    """Checks that objects behave like a `Transform`, and lists them.

    Args:
        transforms: Iterable of transforms.
        labeled: Bool, whether each image must keep its label. Defaults to
            False.
        pixels: Bool, whether the images are pixels in [0, 255]. Defaults to
            True.

    Returns:
        A list.

    Raises:
        TypeError: if an object has no `draw` or is not callable.
        ValueError: if a transform does not suit such images.
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
            "[Shift(2), HorizontalFlip()], or of callables with a `draw` "
            f"method. Received: {wrong[0]!r}"
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
    """Draws the random numbers of one step for a list of transforms.

    Args:
        transforms: List of transforms.
        seed: Int tensor `(2,)`.
        step: Int scalar tensor.
        count: Int, number of images in the whole batch.

    Returns:
        A list with one tensor per transform, each with `count` rows.

    Raises:
        ValueError: if a transform draws another number of rows.
    """
    # Each step and each transform has its own key.
    key = fold_in(seed, step)
    drawn = [t.draw(fold_in(key, i), count) for i, t in enumerate(transforms)]
    for transform, numbers in zip(transforms, drawn, strict=True):
        require_rows(transform, numbers, count)
    return drawn


def require_rows(drawer, numbers, count):
    """Checks that random numbers have one row per image.

    Args:
        drawer: The transform that drew the numbers.
        numbers: Tensor.
        count: Int, number of images. A tensor is not checked.

    Raises:
        ValueError: if the number of rows is another one.
    """
    rows = count if isinstance(count, int) else None
    if not numbers.shape.rank or not numbers.shape[:1].is_compatible_with(
        [rows]
    ):
        raise ValueError(
            f"`draw` of {type(drawer).__name__} must return a tensor with one "
            f"row for each of {count} images. "
            f"Received: a tensor of shape {numbers.shape}"
        )


def apply(transforms, images, draws):
    """Applies transforms to images, one after the other.

    Args:
        transforms: List of transforms.
        images: Float tensor `(batch, height, width, channels)`.
        draws: List from `draw`: one tensor per transform, with one row per
            image.

    Returns:
        A tensor of the shape of `images`.

    Raises:
        ValueError: if a transform changes the shape of the images.
    """
    for transform, numbers in zip(transforms, draws, strict=True):
        changed = transform(images, numbers)
        if not images.shape.is_compatible_with(changed.shape):
            raise ValueError(
                f"{type(transform).__name__} must keep the shape of the "
                f"images, {images.shape}. Received: {changed.shape}"
            )
        images = changed
    return images


def draw_own(transforms, seed, step, *counts):
    """Draws the random numbers of the images of this replica.

    Call it in a `train_step`. N devices together draw the numbers that one
    device draws for the whole batch. On one device the result equals `draw` of
    `sum(counts)` images, bit for bit.

    Args:
        transforms: List of transforms.
        seed: Int tensor `(2,)`.
        step: Int scalar tensor, the same on all replicas.
        *counts: Int scalar tensors, numbers of images on this replica: one
            number for each stream of images in the batch, such as new and old
            classes. See `replicas.own_rows`.

    Returns:
        A list with one tensor per transform, each with `sum(counts)` rows.
    """
    places, count = replicas.own_rows(*counts)
    drawn = draw(transforms, seed, step, count)
    if replicas.several() is None:
        return drawn
    return [tf.gather(numbers, places) for numbers in drawn]
