"""The cost of a network with some of its channels: parameters and FLOPs.

A cost is a function of a `ChannelGraph` and of the remaining channels (None for
all). A `LatencyTable` is such a function.
"""

import math

from tf_deepinversion.pruning.channels import layer_rules

KERNELS = ("kernel", "depthwise_kernel", "pointwise_kernel")


def weight_shapes(graph, keep=None) -> dict:
    """Returns the shapes of all weights with channels, by (layer, name)."""
    shapes = {key: list(shape) for key, shape in graph.shapes.items()}
    if keep is not None:
        for axis, width in zip(graph.axes, graph.widths(keep), strict=True):
            shapes[axis.layer, axis.name][axis.axis] = width
    return shapes


def parameters(graph, keep=None) -> int:
    """Counts the numbers in all weights."""
    shapes = weight_shapes(graph, keep)
    known = {id(getattr(layer, name)) for layer, name in shapes}
    # Weights without channels keep their size.
    others = [v.shape for v in graph.model.weights if id(v) not in known]
    return sum(math.prod(shape) for shape in [*shapes.values(), *others])


def flops(graph, keep=None) -> int:
    """Counts the FLOPs of convolutions and dense layers for one image.

    Each multiplication counts twice. As usual, other layers do not count; of an
    attention layer, the projections do.

    Raises:
        ValueError: if the image size is not fixed.
    """
    graph.check_size()
    shapes = weight_shapes(graph, keep)
    cut = {layer for layer, _ in shapes}
    # A layer that keeps all its channels, such as a grouped convolution.
    whole = [
        (layer, weight.shape)
        for layer in graph.places
        if layer not in cut
        for weight in layer.weights
        if "kernel" in weight.name
    ]
    kernels = [
        (layer, shape)
        for (layer, name), shape in shapes.items()
        if name in KERNELS
    ]
    return 2 * sum(
        graph.places[layer] * math.prod(shape)
        for layer, shape in [*kernels, *whole]
    )


COSTS = {"flops": flops, "parameters": parameters}


def channel_widths(graph, keep) -> dict[str, tuple[int, int]]:
    """Lists the number of channels of each layer, before and after pruning.

    Args:
        graph: A `ChannelGraph`.
        keep: Bool array, the channels that stay.

    Returns:
        A dict from names of layers, see `layer_names`, to pairs (before,
        after).

    Example:
        >>> graph = di.pruning.ChannelGraph(teacher)
        >>> keep = np.array([True, False, True, True])
        >>> list(di.pruning.channel_widths(graph, keep).values())
        [(4, 3)]
    """
    return {
        graph.names[layer]: (
            len(channels),
            int(graph.kept(channels, keep).sum()),
        )
        for layer, channels in graph.outputs.items()
        if layer_rules.makes(layer) and (channels >= 0).any()
    }
