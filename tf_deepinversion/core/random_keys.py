"""Keys of random numbers: pure functions of a seed and of numbers."""

import tensorflow as tf


def fold_in(key, number):
    """Another key, one for each number.

    Args:
        key: Int tensor `(2,)`.
        number: Int scalar tensor; below 0 too.

    Returns:
        An int tensor `(2,)`.
    """
    # Under XLA the default is another algorithm.
    return tf.random.experimental.stateless_fold_in(key, number, alg="philox")
