"""Computes the speedups of `time_to_quality.py`."""

import numpy as np


def first_reached(values, target):
    """Returns the index of the first value of at least the target, or None."""
    reached = np.flatnonzero(np.asarray(values) >= target)
    return int(reached[0]) if len(reached) else None


def seconds_until(curve, seconds, target):
    """Returns seconds of synthesis until the accuracy reaches a target.

    Args:
        curve: Floats `(rounds,)`, the accuracy after each round.
        seconds: Floats `(rounds,)`, of the synthesis before each round.
        target: Float.

    Returns:
        A float, or None if the accuracy never reaches the target.

    >>> seconds_until([0.1, 0.8, 0.9], [5, 1, 1], target=0.8)
    6.0
    """
    if len(curve) != len(seconds):
        raise ValueError(
            "Expected an accuracy and seconds for every round. Received: "
            f"{len(curve)} accuracies and {len(seconds)} times"
        )
    at = first_reached(curve, target)
    return None if at is None else float(np.sum(seconds[: at + 1]))


def speedups(slow, images, fast, drawing, many=10_000, first=None):
    """Computes the speedup of the fast way over the slow way.

    Args:
        slow: Float, seconds for the slow pool.
        images: Int, number of images in the slow pool.
        fast: Float, seconds until the fast way is as good; None if it never is.
        drawing: Float, the fast way's seconds for one more image.
        many: Int, number of images for the extrapolation.
        first: Float, the fast way's seconds before the first of the `many`
            images; None for `fast`.

    Returns:
        A dict. `speedup_measured` is slow / fast. `speedup_extrapolated` is for
        `many` images: the slow way needs the measured seconds for each image;
            the
        fast way needs `first` and then `drawing` for each image. Both are None
        if `fast` is None.
    """
    if fast is None:
        return {"speedup_measured": None, "speedup_extrapolated": None}
    return {
        "speedup_measured": slow / fast,
        "speedup_extrapolated": (slow * many / images)
        / ((fast if first is None else first) + many * drawing),
    }
