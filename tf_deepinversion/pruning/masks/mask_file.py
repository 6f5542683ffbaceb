"""Saves masks beside a model, whose own file has none."""

import json

import keras
import numpy as np

from tf_deepinversion.core import run_state
from tf_deepinversion.pruning.masks.magnitude import places_of
from tf_deepinversion.pruning.masks.magnitude import required_masks

_FORMAT = "masks 1"


def _weights_of(model) -> list:
    """Identifies the weights with masks, by place, name and shape."""
    shapes = [list(mask.variable.shape) for mask in required_masks(model)]
    return [
        [*place, shape]
        for place, shape in zip(places_of(model), shapes, strict=True)
    ]


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
    arrays["weights"] = np.array(json.dumps(_weights_of(model)))
    run_state.save(path, arrays, _FORMAT)


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
    arrays = run_state.load(path, _FORMAT)
    if arrays is None:
        raise FileNotFoundError(
            f"Expected a file of `save_masks`. Received: path={path}, which "
            "does not exist"
        )
    saved, own = json.loads(str(arrays["weights"])), _weights_of(model)
    if saved != own:
        differing = [x for x in saved if x not in own] or saved
        raise ValueError(
            "The masks belong to other weights: the model must have the same "
            "layers, and have gone through `prune_low_magnitude` with the same "
            f"arguments. Received: {path} with {len(saved)} masks, of which "
            f"the model's {len(own)} lack {differing[:3]}"
        )
    for i, mask in enumerate(masks):
        size = int(np.prod(mask.variable.shape))
        bits = np.unpackbits(arrays[f"mask_{i}"], count=size)
        mask.mask.assign(bits.reshape(mask.variable.shape))
        mask.apply()
