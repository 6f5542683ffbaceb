"""Latency measured on this machine: of functions, and of layers by width."""

import json
import statistics
import time

import keras
import numpy as np
import tensorflow as tf

from tf_deepinversion.core.files import read_json
from tf_deepinversion.core.files import require_local
from tf_deepinversion.core.files import write_content
from tf_deepinversion.networks.copies import twin_of
from tf_deepinversion.pruning.channels import layer_rules


def measure(function, repeats=30, warmup=5) -> float:
    """Measures the median duration of a call, in seconds.

    Args:
        function: Function without arguments that waits for its result.
        repeats: Int, number of timed calls. Defaults to 30.
        warmup: Int, number of untimed calls before them. Defaults to 5.

    Returns:
        A float.
    """
    for _ in range(warmup):
        function()
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)


def compare_latency(functions, turns=7, repeats=10) -> list[float]:
    """Measures several functions in turns, so that all see equal conditions.

    Args:
        functions: List of functions without arguments.
        turns: Int, number of turns. Defaults to 7.
        repeats: Int, calls of each function in a turn. Defaults to 10.

    Returns:
        A list of floats, for each function the median over turns, in seconds
        for one call.

    Example:
        >>> short, long = [2.0] * 10, [2.0] * 10_000
        >>> seconds = di.pruning.compare_latency(
        ...     [lambda: sum(short), lambda: sum(long)]
        ... )
        >>> seconds[0] < seconds[1]
        True
    """
    rows = [[measure(f, repeats, 2) for f in functions] for _ in range(turns)]
    return [statistics.median(column) for column in zip(*rows, strict=True)]


class LatencyTable:
    """Seconds of each convolution and dense layer, by its widths.

    The seconds are those of all calls of a layer. A layer whose channels all
    stay, such as a grouped convolution, has a single width.

    Called with a `ChannelGraph` and the remaining channels, a table returns the
    sum over all layers and `rest`: it is a `cost` of `prune`. The table
    interpolates between measured widths, and is constant below the smallest
    width.

    Args:
        entries: Dict from names of layers to `{"inputs": widths, "outputs":
            widths, "seconds": rows}`, with one row per input width. Of layers
            with the same name, in models inside the model, the names are paths:
            `"block/conv"`.
        rest: Float, seconds that do not depend on the widths; negative if the
            layers took longer one by one. Defaults to 0.

    Example:
        >>> table = di.pruning.LatencyTable(
        ...     {"a": {"inputs": [4, 8], "outputs": [8], "seconds": [[1], [3]]}}
        ... )
        >>> table.seconds("a", 6, 8)
        2.0
    """

    def __init__(self, entries, rest=0.0):
        self.entries, self.rest = entries, rest

    @classmethod
    def measure(
        cls,
        graph,
        *,
        levels=4,
        step=1,
        batch_size=1,
        repeats=20,
        timer=None,
        run=None,
        whole=None,
    ):
        """Measures the layers of a model at several widths.

        Equal layers, and equal calls of a layer, are measured once.

        Args:
            graph: A `ChannelGraph`.
            levels: Int, number of widths per axis. Defaults to 4.
            step: Int, the widths are multiples of it; 8 suits most hardware.
                Defaults to 1.
            batch_size: Int, number of images of a batch. Defaults to 1.
            repeats: Int, number of timed calls. Defaults to 20.
            timer: Function from a function to its seconds. Defaults to
                `measure`.
            run: Function from a layer and the shape of its input to a function
                without arguments that computes the layer once and waits, such
                as `quantization.on_litert("int8")`. Defaults to TensorFlow.
            whole: Float, measured seconds of the whole network, which the table
                then returns for all channels: the rest does not depend on the
                widths. Defaults to the sum over the layers.

        Returns:
            A `LatencyTable`.

        Raises:
            ValueError: if the size of the images is not fixed.
        """
        graph.check_size()
        timer = timer or (lambda call: measure(call, repeats, warmup=3))
        run, entries, known = run or on_tensorflow, {}, {}

        def rows(layer, shape, inputs, outputs):
            # Layers of equal config and input size take equal time.
            sort = _sort(layer, shape, inputs, outputs)
            if sort not in known:
                shapes = [(batch_size, *shape[1:-1], i) for i in inputs]
                known[sort] = [
                    [timer(run(_twin(layer, o), each)) for o in outputs]
                    for each in shapes
                ]
            return known[sort]

        for layer, shapes in _measured(graph).items():
            ends = _widths(graph, layer, levels, step)
            seconds = np.sum([rows(layer, s, *ends) for s in shapes], axis=0)
            entries[graph.names[layer]] = {
                "inputs": ends[0],
                "outputs": ends[1],
                "seconds": seconds.tolist(),
            }
        table = cls(entries)
        if whole is not None:
            table.rest = whole - table(graph)
        return table

    def seconds(self, name, inputs, outputs) -> float:
        """Returns the seconds of a layer at a pair of widths."""
        entry = self.entries[name]
        rows = [
            np.interp(outputs, entry["outputs"], row)
            for row in entry["seconds"]
        ]
        return float(np.interp(inputs, entry["inputs"], rows))

    def __call__(self, graph, keep=None) -> float:
        keep = np.ones(graph.count, bool) if keep is None else keep
        widths = {}
        for axis, width in zip(graph.axes, graph.widths(keep), strict=True):
            if axis.layer in graph.names and axis.name != "bias":
                widths.setdefault(axis.layer, []).append(width)
        total = self.rest
        for layer in self._known(graph):
            # The first axis of a kernel holds its inputs, the last its outputs.
            # A layer without axes has a single width. The inputs of a depthwise
            # layer fix its outputs.
            found = widths.get(layer, [0])
            depthwise = layer_rules.kind_of(layer) == "depthwise"
            name = graph.names[layer]
            ends = found[0], 1 if depthwise else found[-1]
            self._require_measured(name, *ends)
            total += self.seconds(name, *ends)
        return total

    def _require_measured(self, name, inputs, outputs):
        """Checks that a layer is no wider than the widest measured one."""
        entry = self.entries[name]
        most = max(entry["inputs"]), max(entry["outputs"])
        if inputs > most[0] or outputs > most[1]:
            raise ValueError(
                "This table is of another network: measure one by "
                f"`LatencyTable.measure(graph)`. Received: a layer {name!r} "
                f"of {inputs} inputs and {outputs} outputs, and a table up to "
                f"{most[0]} and {most[1]}"
            )

    def _known(self, graph):
        """Lists the measured layers of a graph, all of which have entries."""
        layers = _measured(graph)
        names = [graph.names[layer] for layer in layers]
        absent = [name for name in names if name not in self.entries]
        if absent:
            raise ValueError(
                "This table is of another network: measure one by "
                "`LatencyTable.measure(graph)`. "
                f"Received: a table with no entry for {absent}"
            )
        return layers

    def save(self, path):
        """Writes the table as JSON, atomically."""
        write_content(path, json.dumps(vars(self)))

    @classmethod
    def load(cls, path):
        """Reads a file written by `save`."""
        require_local(path=path)
        return read_json(
            path, lambda table: cls(**table), "measure the table again."
        )


def _measured(graph) -> dict:
    """Returns the input shapes of all convolutions and dense layers."""
    return {
        layer: shapes
        for layer, shapes in graph.input_shapes.items()
        if isinstance(layer, layer_rules.MEASURED)
    }


def _widths(graph, layer, levels, step):
    """Returns the input and output widths at which to measure a layer."""
    axes = [a for a in graph.axes if a.layer is layer and a.name != "bias"]
    if not axes:  # all its channels stay
        return [graph.input_shapes[layer][0][-1]], [1]
    ends = axes[0].channels, axes[-1].channels
    if layer_rules.kind_of(layer) == "depthwise":
        ends = axes[0].channels, np.full(1, -1)  # the inputs fix the outputs
    found = []
    for channels in ends:
        n = len(channels)
        # Equal parts of the full width, rounded up to a multiple.
        parts = range(1, levels + 1) if (channels >= 0).any() else [levels]
        widths = {-(-n * part // (levels * step)) * step for part in parts}
        found.append(sorted({min(n, width) for width in widths}))
    return found


def _config(layer):
    # Initial values do not affect the latency.
    config = layer.get_config()
    return {k: v for k, v in config.items() if "initializer" not in k}


def _sort(layer, shape, inputs, outputs):
    config = {k: v for k, v in _config(layer).items() if k != "name"}
    return repr((type(layer), config, shape[1:-1], inputs, outputs))


def _twin(layer, width):
    makes = layer_rules.makes(layer)
    return twin_of(layer, **(layer_rules.width(layer, width) if makes else {}))


def on_tensorflow(layer, shape):
    """Returns a function that computes a layer once, and waits."""
    layer.build(shape)
    images = tf.random.stateless_uniform(shape, [0, 0])
    function = tf.function(lambda x: layer(x, training=False))
    # The conversion waits for the result: a device may still compute when the
    # call returns.
    return lambda: keras.ops.convert_to_numpy(function(images))
