"""What a student learns from its teacher for an image, and the loss."""

import math

import keras
import tensorflow as tf

from tf_deepinversion.core.checks import require_positive
from tf_deepinversion.objective.softened_kl import SoftenedKL

# Of the class maps of an image. More would fill the teacher's cache.
MOST_VALUES = 2048


class Answers:
    """The logits and the class maps of two networks, and the student's loss.

    A class map is the head applied at each place of the features F whose mean
    over the places is the head's input:

        M = F W + b,    logits = mean of M over the places.

    The loss of a student with M_S and of its teacher with M_T is

        SoftenedKL(logits_T, logits_S) + class_maps * mean (M_T - M_S)^2.

    The maps of both networks are averaged to the finest grid of places that
    divides both and has at most 2,048 values for an image.

    Args:
        teacher: A `Classifier`.
        student: A `Classifier` with the same classes.
        temperature: Float, see `SoftenedKL`.
        class_maps: Float, the weight of the maps; 0 for none.

    Attributes:
        grid: Tuple `(height, width)`, or None: without weight, and if one
            network has no class maps, or no grid has more than one place.
        width: Int, number of values of an answer.

    Raises:
        ValueError: if an argument is out of range.

    Reference:
        - Yu et al., Data-Free Knowledge Distillation via Feature Exchange and
          Activation Region Constraint, CVPR 2023
    """

    def __init__(self, teacher, student, temperature, class_maps):
        if class_maps:
            require_positive(class_maps=class_maps)
        self.class_maps = float(class_maps)
        self._kl = SoftenedKL(temperature)
        self._distance = keras.losses.MeanSquaredError()
        self._classes = teacher.classes
        self.grid = None
        if class_maps and teacher.places and student.places:
            self.grid = common_grid(
                teacher.places, student.places, MOST_VALUES // teacher.classes
            )
        places = math.prod(self.grid) if self.grid else 0
        self.width = self._classes * (1 + places)

    @property
    def temperature(self) -> float:
        """Float, of the divergence."""
        return self._kl.temperature

    def of(self, reading):
        """Returns the answer of a `Reading`, a tensor `(batch, width)`."""
        if self.grid is None:
            return reading.logits
        maps = averaged(reading.class_maps, self.grid)
        rows = tf.reshape(maps, (-1, self.width - self._classes))
        # A head may compute in another precision than the features.
        rows = tf.cast(rows, reading.logits.dtype)
        return tf.concat([reading.logits, rows], -1)

    def logits(self, answers):
        """Returns the logits `(batch, classes)` of answers."""
        return answers[:, : self._classes]

    def loss(self, target, answers):
        """Computes the mean loss of a student's answers.

        Keras divides its losses by the number of replicas, see
        `replicas.of_mean`.

        Args:
            target: Tensor `(batch, width)`, the teacher's answers.
            answers: Tensor `(batch, width)`, the student's.
        """
        loss = self._kl(self.logits(target), self.logits(answers))
        if self.grid is not None:
            maps = target[:, self._classes :], answers[:, self._classes :]
            loss += self.class_maps * self._distance(*maps)
        return loss


def common_grid(first, second, most):
    """Finds the finest grid into which two networks' maps are averaged.

    Args:
        first: Tuple `(height, width)`, places of a network.
        second: Tuple `(height, width)`, places of the other network.
        most: Int, largest number of places.

    Returns:
        A tuple `(height, width)`, or None if no grid has several places.

    >>> common_grid((8, 8), (4, 4), 100), common_grid((8, 8), (4, 4), 7)
    ((4, 4), (2, 2))
    >>> common_grid((7, 7), (8, 8), 100) is None
    True
    """
    heights, widths = map(_divisors, map(math.gcd, first, second))
    grids = [
        (height, width)
        for height in heights
        for width in widths
        if 1 < height * width <= most
    ]

    def fineness(grid):
        # Of two grids of as many places, the one that is nearer to a square.
        return math.prod(grid), min(grid)

    return max(grids, key=fineness, default=None)


def _divisors(number):
    return [x for x in range(1, number + 1) if number % x == 0]


def averaged(maps, grid):
    """Averages maps `(batch, height, width, classes)` to a coarser grid.

    Args:
        maps: Tensor with a static height and width.
        grid: Tuple `(height, width)` that divides those of the maps.
    """
    sizes = [n // part for n, part in zip(maps.shape[1:3], grid, strict=True)]
    return keras.ops.average_pool(maps, sizes, data_format="channels_last")
