"""Magnitude pruning: masks that live in the constraints of variables.

A constraint is applied by the optimizer after each step, in the same graph:
under XLA, under strategies and in anybody's `train_step`. It is no part of
what Keras saves, so that the saved model is a plain one.
"""

import contextlib

import keras
import numpy as np

from tf_deepinversion.pruning import patterns

# The weights of Keras's layers that are worth a mask. Those of depthwise
# convolutions are few and are left alone, as in TensorFlow's toolkit.
PRUNABLE = {
    keras.layers.Dense: ("kernel",),
    keras.layers.EinsumDense: ("kernel",),
    keras.layers.Embedding: ("embeddings",),
    keras.layers.Conv1D: ("kernel",),
    keras.layers.Conv2D: ("kernel",),
    keras.layers.Conv3D: ("kernel",),
    keras.layers.Conv1DTranspose: ("kernel",),
    keras.layers.Conv2DTranspose: ("kernel",),
    keras.layers.Conv3DTranspose: ("kernel",),
    keras.layers.SeparableConv1D: ("pointwise_kernel",),
    keras.layers.SeparableConv2D: ("pointwise_kernel",),
    keras.layers.SimpleRNNCell: ("kernel", "recurrent_kernel"),
    keras.layers.LSTMCell: ("kernel", "recurrent_kernel"),
    keras.layers.GRUCell: ("kernel", "recurrent_kernel"),
}


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
        with _scope_of(variable):
            self.mask = keras.Variable(
                np.ones(variable.shape, "float32"),
                trainable=False,
                dtype=variable.dtype,
                name="mask",
            )

    def __call__(self, weights):
        if self.before is not None:
            weights = self.before(weights)
        weights = keras.ops.convert_to_tensor(weights)
        return weights * keras.ops.cast(self.mask, weights.dtype)

    def apply(self):
        """Zeroes the masked entries of the variable now."""
        mask = keras.ops.convert_to_tensor(self.mask)
        self.variable.assign(self.variable * mask)

    def update(self, sparsity):
        """Makes the mask of the present weights, and applies it."""
        weights = keras.ops.convert_to_numpy(self.variable).astype("float32")
        self.mask.assign(self._pattern(weights, sparsity))
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
    `compile`, and what it saves is a plain Keras model.

    Args:
        model: A built `keras.Model` of any kind.
        schedule: A `ConstantSparsity` or `PolynomialDecay`.
        policy: Which layers: a name, a class of layers, a function from a
            layer to a bool, or a list of names and classes. None: all layers
            of `PRUNABLE`.
        block_size: Pair of ints, inputs and outputs that are zeroed together.
        block_pooling_type: `"AVG"` or `"MAX"`, see `patterns.blocks`.
        sparsity_m_by_n: Pair of ints (m, n): m zeros of every n inputs. The
            schedule then only says when.

    Returns:
        The model.

    Raises:
        TypeError: if the schedule is none.
        ValueError: if the model is not built or has masks already, or the
            policy names a layer that is not there or has nothing to prune.
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
    chosen = _prunable_layers(model, policy)
    if masks_of(model):
        raise ValueError(
            "The model is already pruned: call `strip_pruning` first. "
            f"Received: {model.name!r}"
        )
    for layer, names in chosen:
        for name in names:
            variable = getattr(layer, name)
            if variable.constraint is None or not isinstance(
                variable.constraint, MagnitudeMask
            ):  # a layer may be found twice
                variable.constraint = MagnitudeMask(
                    variable, layer, schedule, pattern
                )
    return model


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


def _weights_of(layer):
    for kind, names in PRUNABLE.items():
        # DepthwiseConv2D is no Conv2D in Keras 3; subclasses of users count.
        if isinstance(layer, kind):
            return names
    return ()


def _prunable_layers(model, policy):
    layers = [x for x in model._flatten_layers() if _weights_of(x)]
    if policy is None:
        chosen = layers
    elif callable(policy) and not isinstance(policy, type):
        chosen = [x for x in layers if policy(x)]
    else:
        wanted = list(policy) if isinstance(policy, (list, tuple)) else [policy]
        chosen = []
        for one in wanted:
            found = [
                x
                for x in layers
                if (isinstance(x, one) if isinstance(one, type) else False)
                or x.name == one
            ]
            if not found:
                raise ValueError(
                    "`policy` asks for layers that are not there or have "
                    f"nothing to prune. Received: {one!r}; there are "
                    f"{[x.name for x in layers]}"
                )
            chosen += [x for x in found if x not in chosen]
    if not chosen:
        raise ValueError(
            f"No layer of {model.name!r} is to be pruned: none has a kernel, "
            f"or the policy takes none. Received: policy={policy!r}"
        )
    return [(layer, _weights_of(layer)) for layer in chosen]


def strip_pruning(model):
    """Takes the masks off; the zeros stay, and so do former constraints.

    Returns:
        The model.

    Raises:
        ValueError: if the model has no masks.
    """
    for mask in required_masks(model):
        mask.apply()
        mask.variable.constraint = mask.before
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
