"""Argument checks shared by many modules."""

import numbers

import keras
import numpy as np

SEEDS = 2**31  # number of seeds, from 0


def require_seed(seed):
    """Checks that a seed is a whole number in [0, 2**31)."""
    if not is_whole(seed, 0) or seed >= SEEDS:
        raise ValueError(
            "`seed` must be a whole number in [0, 2**31). "
            f"Received: seed={seed!r}"
        )


def require_whole(least=1, **values):
    """Checks that arguments are whole numbers, at least `least`.

    Args:
        least: Int.
        **values: The arguments by their names.

    Raises:
        ValueError: if an argument does not fit; the error names it.

    >>> require_whole(rounds=3, steps=1)
    >>> require_whole(draws=0)
    Traceback (most recent call last):
    ValueError: `draws` must be a whole number, 1 or more. Received: draws=0
    """
    for name, value in values.items():
        if not is_whole(value, least):
            raise ValueError(
                f"`{name}` must be a whole number, {least} or more. "
                f"Received: {name}={value!r}"
            )


def is_whole(value, least=1) -> bool:
    """Tells whether `value` is an int of Python or NumPy, at least `least`."""
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    return whole and value >= least


def is_number(value) -> bool:
    """Tells whether `value` is one number of Python, NumPy or TensorFlow."""
    if isinstance(value, (bool, np.bool_, str, bytes, complex, np.complex64)):
        return False
    try:
        float(value)
        return np.ndim(value) == 0
    except (TypeError, ValueError, OverflowError):
        return False


def is_within(value, interval) -> bool:
    """Tells whether `value` is one number within an interval.

    >>> is_within(0, "[0, 1)"), is_within(1, "[0, 1)"), is_within("1", "(0, 2)")
    (True, False, False)
    """
    low, high = map(float, interval[1:-1].split(","))
    if not is_number(value):
        return False
    above = value >= low if interval[0] == "[" else value > low
    below = value <= high if interval[-1] == "]" else value < high
    return bool(above and below)


def require_positive(**values):
    """Checks that arguments are positive and finite.

    Args:
        **values: The arguments by their names.

    Raises:
        ValueError: if an argument does not fit; the error names it.
    """
    for name, value in values.items():
        if not is_number(value):
            raise ValueError(
                f"`{name}` must be a number, positive and finite. "
                f"Received: {name}={value!r}"
            )
        if not 0 < value < float("inf"):
            raise ValueError(
                f"`{name}` must be positive and finite. "
                f"Received: {name}={value}"
            )


def require_finite(**values):
    """Checks that arrays hold no NaN and no infinity.

    Args:
        **values: Arrays of numbers by the names of the arguments.

    Raises:
        ValueError: if an array does not fit; the error names it.
    """
    for name, array in values.items():
        wrong = int((~np.isfinite(array)).sum())
        if wrong:
            raise ValueError(
                f"`{name}` must be finite. Received: {wrong} of {array.size} "
                "numbers are a NaN or an infinity"
            )


def not_finite(variables):
    """Returns the first variable with a NaN or an infinity, or None."""
    for variable in variables:
        if not np.isfinite(keras.ops.convert_to_numpy(variable)).all():
            return variable
    return None


def require_finite_weights(model):
    """Checks that the weights of a network are finite.

    Args:
        model: A `keras.Model`.

    Raises:
        TypeError: if the model is none.
        ValueError: if a weight is not finite.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"Expected a `keras.Model`. Received: {type(model)}")
    wrong = not_finite(model.weights)
    if wrong is not None:
        raise ValueError(
            "The model has weights that are not finite, so its training "
            f"failed: load an earlier checkpoint. Received: {wrong.path}"
        )


def require_integers(dtype):
    """Checks that images are integers. Floats in [0, 1] would turn black.

    Args:
        dtype: A NumPy dtype, or a class that NumPy converts to one.

    Raises:
        TypeError: if the dtype is not an integer type.
    """
    dtype = np.dtype(dtype)
    if dtype.kind not in "iu":
        raise TypeError(
            "Expected uint8 pixels in [0, 255]: scale the images to this range "
            f"and cast them. Received: images of dtype {dtype}"
        )


def check_pixels(images) -> np.ndarray:
    """Returns images as a uint8 array `(n, height, width, channels)`.

    Raises:
        TypeError: if the images are not integers.
        ValueError: if the images have another shape, or are not in [0, 255].
    """
    images = np.asarray(images)
    require_integers(images.dtype)
    if images.ndim != 4:
        raise ValueError(
            "Expected images of shape (n, height, width, channels). "
            f"Received: an array of shape {images.shape}"
        )
    if images.dtype != np.uint8 and images.size:
        if images.min() < 0 or images.max() > 255:
            raise ValueError(
                "Expected pixels in [0, 255]. Received: from "
                f"{images.min()} to {images.max()}"
            )
    return images.astype("uint8", copy=False)
