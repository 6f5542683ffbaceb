"""Weights that are zero and stay zero in training."""

import keras

from tf_deepinversion.quantization.layers.kernels import has_kernel


class KeptZeros:
    """The `constraint` that keeps the zeros of a variable.

    Args:
        variable: A `keras.Variable`.
    """

    def __init__(self, variable):
        self.before = variable.constraint
        self._stays = keras.ops.convert_to_numpy(variable) != 0

    def __call__(self, weights):
        # A constraint of the user comes first: the zeros must stay.
        if self.before is not None:
            weights = self.before(weights)
        return weights * keras.ops.cast(self._stays, weights.dtype)


def keep_zeros(layers):
    """Makes the zeros of kernels stay zero, as pruning left them.

    Keras does not save constraints of variables.

    Args:
        layers: List of layers; those without kernel stay as they are.
    """
    for layer in filter(has_kernel, layers):
        kernel = layer.kernel
        kernel.constraint = KeptZeros(kernel)


def release_zeros(layers):
    """Restores the constraints before `keep_zeros`."""
    for layer in filter(has_kernel, layers):
        if isinstance(layer.kernel.constraint, KeptZeros):
            layer.kernel.constraint = layer.kernel.constraint.before


def require_made_masks(model):
    """Refuses masks that still wait for their zeros.

    Args:
        model: A `keras.Model`, with masks of `prune_low_magnitude` or without.

    Raises:
        ValueError: if a mask has no zeros yet.
    """
    waiting = [
        v.path
        for v in model.trainable_variables
        if getattr(v.constraint, "sparsity", None) == 0
    ]
    if waiting:
        raise ValueError(
            "Expected a network whose masks have their zeros: prune first, "
            "with `sparsify` or with `UpdatePruningStep` in `fit`, and "
            "quantize last. "
            f"Received: masks without zeros in {', '.join(waiting[:3])}"
        )
