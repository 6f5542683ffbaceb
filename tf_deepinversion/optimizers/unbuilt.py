"""Optimizers for another training."""

import keras


def unbuilt(optimizer):
    """Returns an optimizer without variables: a new one in place of a used one.

    The momentum of a used optimizer belongs to another training.

    Args:
        optimizer: A `keras.optimizers.Optimizer`, or its name.
    """
    optimizer = keras.optimizers.get(optimizer)
    if not optimizer.built:
        return optimizer
    return optimizer.from_config(optimizer.get_config())
