"""What functions and operators such as `x + y` do with channels.

Keras's operations have no public names: they are told by those of their
classes.
"""

import keras
import numpy as np
from keras import layers

MERGES = ("Add", "Maximum", "Minimum", "Multiply", "Subtract")


POOLS = ("Max", "Mean", "Min", "Sum")


MIXING = ("LogSoftmax", "Softmax", "Sparsemax")


# The layers that do the work of operations of other names.
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
    """What an operation does with channels, or None where it is not known.

    Args:
        node: A node of a functional model, whose operation is no layer.
    """
    name, tensors = name_of(node.operation), node.arguments.keras_tensors
    if name == "Concatenate":
        return "concatenate"
    if name in MERGES and len(tensors) == 2:
        return "merge"
    if name in MIXING:
        return "mixing"
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
    """The class of an operation of Keras, such as `"Add"`."""
    kind = type(operation)
    return kind.__name__ if kind.__module__.startswith("keras.") else None


def layer_instead(operation) -> str:
    """The name of the layer that does the work of an operation."""
    name = name_of(operation)
    name = LAYER_OF.get(name, name)
    return f"keras.layers.{name if name and hasattr(layers, name) else 'Layer'}"


def applied(node):
    """A function from what takes the place of a node's tensor to its output."""

    def function(values):
        args, kwargs = keras.tree.map_structure(
            lambda x: values if isinstance(x, keras.KerasTensor) else x,
            (node.arguments.args, node.arguments.kwargs),
        )
        return node.operation(*args, **kwargs)

    return function


def gives_zero(function, rank=2) -> bool:
    """Whether a function of zeros is zero everywhere."""
    return not np.any(
        keras.ops.convert_to_numpy(
            function(keras.ops.zeros((1,) * (rank - 1) + (2,)))
        )
    )


def is_elementwise(function, width, ranks=(2, 4)) -> bool:
    """Whether a function gives each number its own, whatever is beside it.

    That is tried, with numbers of all magnitudes: alone, in parts and in
    another order they must come to the same.

    Args:
        function: Function of a tensor `(batch, ..., channels)`.
        width: Int, how many channels it is given.
        ranks: Ints, of the tensors.
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
        whole = keras.ops.convert_to_numpy(
            function(keras.ops.convert_to_tensor(x))
        )
        found = [
            keras.ops.convert_to_numpy(function(keras.ops.convert_to_tensor(p)))
            for p in parts
        ]
        turned = keras.ops.convert_to_numpy(
            function(keras.ops.convert_to_tensor(x[turn]))
        )
    except Exception:  # a function of one shape alone
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
    """Whether a mean or the like is over places, and over nothing else."""
    axes = operation.axis
    if axes is None:
        return False
    axes = {a % rank for a in np.atleast_1d(axes)}
    return not axes & {0, rank - 1}
