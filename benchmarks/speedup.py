"""The arithmetic of `time_to_quality.py`: when a curve gets there, ratios."""

import numpy as np


def first_reached(values, target):
    """The place of the first value that is at least the target, or None."""
    reached = np.flatnonzero(np.asarray(values) >= target)
    return int(reached[0]) if len(reached) else None


def seconds_until(curve, seconds, target):
    """Seconds of synthesis until a student's accuracy reaches a target.

    Args:
        curve: Floats `(rounds,)`, the accuracy after each round.
        seconds: Floats `(rounds,)`, of the synthesis before each.
        target: Float.

    Returns:
        A float, or None where the target is never reached.

    >>> seconds_until([0.1, 0.8, 0.9], [5, 1, 1], target=0.8)
    6.0
    """
    if len(curve) != len(seconds):
        raise ValueError(
            "Every round has an accuracy and its seconds. Received: "
            f"{len(curve)} accuracies and {len(seconds)} times"
        )
    at = first_reached(curve, target)
    return None if at is None else float(np.sum(seconds[: at + 1]))


def speedups(slow, images, fast, drawing, many=10_000, first=None):
    """How often the fast way is done while the slow one is once.

    Args:
        slow: Float, seconds of the slow pool.
        images: Int, in that pool.
        fast: Float, seconds until the fast way is as good; None if it never
            is.
        drawing: Float, seconds in which it makes one image more.
        many: Int, how many images to extrapolate to.
        first: Float, seconds before the first of those; None for `fast`.

    Returns:
        A dict. `speedup_measured` is slow / fast. `speedup_extrapolated` is of
        `many` images: the slow way makes each as it made those measured; the
        fast way, a generator that is there by then, say, all of them anew.
        Both are None if `fast` is.
    """
    if fast is None:
        return {"speedup_measured": None, "speedup_extrapolated": None}
    return {
        "speedup_measured": slow / fast,
        "speedup_extrapolated": (slow * many / images)
        / ((fast if first is None else first) + many * drawing),
    }
