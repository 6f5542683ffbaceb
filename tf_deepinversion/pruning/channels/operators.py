"""The effect of functions and operators such as `x + y` on channels.

Keras's operations have no public names. The names of their classes identify
them.
"""

import warnings

import keras
import numpy as np
from keras import layers

# Operations that combine two tensors number by number.
MERGES = ("Add", "Maximum", "Minimum", "Multiply", "Subtract")


# Operations that reduce axes.
POOLS = ("Max", "Mean", "Min", "Sum")


# Operations whose outputs depend on all channels.
MIXING = ("LogSoftmax", "Softmax", "Sparsemax")


# Layers that compute the same as operations with other names.
LAYER_OF = {
    "AveragePool": "AveragePooling2D",
    "Conv": "Conv2D",
    "DepthwiseConv": "DepthwiseConv2D",
    "Einsum": "Dense",
    "ExpandDims": "Reshape",
    "GetItem": "Cropping2D",
    "Matmul": "Dense",
    "MaxPool": "MaxPooling2D",
    "Pad": "ZeroPadding2D",
    "Resize": "UpSampling2D",
    "SeparableConv": "SeparableConv2D",
    "Squeeze": "Reshape",
    "Transpose": "Permute",
}


def kind_of(node) -> str | None:
    """Returns the effect of an operation on channels, or None if unknown.

    Args:
        node: A node of a functional model. Its operation is no layer.
    """
    name, tensors = name_of(node.operation), node.arguments.keras_tensors
    if name == "Concatenate":
        return "concatenate"
    if name in MERGES and len(tensors) == 2:
        return "merge"
    if name in MIXING:
        return "mixing"
    # With one tensor, the operation can be tried as a function.
    if len(tensors) != 1:
        return None
    (tensor,) = tensors
    rank, width = len(tensor.shape), tensor.shape[-1]
    if name in POOLS and _pools_places(node.operation, rank):
        return "elementwise"
    if is_elementwise(applied(node), width, [rank]):
        return "elementwise"
    return None


def name_of(operation) -> str | None:
    """Returns the class name of an operation of Keras, such as `"Add"`."""
    kind = type(operation)
    return kind.__name__ if kind.__module__.startswith("keras.") else None


def layer_instead(operation) -> str:
    """Returns the name of a layer that can replace an operation."""
    name = name_of(operation)
    name = LAYER_OF.get(name, name)
    return f"keras.layers.{name if name and hasattr(layers, name) else 'Layer'}"


def applied(node):
    """Returns the operation of a node as a function of the node's tensor."""

    def function(values):
        args, kwargs = keras.tree.map_structure(
            lambda x: values if isinstance(x, keras.KerasTensor) else x,
            (node.arguments.args, node.arguments.kwargs),
        )
        return node.operation(*args, **kwargs)

    return function


def gives_zero(function, rank=2) -> bool:
    """Tells whether a function maps zeros to zeros."""
    return not np.any(
        keras.ops.convert_to_numpy(
            function(keras.ops.zeros((1,) * (rank - 1) + (2,)))
        )
    )


def is_elementwise(function, width, ranks=(2, 4)) -> bool:
    """Tells whether each output number depends on the same input number alone.

    The function is tried on numbers of all magnitudes. Alone, in parts and in
    another order, the numbers must give the same results.

    Args:
        function: Function of a tensor `(batch, ..., channels)`.
        width: Int, number of channels.
        ranks: Ints, ranks of the tensors to try.
    """
    return all(_gives_each_its_own(function, width, rank) for rank in ranks)


def _gives_each_its_own(function, width, rank):
    random = np.random.default_rng(0)
    shape = (5, *[3] * (rank - 2), width)
    x = random.normal(size=shape) * 10.0 ** random.uniform(-3, 3, shape)
    x[random.random(shape) < 0.1] = 0
    x = x.astype("float32")
    flat = x.reshape(-1, *[1] * (rank - 1))
    parts = [flat[:1], flat[1 : len(flat) // 2], flat[len(flat) // 2 :]]
    turn = (slice(None, None, -1), ..., slice(None, None, -1))
    try:
        with warnings.catch_warnings():
            # Of shapes that only this trial has, as a softmax of one number.
            warnings.simplefilter("ignore")
            whole, turned, *found = (
                keras.ops.convert_to_numpy(
                    function(keras.ops.convert_to_tensor(tried))
                )
                for tried in (x, x[turn], *parts)
            )
    except Exception:  # the function accepts one shape only
        return False
    if whole.shape != shape or any(
        f.shape != p.shape for f, p in zip(found, parts, strict=True)
    ):
        return False
    alone = np.concatenate(found).reshape(shape)
    return all(
        np.allclose(other, whole, rtol=1e-4, atol=1e-6, equal_nan=True)
        for other in (alone, turned[turn])
    )


def _pools_places(operation, rank):
    """Tells whether a reduction runs over positions, and over nothing else."""
    axes = operation.axis
    if axes is None:
        return False
    axes = {a % rank for a in np.atleast_1d(axes)}
    # Axis 0 is the batch, the last axis holds the channels.
    return not axes & {0, rank - 1}
