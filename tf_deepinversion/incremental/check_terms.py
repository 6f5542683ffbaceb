"""Checks of the terms by which a network learns new classes."""

from tf_deepinversion.core.caller_warnings import warn_caller
from tf_deepinversion.incremental.methods import Term


def require_terms(terms):
    """Checks that `terms` is a list of terms.

    Raises:
        TypeError: if it is not.
    """
    listed = isinstance(terms, (list, tuple))
    if not listed or not all(isinstance(term, Term) for term in terms):
        raise TypeError(
            "Expected a list of terms, such as `incremental.method('abd')`. "
            f"Received: terms={terms!r}"
        )


def require_teaching(terms, new_classes):
    """Refuses terms that cannot teach so few new classes.

    A softmax over a single class is always 1.

    Args:
        terms: List of `Term`.
        new_classes: Int.

    Warns:
        UserWarning: if a term teaches nothing, but others do.

    Raises:
        TypeError: if `terms` is no list of terms.
        ValueError: if no term teaches the new classes.
    """
    require_terms(terms)
    # A term of weight 0 teaches nothing.
    weighted = [term for term in terms if term.weight]
    idle = [term.name for term in weighted if term.teaches > new_classes]
    if not idle:
        return
    if not any(1 <= term.teaches <= new_classes for term in weighted):
        raise ValueError(
            "These terms only distinguish new classes from each other, so a "
            "single new class would not be learned. Teach two or more classes "
            'at once, or use another method, such as "replay", "abd" or '
            f'"lwf_mc". Received: {new_classes} new class, and the terms '
            f"{[term.name for term in terms]}"
        )
    warn_caller(
        f"With {new_classes} new class the terms {idle} are 0 and teach "
        "nothing, because they only distinguish new classes from each other. "
        "The other terms teach the class."
    )
