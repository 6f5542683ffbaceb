"""Magnitude pruning by masks in the constraints of variables.

The optimizer applies a constraint after each step, in the same graph: with XLA,
with strategies, and in any `train_step`. Keras does not save constraints of
variables, so the saved model is a plain model.
"""

import contextlib
import warnings

import keras
import numpy as np
import tensorflow as tf

from tf_deepinversion.core.checks import is_whole
from tf_deepinversion.core.keras_internals import layers_of
from tf_deepinversion.pruning.masks import patterns
from tf_deepinversion.pruning.masks.matrices import of_matrices
from tf_deepinversion.pruning.masks.policy import weights_to_prune


class MagnitudeMask:
    """The `constraint` that keeps masked entries of a variable zero.

    Args:
        variable: A `keras.Variable`.
        layer: The layer that owns the variable.
        schedule: A `ConstantSparsity` or `PolynomialDecay`.
        pattern: Function from weights and a sparsity to a mask.
    """

    def __init__(self, variable, layer, schedule, pattern):
        self.variable, self.layer = variable, layer
        self.schedule, self.pattern = schedule, pattern
        self.before = variable.constraint
        self.made = False  # whether a mask was ever computed
        self.watched = False  # whether an `UpdatePruningStep` exists
        with _scope_of(variable):
            self.mask = keras.Variable(
                np.ones(variable.shape, "float32"),
                trainable=False,
                dtype=variable.dtype,
                name="mask",
            )

    def __call__(self, weights):
        self._warn_if_forgotten()
        # A constraint of the user comes first: the zeros must stay.
        if self.before is not None:
            weights = self.before(weights)
        weights = keras.ops.convert_to_tensor(weights)
        return weights * keras.ops.cast(self.mask, weights.dtype)

    def apply(self):
        """Sets the masked entries of the variable to zero now."""
        mask = keras.ops.convert_to_tensor(self.mask)
        self.variable.assign(self.variable * mask)

    def is_held(self) -> bool:
        """Tells whether the masked entries of the variable are zero."""
        weights, mask = map(
            keras.ops.convert_to_numpy, (self.variable, self.mask)
        )
        return not np.any(np.abs(weights[mask == 0]) > 0)  # False for NaN

    def strip(self):
        """Removes the mask; the zeros stay as values."""
        self.apply()
        self.variable.constraint = self.before
        # Functions traced with this mask still multiply by it.
        self.mask.assign(np.ones(self.variable.shape, "float32"))

    def _warn_if_forgotten(self):
        """Warns at tracing if nothing will ever update the masks."""
        if self.watched:
            return
        # Outside the graph that is being traced, the mask has a value.
        with tf.init_scope():
            made = self.sparsity > 0
        if not made:
            warnings.warn(
                "Nothing updates the masks of this model, so its training is "
                "dense: pass `callbacks=[UpdatePruningStep()]` to `fit`. In a "
                "custom loop, call its `on_train_begin` before the first "
                "step. Received: masks without zeros",
                UserWarning,
                stacklevel=2,
            )
        self.watched = True  # warn only once

    def update(self, sparsity):
        """Computes the mask of the current weights, and applies it."""
        weights = keras.ops.convert_to_numpy(self.variable).astype("float32")
        self.mask.assign(self.pattern(weights, sparsity))
        self.made = True
        self.apply()

    @property
    def sparsity(self) -> float:
        """Float, the share of the mask that is zero."""
        mask = keras.ops.convert_to_numpy(self.mask)
        # A mean in the mask's own dtype, such as bfloat16, would be rounded.
        return float(1 - np.count_nonzero(mask) / mask.size)


def _scope_of(variable):
    """Returns the strategy's scope of a variable, for its mask."""
    strategy = getattr(variable.value, "distribute_strategy", None)
    return strategy.scope() if strategy else contextlib.nullcontext()


def masks_of(model) -> list[MagnitudeMask]:
    """Lists the masks of a model, in the order of its weights.

    Args:
        model: A `keras.Model`.

    Returns:
        A list of `MagnitudeMask`.

    Example:
        >>> di.pruning.masks_of(teacher)
        []
    """
    found = [v.constraint for v in model.variables]
    return [c for c in found if isinstance(c, MagnitudeMask)]


def places_of(model) -> list:
    """Identifies the weights with masks by their layer's position and name.

    Keras's names of layers differ from process to process.

    Args:
        model: A `keras.Model` with masks.

    Returns:
        A list of pairs of an int and a string, in the order of `masks_of`.
    """
    places = {id(layer): i for i, layer in enumerate(layers_of(model))}
    return [
        [places[id(mask.layer)], mask.variable.name] for mask in masks_of(model)
    ]


def prune_low_magnitude(
    model,
    schedule,
    policy=None,
    *,
    block_size=(1, 1),
    block_pooling_type="AVG",
    sparsity_m_by_n=None,
):
    """Gives the weights of a model masks, which `UpdatePruningStep` updates.

    The function changes the model in place: the model needs no new `compile`,
    and saves as a plain Keras model. A `tf.function` that was traced earlier
    does not know the masks: create it again.

    Args:
        model: A built `keras.Model` of any kind.
        schedule: A `ConstantSparsity` or `PolynomialDecay`.
        policy: The weights to prune: a layer's name, a weight's path, a class
            of layers, a list of these, or pairs of one of these and a weight's
            name, such as `("mixer", "table")`; or a function from a layer to a
            bool, or to a list of names of its weights. The default prunes the
            kernels of Keras's layers except depthwise kernels; a warning names
            other weights that stay dense.
        block_size: Pair of ints, number of inputs and outputs that become zero
            together, whatever axes of a kernel they are. Defaults to `(1, 1)`.
        block_pooling_type: `"AVG"` or `"MAX"` of the magnitudes of a block.
            Defaults to `"AVG"`.
        sparsity_m_by_n: Pair of ints (m, n): m zeros in every n inputs. The
            schedule then sets only the time. Defaults to None.

    Returns:
        The model.

    Raises:
        TypeError: if `schedule` is not a schedule.
        ValueError: if the model is not built or already has masks, or the
            policy selects nothing.

    Example:
        >>> model = di.networks.copy_of(teacher)
        >>> schedule = di.pruning.ConstantSparsity(0.5)
        >>> model = di.pruning.prune_low_magnitude(model, schedule)
        >>> len(di.pruning.masks_of(model))
        2
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
    patterns_of = [
        pattern
        if pattern is patterns.unstructured
        else of_matrices(pattern, layer, tuple(variable.shape))
        for layer, variable in chosen
    ]
    # Keras applies a constraint after each update of the variable.
    for (layer, variable), own in zip(chosen, patterns_of, strict=True):
        variable.constraint = MagnitudeMask(variable, layer, schedule, own)
    _forget_traced(model)
    return model


def _require_matrices(chosen):
    vectors = [v.path for _, v in chosen if len(v.shape) < 2]
    if vectors:
        raise ValueError(
            "Blocks and m of n need weights with inputs and outputs. "
            f"Received: a policy that selects {vectors}"
        )


def _forget_traced(model):
    """Removes Keras's traced step, which holds the earlier constraints."""
    model.train_function = None


def _pattern(block_size, pooling, m_by_n):
    if np.shape(block_size) != (2,) or not all(map(is_whole, block_size)):
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
                "Pass either `block_size` or `sparsity_m_by_n`. Received: "
                f"block_size={block_size}, sparsity_m_by_n={m_by_n}"
            )
        pair = np.shape(m_by_n) == (2,) and all(map(is_whole, m_by_n))
        if not pair or not m_by_n[0] < m_by_n[1]:
            raise ValueError(
                "`sparsity_m_by_n` must be (m, n) with 0 < m < n. "
                f"Received: sparsity_m_by_n={m_by_n}"
            )
        return lambda weights, _: patterns.n_of_m(weights, *m_by_n)
    if tuple(block_size) == (1, 1):
        return patterns.unstructured
    return lambda weights, s: patterns.blocks(weights, s, block_size, pooling)


def strip_pruning(model):
    """Removes the masks and restores earlier constraints; zeros stay.

    Functions traced earlier, in this model or around it, then train densely.

    Args:
        model: A `keras.Model` with masks.

    Returns:
        The model.

    Raises:
        ValueError: if the model has no masks.

    Example:
        >>> model = di.networks.copy_of(teacher)
        >>> schedule = di.pruning.ConstantSparsity(0.5)
        >>> model = di.pruning.prune_low_magnitude(model, schedule)
        >>> for mask in di.pruning.masks_of(model):
        ...     mask.update(0.5)
        >>> model = di.pruning.strip_pruning(model)
        >>> int((model.weights[0].numpy() == 0).sum())  # of 36
        18
    """
    masks = required_masks(model)
    if not any(mask.made or mask.sparsity for mask in masks):
        warnings.warn(
            "No mask was ever made: the network is as dense as before. First "
            "train it with `callbacks=[UpdatePruningStep()]`, for more steps "
            f"than its schedule's `begin_step`. Received: {model.name!r}",
            UserWarning,
            stacklevel=2,
        )
    for mask in masks:
        mask.strip()
    _forget_traced(model)
    return model


def required_masks(model):
    """Works like `masks_of`, but raises a ValueError without masks."""
    masks = masks_of(model)
    if not masks:
        raise ValueError(
            "The model has no masks: call `prune_low_magnitude` first. "
            f"Received: {model.name!r}"
        )
    return masks
