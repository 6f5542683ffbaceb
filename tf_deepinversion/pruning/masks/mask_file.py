"""Masks in a file beside a model, which is itself saved without them."""

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
    """Saves the masks, whole or not at all, beside a model that is plain.

    Args:
        path: String or path of an .npz file.
        model: A model with masks.
    """
    masks = required_masks(model)
    arrays = {
        f"mask_{i}": np.packbits(
            keras.ops.convert_to_numpy(mask.mask).astype(bool)
        )
        for i, mask in enumerate(masks)
    }
    run_state.save(path, arrays, _identity(masks))


def load_masks(path, model):
    """Reads what `save_masks` wrote into a model of the same layers.

    Args:
        path: String or path.
        model: A model that went through `prune_low_magnitude` as the other.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged or the masks are of other weights.
    """
    masks = required_masks(model)
    arrays = run_state.load(path, _identity(masks))
    if arrays is None:
        raise FileNotFoundError(f"There is no file {path}.")
    for i, mask in enumerate(masks):
        size = int(np.prod(mask.variable.shape))
        bits = np.unpackbits(arrays[f"mask_{i}"], count=size)
        mask.mask.assign(bits.reshape(mask.variable.shape))
        mask.apply()
