"""Image priors: total variation and the l2 norm (arXiv:1912.08795, eq. 3).

Each is a function of sums over the images of a batch, and those sums simply
add up when the batch is spread over replicas or taken in pieces. So each
equation here is a `Prior` of two halves: the sums, and what the prior makes of
them. Images have the shape `(batch, height, width, channels)`.
"""

import typing

from keras import ops


class Prior(typing.NamedTuple):
    """An equation of a batch of images, in two halves.

    Called with the images of a whole batch, it gives its scalar.

    Attributes:
        sums: Function from images to a list of tensors that add up over the
            pieces of a batch.
        value: Function from the sums of the whole batch to the scalar.

    >>> total_variation_l2(np.zeros((1, 4, 4, 3), "float32")).numpy().item()
    0.0
    """

    sums: typing.Callable
    value: typing.Callable

    def __call__(self, images):
        return self.value(self.sums(images))


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


def neighbor_differences(images):
    """Horizontal, vertical and both diagonal differences of neighbors.

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
    """The sum of squares of each of the four differences, a tensor `(4,)`."""
    differences = neighbor_differences(images)
    return [ops.stack([ops.sum(ops.square(d)) for d in differences])]


def sum_of_norms(sums):
    """The sum of the four norms, of what `squared_differences` gave."""
    return ops.sum(root(sums[0]))


def absolute_differences(images):
    """Sums of |d| of the four differences, then their counts, `(8,)`."""
    differences = neighbor_differences(images)
    sums = [ops.sum(ops.abs(d)) for d in differences]
    counts = [ops.sum(ops.ones_like(d)) for d in differences]
    return [ops.stack(sums + counts)]


def sum_of_means(sums):
    """The sum of the four means, of what `absolute_differences` gave.

    Of images of one row or one column some differences are none: 0.
    """
    totals, counts = ops.split(sums[0], 2)
    return ops.sum(totals / ops.maximum(counts, 1))


def mean_sums(values):
    """The sums of which `mean_value` makes the mean over all images."""
    return [ops.sum(values), ops.cast(ops.shape(values)[0], values.dtype)]


def mean_value(sums):
    """The mean over all images, of what `mean_sums` gave."""
    total, count = sums
    return total / count


def image_norms(images):
    """The Euclidean norm of each image, shape `(batch,)`."""
    return root(ops.sum(ops.square(images), axis=(1, 2, 3)))


# R_TV of the paper: the sum of the norms of the four differences of the whole
# batch. It grows with the square root of the batch.
total_variation_l2 = Prior(squared_differences, sum_of_norms)

# The sum of the means of |d| of the four differences (ours).
total_variation_l1 = Prior(absolute_differences, sum_of_means)

# R_l2 of the CIFAR-10 recipe: the norm of the batch as one vector.
l2_of_batch = Prior(
    lambda images: [ops.sum(ops.square(images))], lambda sums: root(sums[0])
)

# R_l2 of the ImageNet recipe: the mean of the norms of the images.
l2_of_images = Prior(lambda images: mean_sums(image_norms(images)), mean_value)
