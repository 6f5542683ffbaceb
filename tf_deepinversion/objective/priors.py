"""Image priors: total variation and the l2 norm (arXiv:1912.08795, eq. 3).

Each is a function of sums over the images of a batch, and those sums simply
add up when the batch is spread over replicas or taken in pieces. So each
equation here stands in two halves: the sums, and what the prior makes of them.
Images have the shape `(batch, height, width, channels)`.
"""

from keras import ops


def root(squares):
    """Square root whose gradient is zero, not infinite, at zero.

    Args:
        squares: Float tensor of any shape, not negative.

    Returns:
        A tensor of the same shape.
    """
    some = squares != 0  # and not `> 0`, for which NaN would be none
    return ops.where(some, ops.sqrt(ops.where(some, squares, 1.0)), 0.0)


def norm(vector):
    """Euclidean norm of a tensor; its gradient is zero at the zero vector."""
    return root(ops.sum(ops.square(vector)))


def neighbour_differences(images):
    """Horizontal, vertical and both diagonal differences of neighbours.

    Args:
        images: Float tensor `(batch, height, width, channels)`.

    Returns:
        A tuple of four float tensors, each one row or one column or both
        smaller than the images.
    """
    number, height, width, channels = ops.shape(images)

    def window(top, left, rows, columns):
        # TensorFlow's gradient of `slice` is ten times as fast as that of
        # `images[...]`.
        return ops.slice(
            images,
            (0, top, left, 0),
            (number, height - rows, width - columns, channels),
        )

    return (
        window(0, 0, 0, 1) - window(0, 1, 0, 1),
        window(0, 0, 1, 0) - window(1, 0, 1, 0),
        window(0, 0, 1, 1) - window(1, 1, 1, 1),
        window(0, 1, 1, 1) - window(1, 0, 1, 1),
    )


def squared_differences(images):
    """The sum of squares of each of the four differences, shape `(4,)`."""
    return ops.stack(
        [ops.sum(ops.square(d)) for d in neighbour_differences(images)]
    )


def absolute_differences(images):
    """Sums of |d| of the four differences, then their counts, shape `(8,)`."""
    differences = neighbour_differences(images)
    sums = [ops.sum(ops.abs(d)) for d in differences]
    counts = [ops.sum(ops.ones_like(d)) for d in differences]
    return ops.stack(sums + counts)


def total_variation_l2(images):
    """R_TV: the sum of the norms of the four differences of the whole batch.

    It grows with the square root of the batch.

    Args:
        images: Float tensor `(batch, height, width, channels)`.

    Returns:
        A scalar.

    Reference:
        - Yin et al., arXiv:1912.08795

    >>> total_variation_l2(np.zeros((1, 4, 4, 3), "float32")).numpy().item()
    0.0
    """
    return ops.sum(root(squared_differences(images)))


def total_variation_l1(images):
    """The sum of the means of |d| of the four differences.

    Args:
        images: Float tensor `(batch, height, width, channels)`.

    Returns:
        A scalar.
    """
    return mean_differences(absolute_differences(images))


def mean_differences(sums):
    """The sum of the means, of what `absolute_differences` gave.

    Of images of one row or one column some differences are none: 0.
    """
    return ops.sum(sums[:4] / ops.maximum(sums[4:], 1))


def image_norms(images):
    """The Euclidean norm of each image, shape `(batch,)`."""
    return root(ops.sum(ops.square(images), axis=(1, 2, 3)))


def l2_of_batch(images):
    """R_l2 of the CIFAR-10 recipe: the norm of the batch as one vector."""
    return norm(images)


def l2_of_images(images):
    """R_l2 of the ImageNet recipe: the mean of the norms of the images."""
    return ops.mean(image_norms(images))
