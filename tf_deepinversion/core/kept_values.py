"""Variables that have their values again after a trial."""

import contextlib

import keras
import numpy as np


@contextlib.contextmanager
def kept_values(variables):
    """Gives variables, at the end of the context, their values of its start.

    An exception ends the context, too.

    Args:
        variables: Iterable of `keras.Variable`.

    >>> variable = keras.Variable(1.0)
    >>> with kept_values([variable]):
    ...     variable.assign(2.0).numpy().item()
    2.0
    >>> variable.numpy().item()
    1.0
    """
    restore = _restorer(variables)
    try:
        yield
    finally:
        restore()


@contextlib.contextmanager
def unchanged_if_interrupted(variables):
    """Gives variables, after an exception, their values of the start.

    Args:
        variables: Iterable of `keras.Variable`.

    >>> variable = keras.Variable(1.0)
    >>> with contextlib.suppress(KeyboardInterrupt):
    ...     with unchanged_if_interrupted([variable]):
    ...         _ = variable.assign(2.0)
    ...         raise KeyboardInterrupt
    >>> variable.numpy().item()
    1.0
    """
    restore = _restorer(variables)
    try:
        yield
    except BaseException:
        restore()
        raise


def _restorer(variables):
    """Returns a function that gives variables their present values again."""
    variables = list(variables)
    before = [np.array(keras.ops.convert_to_numpy(v)) for v in variables]

    def restore():
        for variable, value in zip(variables, before, strict=True):
            variable.assign(value)

    return restore
