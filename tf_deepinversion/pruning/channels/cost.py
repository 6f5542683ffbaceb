"""What a network costs with some of its channels: parameters and FLOPs.

A cost is a function of a `ChannelGraph` and of the channels that stay (None:
all); so is a `LatencyTable`.
"""

import math

import numpy as np

from tf_deepinversion.pruning.channels import layer_rules

KERNELS = ("kernel", "depthwise_kernel", "pointwise_kernel")


def weight_shapes(graph, keep=None) -> dict:
    """The shapes of all weights that have channels, by (layer, name)."""
    shapes = {}
    for axis in graph.axes:
        whole = list(getattr(axis.layer, axis.name).shape)
        shape = shapes.setdefault((axis.layer, axis.name), whole)
        if keep is not None:
            shape[axis.axis] = int(graph.kept(axis.channels, keep).sum())
    return shapes


def parameters(graph, keep=None) -> int:
    """How many numbers the weights hold."""
    shapes = weight_shapes(graph, keep)
    known = {id(getattr(layer, name)) for layer, name in shapes}
    others = [v.shape for v in graph.model.weights if id(v) not in known]
    return sum(math.prod(shape) for shape in [*shapes.values(), *others])


def flops(graph, keep=None) -> int:
    """Two for each multiplication of convolutions and dense layers, an image.

    What other layers do is not counted, as is usual.

    Raises:
        ValueError: if images of any size are taken.
    """
    graph.check_size()
    return 2 * sum(
        graph.places[layer] * math.prod(shape)
        for (layer, name), shape in weight_shapes(graph, keep).items()
        if name in KERNELS
    )


def savings(graph, cost, keep=None, step=1) -> np.ndarray:
    """What removing a channel saves: I_lat of each, less a sign.

    Channels of one group save the same; that is measured by taking `step` of
    them at once, so that a table in steps of 8 channels tells something.

    Args:
        graph: A `ChannelGraph`.
        cost: A function of the graph and the channels that stay.
        keep: Bool array, the channels that are there; None for all.
        step: Int, how many channels are removed at once.

    Returns:
        A float array `(graph.count,)`.
    """
    keep = np.ones(graph.count, bool) if keep is None else keep
    whole, saved = cost(graph, keep), np.zeros(graph.count)
    for group in range(graph.groups.max() + 1):
        own = np.flatnonzero((graph.groups == group) & keep)
        gone = own[: min(step, len(own) - 1)]
        if len(gone):
            fewer = keep.copy()
            fewer[gone] = False
            each = (whole - cost(graph, fewer)) / len(gone)
            saved[graph.groups == group] = each
    return saved


COSTS = {"flops": flops, "parameters": parameters}


def channel_widths(graph, keep) -> dict[str, tuple[int, int]]:
    """By layer, how many channels it made and how many of them stay.

    Args:
        graph: A `ChannelGraph`.
        keep: Bool array, which channels stay.
    """
    return {
        layer.name: (len(channels), int(graph.kept(channels, keep).sum()))
        for layer, channels in graph.outputs.items()
        if layer_rules.makes(layer) and (channels >= 0).any()
    }
