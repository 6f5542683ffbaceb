"""Arguments of Keras's methods that a training with its own loss ignores."""

import inspect

IGNORED = (
    "class_weight",
    "loss_weights",
    "metrics",
    "sample_weight",
    "weighted_metrics",
)


def refuse_ignored(method, *args, **kwargs):
    """Refuses arguments that would change nothing.

    Args:
        method: Bound method of `keras.Model`: `compile`, `fit` or `evaluate`.
        *args: Arguments of the method.
        **kwargs: Arguments of the method.

    Raises:
        ValueError: if one of `IGNORED` is given and is not None.
    """
    given = inspect.signature(method).bind_partial(*args, **kwargs).arguments
    for name in IGNORED:
        if given.get(name) is not None:
            raise ValueError(
                "Loss and metrics are the model's own, and all images count "
                f"alike: leave out `{name}`. Received: {name} of "
                f"{type(given[name])}"
            )
