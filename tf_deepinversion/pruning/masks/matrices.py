"""The weights of layers as matrices, inputs times outputs.

Blocks and groups of m of n are of the inputs of an output, wherever the layer's
kernel has these axes.
"""

import math

import keras
import numpy as np

_TRANSPOSED = (
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
)


def axes_of(layer, shape) -> tuple:
    """Sorts the axes of a weight by their meaning.

    Args:
        layer: The `keras.layers.Layer` that owns the weight.
        shape: Tuple, the weight's shape, of two axes or more.

    Returns:
        Three lists of ints: axes of which each index has a matrix of its own,
        such as the places of a convolution's kernel; axes of inputs; axes of
        outputs.

    Raises:
        ValueError: if an `EinsumDense` has no inputs or no outputs.
    """
    *lead, first, last = range(len(shape))
    if isinstance(layer, _TRANSPOSED):
        return lead, [last], [first]
    if not isinstance(layer, keras.layers.EinsumDense):
        return lead, [first], [last]
    given, kernel, made = (
        part.replace("...", "").strip()
        for part in layer.equation.replace("->", ",").split(",")
    )
    inputs = [i for i, x in enumerate(kernel) if x in given and x not in made]
    outputs = [i for i, x in enumerate(kernel) if x in made and x not in given]
    if not inputs or not outputs:
        raise ValueError(
            "Blocks and m of n need weights with inputs and outputs. Received: "
            f"the equation {layer.equation!r} of {layer.name!r}"
        )
    lead = [i for i in range(len(kernel)) if i not in inputs + outputs]
    return lead, inputs, outputs


def of_matrices(pattern, layer, shape):
    """Makes a pattern of matrices one of a layer's weight.

    Args:
        pattern: Function from a float array `(..., inputs, outputs)` and a
            sparsity to a mask of the same shape.
        layer: The `keras.layers.Layer`.
        shape: Tuple, the weight's shape.

    Returns:
        A function from the weight and a sparsity to a mask.

    Raises:
        ValueError: as for `axes_of`.
    """
    lead, inputs, outputs = axes_of(layer, shape)
    order = [*lead, *inputs, *outputs]
    sizes = [shape[i] for i in lead]
    sizes += [math.prod(shape[i] for i in axes) for axes in (inputs, outputs)]

    def found(weights, sparsity):
        moved = weights.transpose(order)
        mask = pattern(moved.reshape(sizes), sparsity).reshape(moved.shape)
        return mask.transpose(np.argsort(order))

    return found
