"""Optimizers that come again, for other variables."""

import keras


def unbuilt(optimizer):
    """Returns an optimizer without variables, or creates a used one again.

    The momentum of a used one belongs to the variables of another training.

    Args:
        optimizer: A `keras.optimizers.Optimizer`, or its name.
    """
    optimizer = keras.optimizers.get(optimizer)
    if not optimizer.built:
        return optimizer
    return optimizer.from_config(optimizer.get_config())
