"""Saves masks beside a model, whose own file has none."""

import keras
import numpy as np

from tf_deepinversion.core import run_state
from tf_deepinversion.pruning.masks.magnitude import required_masks


def _identity(masks):
    shapes = [
        [m.layer.name, m.variable.name, list(m.variable.shape)] for m in masks
    ]
    return run_state.fingerprint({"masks": shapes})


def save_masks(path, model):
    """Saves the masks of a model, atomically; the model's file is plain.

    Args:
        path: String or path of an .npz file.
        model: A model with masks.

    Example:
        ```python
        di.pruning.save_masks("masks.npz", model)
        ```
    """
    masks = required_masks(model)
    # One bit per weight.
    arrays = {
        f"mask_{i}": np.packbits(
            keras.ops.convert_to_numpy(mask.mask).astype(bool)
        )
        for i, mask in enumerate(masks)
    }
    run_state.save(path, arrays, _identity(masks))


def load_masks(path, model):
    """Loads the masks that `save_masks` saved.

    Args:
        path: String or path.
        model: A model of the same layers that went through
            `prune_low_magnitude` with the same arguments.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is damaged or its masks belong to other weights.

    Example:
        >>> import tempfile
        >>> path = tempfile.mkdtemp() + "/masks.npz"
        >>> model = di.networks.copy_of(teacher)
        >>> schedule = di.pruning.ConstantSparsity(0.5)
        >>> model = di.pruning.prune_low_magnitude(model, schedule)
        >>> di.pruning.save_masks(path, model)
        >>> di.pruning.load_masks(path, model)
    """
    masks = required_masks(model)
    arrays = run_state.load(path, _identity(masks))
    if arrays is None:
        raise FileNotFoundError(
            f"Expected a file of `save_masks`. Received: path={path}, which "
            "does not exist"
        )
    for i, mask in enumerate(masks):
        size = int(np.prod(mask.variable.shape))
        bits = np.unpackbits(arrays[f"mask_{i}"], count=size)
        mask.mask.assign(bits.reshape(mask.variable.shape))
        mask.apply()
