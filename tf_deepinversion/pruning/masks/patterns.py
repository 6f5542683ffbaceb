"""Which weights of a tensor stay, by their magnitude: the equations.

All masks are NumPy arrays of 0 and 1. Of equal magnitudes the one with the
lower index stays, so that exactly as many stay as are asked for.
"""

import numpy as np


def largest(values, k) -> np.ndarray:
    """1 for the k largest values, 0 for the others.

    Args:
        values: Array `(..., n)`.
        k: Int in [0, n], of each row.

    >>> largest(np.array([2.0, 3.0, 2.0, 1.0]), 2)
    array([1., 1., 0., 0.], dtype=float32)
    """
    order = np.argsort(-values, axis=-1, kind="stable")
    mask = np.zeros(values.shape, "float32")
    np.put_along_axis(mask, order[..., :k], 1.0, axis=-1)
    return mask


def kept(n, sparsity) -> int:
    """k = max(1, round(n (1 - s))), how many of n stay."""
    return max(1, round(n * (1 - sparsity)))


def unstructured(weights, sparsity) -> np.ndarray:
    """The mask that keeps the k weights of largest magnitude.

    Args:
        weights: Float array of any shape.
        sparsity: Float in [0, 1).

    >>> unstructured(np.array([[1.0, -3.0], [2.0, 0.5]]), 0.5)
    array([[0., 1.],
           [1., 0.]], dtype=float32)
    """
    values = np.abs(weights).reshape(-1)
    return largest(values, kept(values.size, sparsity)).reshape(weights.shape)


def blocks(weights, sparsity, block_size, pooling="AVG") -> np.ndarray:
    """The mask that keeps whole blocks of the last two axes.

    A block that reaches over an edge counts with the weights it has.

    Args:
        weights: Float array `(..., inputs, outputs)`.
        sparsity: Float in [0, 1), of blocks.
        block_size: Pair of ints, inputs and outputs of a block.
        pooling: `"AVG"` or `"MAX"`, what the magnitudes of a block make of it.
    """
    *lead, rows, columns = weights.shape
    height, width = block_size
    over = [(0, 0)] * len(lead) + [(0, -rows % height), (0, -columns % width)]
    missing = np.pad(np.zeros(weights.shape), over, constant_values=np.nan)
    padded = np.pad(np.abs(weights), over) + missing
    shape = padded.shape
    split = padded.reshape(
        *lead, shape[-2] // height, height, shape[-1] // width, width
    )
    pool = np.nanmean if pooling == "AVG" else np.nanmax
    mask = unstructured(pool(split, axis=(-3, -1)), sparsity)
    mask = mask.repeat(height, axis=-2).repeat(width, axis=-1)
    return mask[..., :rows, :columns]


def n_of_m(weights, zeros, group) -> np.ndarray:
    """The mask that zeroes the smallest `zeros` of each `group` inputs.

    Groups are of consecutive inputs of one output, which is what hardware
    with 2:4 sparsity multiplies. In a last, incomplete group the inputs that
    are missing count as the smallest.

    Args:
        weights: Float array `(..., inputs, outputs)`.
        zeros: Int, less than `group`.
        group: Int.
    """
    values = np.moveaxis(np.abs(weights), -2, -1)
    inputs = values.shape[-1]
    over = [(0, 0)] * (values.ndim - 1) + [(0, -inputs % group)]
    padded = np.pad(values, over, constant_values=-1.0)
    split = padded.reshape(*values.shape[:-1], -1, group)
    mask = largest(split, group - zeros).reshape(padded.shape)
    return np.moveaxis(mask[..., :inputs], -1, -2)
