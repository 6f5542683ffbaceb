"""Masks by magnitude: the equations.

All masks are NumPy arrays of 0 and 1. Of equal magnitudes the lower index
stays, so that the number of remaining weights is exact.
"""

import numpy as np


def largest(values, k) -> np.ndarray:
    """Marks the k largest values with 1, the others with 0.

    Args:
        values: Array `(..., n)`.
        k: Int in [0, n], for each row.

    >>> largest(np.array([2.0, 3.0, 2.0, 1.0]), 2)
    array([1., 1., 0., 0.], dtype=float32)
    """
    order = np.argsort(-values, axis=-1, kind="stable")
    mask = np.zeros(values.shape, "float32")
    np.put_along_axis(mask, order[..., :k], 1.0, axis=-1)
    return mask


def kept(n, sparsity) -> int:
    """Computes k = max(1, round(n (1 - s))), the weights that stay."""
    return max(1, round(n * (1 - sparsity)))


def unstructured(weights, sparsity) -> np.ndarray:
    """Makes the mask that keeps the k weights of largest magnitude.

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
    """Makes the mask that keeps whole blocks of the last two axes.

    A block beyond the edge counts with the weights that it has.

    Args:
        weights: Float array `(..., inputs, outputs)`.
        sparsity: Float in [0, 1), the share of blocks that become zero.
        block_size: Pair of ints, inputs and outputs of a block.
        pooling: `"AVG"` or `"MAX"` of a block's magnitudes. Defaults to
            `"AVG"`.
    """
    *lead, rows, columns = weights.shape
    height, width = block_size
    over = [(0, 0)] * len(lead) + [(0, -rows % height), (0, -columns % width)]
    # Places beyond the border are NaN: means and maxima of blocks leave them
    # out.
    missing = np.pad(np.zeros(weights.shape), over, constant_values=np.nan)
    padded = np.pad(np.abs(weights), over) + missing
    shape = padded.shape
    split = padded.reshape(
        *lead, shape[-2] // height, height, shape[-1] // width, width
    )
    pool = np.nanmean if pooling == "AVG" else np.nanmax
    # The axes -3 and -1 are the places within a block.
    mask = unstructured(pool(split, axis=(-3, -1)), sparsity)
    mask = mask.repeat(height, axis=-2).repeat(width, axis=-1)
    return mask[..., :rows, :columns]


def n_of_m(weights, zeros, group) -> np.ndarray:
    """Makes the mask that zeroes the smallest `zeros` of each `group` inputs.

    A group has consecutive inputs of one output, as hardware with 2:4 sparsity
    requires. In an incomplete last group, the missing inputs count as the
    smallest.

    Args:
        weights: Float array `(..., inputs, outputs)`.
        zeros: Int, less than `group`.
        group: Int.
    """
    values = np.moveaxis(np.abs(weights), -2, -1)
    inputs = values.shape[-1]
    over = [(0, 0)] * (values.ndim - 1) + [(0, -inputs % group)]
    # Inputs beyond the last one are smaller than any magnitude, so they go
    # first.
    padded = np.pad(values, over, constant_values=-1.0)
    split = padded.reshape(*values.shape[:-1], -1, group)
    mask = largest(split, group - zeros).reshape(padded.shape)
    return np.moveaxis(mask[..., :inputs], -1, -2)
