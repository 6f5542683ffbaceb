"""From an importance of each channel to the channels that stay."""

import numpy as np


def with_cost(importance, saved, eta) -> np.ndarray:
    """I = I_err + eta I_lat, where I_lat is minus what a channel saves.

    Both are divided by their mean, so that eta has no unit.

    Args:
        importance: Float array `(channels,)`, I_err; infinite ones stay.
        saved: Float array `(channels,)`, see `cost.savings`.
        eta: Float, 0 or more.

    Reference:
        - Yin et al., arXiv:1912.08795, section 4.4

    >>> with_cost(np.array([1.0, 3.0]), np.array([2.0, 2.0]), 0.5).tolist()
    [0.0, 1.0]
    """
    finite = importance[np.isfinite(importance)]
    scale = finite.mean() if finite.size and finite.mean() > 0 else 1.0
    return importance / scale - eta * saved / max(saved.mean(), 1e-30)


def removed(graph, order, count, multiple_of=1) -> np.ndarray:
    """Which channels stay when the first `count` of `order` go.

    What is left of each group is rounded to the nearest multiple, at least
    one, and the most important ones of the group stay; a group that is smaller
    stays whole.

    Args:
        graph: A `ChannelGraph`.
        order: Int array, the channels from the least important on.
        count: Int.
        multiple_of: Int, 8 for most hardware.
    """
    keep = np.zeros(graph.count, bool)
    keep[order[count:]] = True
    for group in range(graph.groups.max() + 1):
        own = order[graph.groups[order] == group]
        left = int(keep[own].sum())
        if left == len(own):
            continue
        wanted = int(np.floor(left / multiple_of + 0.5)) * multiple_of
        wanted = max(wanted, multiple_of)
        keep[own] = False
        keep[own[max(0, len(own) - wanted) :]] = True
    return keep


def select(graph, importance, cost, limit, *, multiple_of=1):
    """Removes the least important channels, until a cost is reached.

    Args:
        graph: A `ChannelGraph`.
        importance: Float array `(graph.count,)`; of equal ones the later goes.
        cost: A function of the graph and the channels that stay.
        limit: Float, the cost that may be left.
        multiple_of: Int, of what is left of each group.

    Returns:
        A bool array, which channels stay: as many as the limit allows.

    Raises:
        ValueError: if the limit cannot be reached.
    """
    last_first = np.argsort(importance[::-1], kind="stable")
    order = graph.count - 1 - last_first
    order = order[: np.isfinite(importance).sum()]
    order = np.append(order, np.flatnonzero(~np.isfinite(importance)))
    few, many = 0, int(np.isfinite(importance).sum())

    def left(count):
        return removed(graph, order, count, multiple_of)

    if cost(graph, left(many)) > limit:
        raise ValueError(
            "The target cannot be reached: each group of channels keeps at "
            f"least {multiple_of}, which costs "
            f"{cost(graph, left(many)):.4g}. Received: a target of {limit:.4g}"
        )
    while few < many:
        middle = (few + many) // 2
        if cost(graph, left(middle)) <= limit:
            many = middle
        else:
            few = middle + 1
    return left(many)
