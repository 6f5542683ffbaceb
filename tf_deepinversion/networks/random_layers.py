"""The states of random layers, such as `Dropout`, which no file holds."""

import numpy as np


def seed_random_layers(model, seed):
    """Sets the states of all random layers, so that one seed gives one result.

    A network that Keras loads draws these states anew in each process.

    Args:
        model: A built `keras.Model`, which the function changes.
        seed: Int, at least 0.

    >>> import keras
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dropout(0.5)])
    >>> seed_random_layers(model, 0)
    >>> first = model(np.ones((1, 2)), training=True)
    >>> seed_random_layers(model, 0)
    >>> bool(np.all(model(np.ones((1, 2)), training=True) == first))
    True
    """
    stored = {id(variable) for variable in model.weights}
    random = np.random.default_rng(seed)
    for variable in model.variables:
        if id(variable) in stored:
            continue
        if variable.name == "seed_generator_state":
            variable.assign(random.integers(0, 2**31, 2).astype("int64"))
