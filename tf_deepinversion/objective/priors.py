"""Image priors: total variation and the l2 norm (arXiv:1912.08795, eq. 3).

Each prior is a function of sums over the images of a batch. Such sums add up
when the batch is split over replicas or into pieces. Each equation is therefore
a `Prior` with two halves: one computes the sums, the other turns the sums into
the scalar. Images have the shape `(batch, height, width, channels)`.
"""

import typing

from keras import ops


class Prior(typing.NamedTuple):
    """An equation on a batch of images, in two halves.

    Calling a prior with a whole batch returns its scalar.

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
    """Computes a square root whose gradient at zero is zero, not infinite.

    Args:
        squares: Float tensor of any shape, not negative.

    Returns:
        A tensor of the same shape.
    """
    some = squares != 0  # `> 0` would turn a NaN into a silent 0
    return ops.where(some, ops.sqrt(ops.where(some, squares, 1.0)), 0.0)


def norm(vector):
    """Computes the Euclidean norm; its gradient at the zero vector is zero."""
    return root(ops.sum(ops.square(vector)))


def neighbor_differences(images):
    """Computes differences of neighboring pixels in four directions.

    The directions are horizontal, vertical and the two diagonals.

    Args:
        images: Float tensor `(batch, height, width, channels)`.

    Returns:
        A tuple of four float tensors. Each has one row fewer than the images,
        or one column fewer, or both.
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
        # Left and right, above and below, and the two diagonals.
        window(0, 0, 0, 1) - window(0, 1, 0, 1),
        window(0, 0, 1, 0) - window(1, 0, 1, 0),
        window(0, 0, 1, 1) - window(1, 1, 1, 1),
        window(0, 1, 1, 1) - window(1, 0, 1, 1),
    )


def squared_differences(images):
    """Sums the squares of each of the four differences: a tensor `(4,)`."""
    differences = neighbor_differences(images)
    return [ops.stack([ops.sum(ops.square(d)) for d in differences])]


def sum_of_norms(sums):
    """Adds the four norms, given the result of `squared_differences`."""
    return ops.sum(root(sums[0]))


def absolute_differences(images):
    """Sums |d| of the four differences, and counts them: a tensor `(8,)`."""
    differences = neighbor_differences(images)
    sums = [ops.sum(ops.abs(d)) for d in differences]
    # Counts add up over pieces, too: the mean covers the whole batch.
    counts = [ops.sum(ops.ones_like(d)) for d in differences]
    return [ops.stack(sums + counts)]


def sum_of_means(sums):
    """Adds the four means, given the result of `absolute_differences`.

    Images of one row or one column have no differences in some directions;
    their mean counts as 0.
    """
    totals, counts = ops.split(sums[0], 2)
    return ops.sum(totals / ops.maximum(counts, 1))


def mean_sums(values):
    """Computes the two sums from which `mean_value` makes a mean."""
    return [ops.sum(values), ops.cast(ops.shape(values)[0], values.dtype)]


def mean_value(sums):
    """Computes the mean over all images, given the result of `mean_sums`."""
    total, count = sums
    return total / count


def image_norms(images):
    """Computes the Euclidean norm of each image: a tensor `(batch,)`."""
    return root(ops.sum(ops.square(images), axis=(1, 2, 3)))


# R_TV of the paper: the norms of the four differences, each taken over the
# whole batch, added up. It grows with the square root of the batch size.
total_variation_l2 = Prior(squared_differences, sum_of_norms)

# The means of |d| of the four differences, added up. Not in the paper.
total_variation_l1 = Prior(absolute_differences, sum_of_means)

# R_l2 of the CIFAR-10 recipe: the norm of the batch as one vector.
l2_of_batch = Prior(
    lambda images: [ops.sum(ops.square(images))], lambda sums: root(sums[0])
)

# R_l2 of the ImageNet recipe: the mean of the norms of the images.
l2_of_images = Prior(lambda images: mean_sums(image_norms(images)), mean_value)
