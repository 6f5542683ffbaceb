"""The means of each class's features, read off the teacher's head."""

import keras
import numpy as np
from keras import ops

from tf_deepinversion.core.checks import require_positive
from tf_deepinversion.networks.ending import at_least_float32
from tf_deepinversion.networks.ending import two_logits
from tf_deepinversion.objective.priors import root
from tf_deepinversion.objective.terms import Term


@keras.saving.register_keras_serializable("tf_deepinversion")
class ClassMeans(Term):
    """Matches the mean features of each class to the head's weights.

    In a trained classifier, the mean of the head's inputs over the training
    images of class c points, seen from the mean over all classes, nearly in the
    direction of row c of the head's weights, seen from the mean row (neural
    collapse, arXiv:2008.08186). With h the head's inputs, m_c the mean of h
    over the images of label c less the mean of these means, and w_c the row of
    class c less the mean row, the term is

        mean over c of ||m_c - length w_c|| / mean over c of ||length w_c||

    over the classes of the batch. The term ties the means and not each image,
    so it leaves the images of a class different. It is not in the paper.

    Args:
        weight: Float, at least 0. Defaults to 1.
        length: Float, positive, length of the class means in lengths of the
            head's rows. Defaults to None, an estimate from the rows, see
            `head_length`.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> term = di.ClassMeans(3.0)
        >>> term.name, term.weight
        ('class_means', 3.0)
    """

    name = "class_means"
    needs_features = True

    def __init__(self, weight=1.0, length=None):
        super().__init__(weight)
        if length is not None:
            require_positive(length=length)
        self.length = length

    def sums(self, view):
        features = at_least_float32(view.head.inputs)
        kernel = ops.cast(view.head.layer.kernel, features.dtype)
        rows = ops.transpose(two_logits(kernel))
        length = self.length or head_length(rows)
        own = ops.one_hot(view.labels, rows.shape[0], dtype=features.dtype)
        counts = ops.sum(own, axis=0)
        # The targets are no sum over images. Weighted by the number of images,
        # they add up as all sums do, and `value` divides by the number.
        return [
            ops.matmul(ops.transpose(own), features),
            counts,
            ops.sum(counts) * length * rows,
        ]

    def value(self, sums, batch_norms):
        features, counts, targets = sums
        present = ops.cast(counts > 0, features.dtype)[:, None]
        means = _centered(features / ops.maximum(counts, 1)[:, None], present)
        targets = _centered(targets / ops.sum(counts), present)
        distance = ops.sum(_lengths(present * (means - targets)))
        scale = ops.sum(_lengths(present * targets))
        # A single class has no distance to others: nothing to match.
        some = scale > 0
        return ops.where(some, distance / ops.where(some, scale, 1.0), 0.0)

    def without_features(self):
        raise ValueError(
            "`ClassMeans` reads the class means off the teacher's dense head, "
            "and this teacher does not end with a Dense layer. Leave the term "
            "out of the recipe's `loss`."
        )

    def get_config(self):
        return {**super().get_config(), "length": self.length}


def _centered(means, present):
    """Subtracts the mean over the classes that are present."""
    total = ops.sum(present * means, axis=0, keepdims=True)
    return means - total / ops.sum(present)


def _lengths(rows):
    return root(ops.sum(ops.square(rows), axis=-1))


def head_length(rows):
    """Estimates the length of the class means from the head alone.

    A network trained to the end classifies the mean of each class with nearly
    no loss. For C rows w_c as far apart as can be, means `a w_c` have the
    cross-entropy log(1 + (C - 1) exp(-a |w_c|^2 C / (C - 1))). The function
    returns the length a with which the cross-entropy is 0.001. The real means
    of four trained networks were 1.1 to 2.3 times as long.

    Args:
        rows: Float tensor `(classes, features)`, the head's rows.

    Returns:
        A positive scalar tensor.

    >>> rows = keras.ops.convert_to_tensor([[1.0, 0.0], [-1.0, 0.0]])
    >>> round(float(head_length(rows)), 3)  # log(1 + exp(-2 a)) = 0.001
    3.454
    """
    others = rows.shape[0] - 1
    centered = rows - ops.mean(rows, axis=0, keepdims=True)
    square = ops.mean(ops.sum(ops.square(centered), axis=-1))
    margin = np.log(others / np.expm1(0.001))
    return margin * others / (others + 1) / square
