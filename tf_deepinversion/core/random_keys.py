"""Keys of random numbers, computed from a seed and numbers."""

import tensorflow as tf


def fold_in(key, number):
    """Makes a new key from a key and a number.

    Args:
        key: Int tensor `(2,)`.
        number: Int scalar tensor, also negative.

    Returns:
        An int tensor `(2,)`.
    """
    # The default algorithm differs with XLA, so the code names one.
    return tf.random.experimental.stateless_fold_in(key, number, alg="philox")
