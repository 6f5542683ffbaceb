"""Functions as plain Python, for tests of few steps."""

import contextlib

import tensorflow as tf


@contextlib.contextmanager
def as_plain_python():
    """To trace a graph takes longer than a dozen steps of a tiny network.

    For what a job keeps, refuses or reports: other tests trace its graphs.
    """
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(False)
