"""Checks of arguments that many places share."""


def require_whole(least=1, **values):
    """Refuses what is no whole number, or below `least`.

    Args:
        least: Int.
        **values: The arguments by their names.

    Raises:
        ValueError: if one does not fit; it names the argument.

    >>> require_whole(rounds=3, steps=1)
    >>> require_whole(draws=0)
    Traceback (most recent call last):
    ValueError: `draws` must be a whole number, 1 or more. Received: draws=0
    """
    for name, value in values.items():
        if not is_whole(value, least):
            raise ValueError(
                f"`{name}` must be a whole number, {least} or more. "
                f"Received: {name}={value}"
            )


def is_whole(value, least=1) -> bool:
    """Whether `value` is a whole number, `least` or more; 2.0 is."""
    try:
        return bool(int(value) == value and value >= least)
    except (TypeError, ValueError, OverflowError):  # None, a word, NaN, inf
        return False
