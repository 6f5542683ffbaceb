"""Magnitude pruning: masks that live in the constraints of variables.

A constraint is applied by the optimizer after each step, in the same graph:
under XLA, under strategies and in anybody's `train_step`. It is no part of
what Keras saves, so that the saved model is a plain one.
"""

import contextlib
import warnings

import keras
import numpy as np
import tensorflow as tf

from tf_deepinversion.pruning.masks import patterns
from tf_deepinversion.pruning.masks.policy import weights_to_prune


class MagnitudeMask:
    """Keeps the masked entries of a variable zero; its `constraint`.

    Args:
        variable: A `keras.Variable`.
        layer: The layer whose weight that is.
        schedule: A `ConstantSparsity` or `PolynomialDecay`.
        pattern: Function from weights and a sparsity to a mask.
    """

    def __init__(self, variable, layer, schedule, pattern):
        self.variable, self.layer = variable, layer
        self.schedule, self._pattern = schedule, pattern
        self.before = variable.constraint
        self.made = False  # so far it masks nothing, whatever is asked for
        self.watched = False  # by an `UpdatePruningStep`
        with _scope_of(variable):
            self.mask = keras.Variable(
                np.ones(variable.shape, "float32"),
                trainable=False,
                dtype=variable.dtype,
                name="mask",
            )

    def __call__(self, weights):
        self._warn_if_forgotten()
        if self.before is not None:
            weights = self.before(weights)
        weights = keras.ops.convert_to_tensor(weights)
        return weights * keras.ops.cast(self.mask, weights.dtype)

    def apply(self):
        """Zeroes the masked entries of the variable now."""
        mask = keras.ops.convert_to_tensor(self.mask)
        self.variable.assign(self.variable * mask)

    def is_held(self) -> bool:
        """Whether the masked entries of the variable are zero."""
        weights, mask = map(
            keras.ops.convert_to_numpy, (self.variable, self.mask)
        )
        return not np.any(np.abs(weights[mask == 0]) > 0)  # not even NaN is

    def strip(self):
        """Takes the mask off; the zeros stay as values."""
        self.apply()
        self.variable.constraint = self.before
        # What was traced with this mask goes on to multiply by it.
        self.mask.assign(np.ones(self.variable.shape, "float32"))

    def _warn_if_forgotten(self):
        """Where training is traced: it would be dense to its end."""
        if self.watched:
            return
        with tf.init_scope():
            made = self.sparsity > 0
        if not made:
            warnings.warn(
                "Nobody makes the masks of this model, so its training is "
                "dense: give `callbacks=[UpdatePruningStep()]` to `fit`, or in "
                "a loop of your own call its `on_train_begin` before the "
                "first step. Received: masks without zeros",
                UserWarning,
                stacklevel=2,
            )
        self.watched = True  # said once

    def update(self, sparsity):
        """Makes the mask of the present weights, and applies it."""
        weights = keras.ops.convert_to_numpy(self.variable).astype("float32")
        self.mask.assign(self._pattern(weights, sparsity))
        self.made = True
        self.apply()

    @property
    def sparsity(self) -> float:
        """The share of the mask that is zero."""
        return float(1 - keras.ops.convert_to_numpy(self.mask).mean())


def _scope_of(variable):
    """Where the variable's replicas are, for another one to be beside them."""
    strategy = getattr(variable.value, "distribute_strategy", None)
    return strategy.scope() if strategy else contextlib.nullcontext()


def masks_of(model) -> list[MagnitudeMask]:
    """The masks of a model, in the order of its weights."""
    found = [v.constraint for v in model.trainable_variables]
    found += [v.constraint for v in model.non_trainable_variables]
    return [c for c in found if isinstance(c, MagnitudeMask)]


def prune_low_magnitude(
    model,
    schedule,
    policy=None,
    *,
    block_size=(1, 1),
    block_pooling_type="AVG",
    sparsity_m_by_n=None,
):
    """Gives the weights of a model masks, which `UpdatePruningStep` makes.

    The model itself is changed, and stays what it is: it needs no new
    `compile`, and what it saves is a plain Keras model. A `tf.function` of
    your own that was traced before knows no masks: make it anew.

    Args:
        model: A built `keras.Model` of any kind.
        schedule: A `ConstantSparsity` or `PolynomialDecay`.
        policy: Which weights: the name of a layer or the path of a weight, a
            class of layers, or a list of these and of pairs of one of them
            and the name of a weight, such as `("mixer", "table")`; or a
            function from a layer to a bool, or to a list of names of its
            weights. None: the kernels of Keras's layers but depthwise ones; a
            warning names what else stays dense.
        block_size: Pair of ints, inputs and outputs that are zeroed together.
        block_pooling_type: `"AVG"` or `"MAX"`, see `patterns.blocks`.
        sparsity_m_by_n: Pair of ints (m, n): m zeros of every n inputs. The
            schedule then only says when.

    Returns:
        The model.

    Raises:
        TypeError: if the schedule is none.
        ValueError: if the model is not built or has masks already, or the
            policy names what is not there or has nothing to prune.
    """
    if not callable(getattr(schedule, "last_update", None)):
        raise TypeError(
            "Expected a schedule, such as ConstantSparsity(0.8). "
            f"Received: schedule={schedule!r}"
        )
    if not model.built:
        raise ValueError(
            "The model has no weights yet: build it, or call it once. "
            f"Received: {model.name!r}"
        )
    pattern = _pattern(block_size, block_pooling_type, sparsity_m_by_n)
    chosen = weights_to_prune(model, policy)
    if masks_of(model):
        raise ValueError(
            "The model is already pruned: call `strip_pruning` first. "
            f"Received: {model.name!r}"
        )
    if pattern is not patterns.unstructured:
        _require_matrices(chosen)
    for layer, variable in chosen:
        variable.constraint = MagnitudeMask(variable, layer, schedule, pattern)
    _forget_traced(model)
    return model


def _require_matrices(chosen):
    vectors = [v.path for _, v in chosen if len(v.shape) < 2]
    if vectors:
        raise ValueError(
            "Blocks and m of n are of weights with inputs and outputs. "
            f"Received: policy takes {vectors}"
        )


def _forget_traced(model):
    """Keras keeps its step as it was traced, with the constraints of then."""
    model.train_function = None


def _pattern(block_size, pooling, m_by_n):
    if len(block_size) != 2 or any(int(b) != b or b < 1 for b in block_size):
        raise ValueError(
            "`block_size` must be two whole numbers, 1 or more. "
            f"Received: block_size={block_size}"
        )
    if pooling not in ("AVG", "MAX"):
        raise ValueError(
            '`block_pooling_type` must be "AVG" or "MAX". '
            f"Received: block_pooling_type={pooling!r}"
        )
    if m_by_n is not None:
        if tuple(block_size) != (1, 1):
            raise ValueError(
                "Either blocks or m of n. Received: "
                f"block_size={block_size}, sparsity_m_by_n={m_by_n}"
            )
        m, n = m_by_n
        if not 0 < m < n:
            raise ValueError(
                "`sparsity_m_by_n` must be (m, n) with 0 < m < n. "
                f"Received: sparsity_m_by_n={m_by_n}"
            )
        return lambda weights, _: patterns.n_of_m(weights, m, n)
    if tuple(block_size) == (1, 1):
        return patterns.unstructured
    return lambda weights, s: patterns.blocks(weights, s, block_size, pooling)


def strip_pruning(model):
    """Takes the masks off; the zeros stay, and so do former constraints.

    Whatever was traced before, in this model or around it, trains densely
    from now on.

    Returns:
        The model.

    Raises:
        ValueError: if the model has no masks.
    """
    masks = required_masks(model)
    if not any(mask.made or mask.sparsity for mask in masks):
        warnings.warn(
            "No mask was ever made: the network is as dense as it was. Train "
            "it with `callbacks=[UpdatePruningStep()]` before, for longer than "
            f"its schedule's `begin_step`. Received: {model.name!r}",
            UserWarning,
            stacklevel=2,
        )
    for mask in masks:
        mask.strip()
    _forget_traced(model)
    return model


def required_masks(model):
    """As `masks_of`; a ValueError where there are none."""
    masks = masks_of(model)
    if not masks:
        raise ValueError(
            "The model has no masks: call `prune_low_magnitude` first. "
            f"Received: {model.name!r}"
        )
    return masks
