"""The objective: a list of weighted terms (arXiv:1912.08795, eqs. 2-8).

A term is a function of *sums over the images*. `sums(view)` returns tensors
that add up over replicas and over pieces of a batch. `value(sums, batch_norms)`
computes the scalar of the whole batch from these sums. With S the sums over all
images,

    d value(S) / d images_r = (d value / dS) (d S_r / d images_r)

Devices therefore exchange only S, and the gradient of a piece is exact for any
split of the batch.
"""

import tensorflow as tf
from keras import ops

from tf_deepinversion.core.checks import is_within
from tf_deepinversion.core.random_keys import fold_in


class Term:
    """Base class of the weighted terms of an objective.

    A subclass defines `name`, `sums` and `value`.

    Args:
        weight: Float, finite and at least 0. The term's factor in the
            objective. Defaults to 1.

    Example:
        >>> class Brightness(di.objective.Term):
        ...     name = "brightness"
        ...
        ...     def sums(self, view):
        ...         return [keras.ops.sum(view.images)]
        ...
        ...     def value(self, sums, batch_norms):
        ...         return sums[0]
        >>> view = di.objective.View(np.ones((1, 2, 2, 1)), [0], None, [])
        >>> term = Brightness(0.5)
        >>> float(term.value(term.sums(view), []))
        4.0
    """

    name = None
    needs_batch_norms = False
    needs_student = False
    needs_features = False

    def __init__(self, weight=1.0):
        if not is_within(weight, "[0, inf)"):
            raise ValueError(
                "`weight` must be finite and not negative. "
                f"Received: weight={weight} for {type(self).__name__}"
            )
        self.weight = float(weight)

    def draw(self, key, count, features):
        """Draws the random numbers of a step; `sums` reads `view.numbers`.

        Args:
            key: Int tensor `(2,)`, a key of stateless random numbers.
            count: Int, number of images in the whole batch.
            features: Int, number of inputs of the teacher's dense head, or
                None.

        Returns:
            A tensor with one row per image. The default has no columns.
        """
        return tf.zeros((count, 0))

    def sums(self, view):
        """Computes tensors that add up over the pieces of a batch.

        Args:
            view: `View` of a piece of the batch.

        Returns:
            A list of tensors, or of named tuples of tensors.
        """
        raise NotImplementedError

    def value(self, sums, batch_norms):
        """Computes the term of the whole batch, before weighting.

        Args:
            sums: The results of `sums`, added up over the batch.
            batch_norms: List of the layers of `View.batch_norm_calls`, in
                that order.

        Returns:
            A scalar.
        """
        raise NotImplementedError

    def without_features(self):
        """Returns the term for a teacher without a dense head."""
        return self

    def get_config(self):
        return {"weight": self.weight}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def draw(terms, seed, step, count, features) -> list:
    """Draws the random numbers of one step for a list of terms.

    Args:
        terms: List of `Term`.
        seed: Int tensor `(2,)`.
        step: Int scalar tensor.
        count: Int, number of images in the whole batch.
        features: Int, number of inputs of the teacher's dense head, or None.

    Returns:
        A list with one tensor per term, each with `count` rows.
    """
    # The transforms fold in the steps 0, 1, ...; the terms take -1, -2, ...
    # so that no term shares a key with a transform.
    key = fold_in(seed, -1 - step)
    return [
        term.draw(fold_in(key, 1 + i) if i else key, count, features)
        for i, term in enumerate(terms)
    ]


def weighted_values(terms, sums, batch_norms):
    """Computes the weighted terms of the whole batch; their sum is the loss.

    Args:
        terms: List of `Term`.
        sums: List with the sums of each term, added up over the batch.
        batch_norms: List of layers, see `Term.value`.

    Returns:
        A list of scalars.

    Raises:
        ValueError: if the value of a term is not a scalar.
    """
    values = [
        term.weight * term.value(own, batch_norms)
        for term, own in zip(terms, sums, strict=True)
    ]
    for term, value in zip(terms, values, strict=True):
        # A tensor would be broadcast, and change the loss without an error.
        if ops.ndim(value):
            raise ValueError(
                f"`value` of the term {term.name!r} must be a scalar. "
                f"Received: a tensor of shape {tuple(ops.shape(value))}"
            )
    return values
