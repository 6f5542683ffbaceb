"""Selects the channels that stay, by their importance."""

import numpy as np


def kept_after(graph, order, count, must_stay, multiple_of=1) -> np.ndarray:
    """Returns the channels that stay if the first `count` of `order` go.

    The number of remaining channels of each group is rounded to the nearest
    multiple, at least to one multiple, and at least to all channels that must
    stay. The most important channels of the group stay. A group with fewer
    channels than the rounded number stays whole.

    Args:
        graph: A `ChannelGraph`.
        order: Int array, the channels in order of increasing importance.
        count: Int, number of channels to remove, before rounding.
        must_stay: Bool array `(graph.count,)`, true for some of the last
            channels of `order`.
        multiple_of: Int, 8 for most hardware.

    Returns:
        A bool array `(graph.count,)`.
    """
    keep = np.zeros(graph.count, bool)
    keep[order[count:]] = True
    for group in range(graph.groups.max() + 1):
        own = order[graph.groups[order] == group]
        left = int(keep[own].sum())
        if left == len(own):
            continue
        # Python's `round` rounds halves to even numbers.
        wanted = int(np.floor(left / multiple_of + 0.5)) * multiple_of
        least = int(np.ceil(must_stay[own].sum() / multiple_of)) * multiple_of
        wanted = max(wanted, multiple_of, least)
        keep[own] = False
        keep[own[max(0, len(own) - wanted) :]] = True
    return keep


def narrowest(graph, multiple_of=1) -> np.ndarray:
    """Returns the fewest channels that `kept_after` leaves, as the first ones.

    Args:
        graph: A `ChannelGraph`.
        multiple_of: Int, see `kept_after`.
    """
    last_first = np.arange(graph.count)[::-1]
    nothing = np.zeros(graph.count, bool)
    return kept_after(graph, last_first, graph.count, nothing, multiple_of)


def select(graph, importance, cost, limit, *, multiple_of=1):
    """Removes the least important channels until the cost is within a limit.

    Args:
        graph: A `ChannelGraph`.
        importance: Float array `(graph.count,)`. Of equally important channels
            the later goes first. Channels of infinite importance stay.
        cost: Function of the graph and the remaining channels.
        limit: Float, largest cost that may remain.
        multiple_of: Int, see `kept_after`.

    Returns:
        A bool array, the channels that stay: as many as the limit allows.

    Raises:
        ValueError: if the limit cannot be reached.
    """
    last_first = np.argsort(importance[::-1], kind="stable")
    order = graph.count - 1 - last_first
    must_stay = ~(importance < np.inf)  # NaN, too
    # Binary search for the smallest number of removed channels within the
    # limit.
    few, many = 0, int((~must_stay).sum())

    def kept(count):
        return kept_after(graph, order, count, must_stay, multiple_of)

    if cost(graph, kept(many)) > limit:
        raise unreachable(cost(graph, kept(many)), limit, multiple_of)
    while few < many:
        middle = (few + many) // 2
        if cost(graph, kept(middle)) <= limit:
            many = middle
        else:
            few = middle + 1
    return kept(many)


def unreachable(least, limit, multiple_of) -> ValueError:
    """Returns the error for a limit below the least possible cost."""
    return ValueError(
        "The target cannot be reached: each group of channels keeps its "
        f"channels of infinite importance, and at least {multiple_of}, which "
        f"costs {least:.4g}. Received: a target of {limit:.4g}"
    )


def most_important(graph, importance, share) -> np.ndarray:
    """Selects a share of each group: bool `(graph.count,)`.

    Args:
        graph: A `ChannelGraph`.
        importance: Float array `(graph.count,)`. Of equally important channels
            the earlier stays. Channels of infinite importance stay, even if
            they are more than the share.
        share: Float in (0, 1).
    """
    keep = np.zeros(graph.count, bool)
    for group in range(graph.groups.max() + 1):
        own = np.flatnonzero(graph.groups == group)
        wanted = max(1, int(np.floor(share * len(own) + 0.5)))
        wanted = max(wanted, int(np.isinf(importance[own]).sum()))
        keep[own[np.argsort(-importance[own], kind="stable")[:wanted]]] = True
    return keep
