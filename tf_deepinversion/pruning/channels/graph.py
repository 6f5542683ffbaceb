"""Finds the channels of a network that must be removed together.

Each output channel of a convolution or dense layer is a *unit*. The graph of
the model is walked once, and each tensor carries the units of its last axis. A
residual addition unites the units of its summands, a concatenation lines them
up, flattening repeats them. The result is a set of *channels*: classes of units
that can only be removed together. The channels of one layer form a *group*.
Every axis of every weight is then a list of channels, which is all that
shrinking, masking and counting need.

The walk also enters nested models. `core/keras_internals.py` lists the nodes of
a model, each after the nodes that it depends on.
"""

import dataclasses
import functools
import math
import typing

import numpy as np
from keras import layers

from tf_deepinversion.core.keras_internals import nodes_of
from tf_deepinversion.networks.copies import is_graph
from tf_deepinversion.pruning.channels import layer_rules
from tf_deepinversion.pruning.channels import operators
from tf_deepinversion.pruning.channels.functional import functional
from tf_deepinversion.pruning.channels.refusals import no_channels
from tf_deepinversion.pruning.channels.refusals import open_size
from tf_deepinversion.pruning.channels.sizes import Sizes
from tf_deepinversion.pruning.layer_names import layer_names


@dataclasses.dataclass
class Axis:
    """One axis of a weight, as a list of channels.

    Attributes:
        layer: The layer.
        name: String, the attribute that holds the weight.
        axis: Int, negative.
        channels: Int array, the channel of each index.
        reads: Bool, whether the axis holds the inputs of a kernel that turns
            them into other channels. Otherwise the axis makes or scales them.
    """

    layer: object
    name: str
    axis: int
    channels: np.ndarray
    reads: bool


class Call(typing.NamedTuple):
    """One call of a layer: its tensors by id, and their channels.

    `kind` tells what the call does with channels, see `layer_rules.KINDS`. It
    is `"same"` where a tensor enters or leaves a nested model, and `"mixing"`
    where all channels must stay. `node` is Keras's record of the call.
    """

    layer: object
    inputs: list
    output: int
    channels: np.ndarray
    kind: str | None
    node: object


class ChannelGraph:
    """The channels of a functional or sequential model, and their weights.

    Args:
        model: A built `keras.Model`, functional or sequential, with channels
            last.

    Attributes:
        model: The model.
        count: Int, number of channels, without the fixed channels of images and
            logits. They are numbered from 0 in the order of the network.
        groups: Int array `(count,)`, the group of each channel.
        axes: List of `Axis` of all weights with channels.
        outputs: Dict from layers to the channels that they make; -1 is fixed.
        places: Dict from layers with kernels to the number of positions of an
            image at which all their calls together apply the kernel.
        input_shapes: Dict from the same layers to the list of shapes `(batch,
            ..., channels)` of the inputs of all their calls.
        calls: List of `Call`, each after the calls it depends on.
        inputs: Dict from ids of the inputs of the model, and of nested models,
            to their channels.

    Raises:
        TypeError: if the model is subclassed.
        ValueError: if pruning does not know how a layer mixes channels.

    Example:
        >>> graph = di.pruning.ChannelGraph(teacher)
        >>> graph.count, graph.groups.tolist()
        (4, [0, 0, 0, 0])
    """

    def __init__(self, model):
        self.model = model
        self._parents = []
        # Tensors are told by their ids. The model keeps its tensors alive, so
        # no two of them share an id.
        self._of_tensor, self._made = {}, {}
        self._pending, self._calls, self._sizes = [], [], Sizes()
        self.places, self.input_shapes, self.inputs = {}, {}, {}
        self._fixed = self._new(1)[0]
        for node in nodes_of(functional(model)):
            self._visit(node)
        # Logits must stay: all classes remain.
        for tensor in functional(model).outputs:
            self._unite(self._of_tensor[id(tensor)], self._fixed)
        self._number()

    def _new(self, count):
        first = len(self._parents)
        self._parents += range(first, first + count)
        return np.arange(first, first + count)

    def _root(self, unit):
        """Finds the representative of a unit's class (union-find)."""
        while self._parents[unit] != unit:
            self._parents[unit] = self._parents[self._parents[unit]]
            unit = self._parents[unit]
        return unit

    def _unite(self, first, second):
        for a, b in np.nditer(np.broadcast_arrays(first, second), ["refs_ok"]):
            a, b = sorted((self._root(int(a)), self._root(int(b))))
            self._parents[b] = a  # the older unit represents both

    def _visit(self, node):
        layer, inputs = node.operation, node.arguments.keras_tensors
        if is_graph(layer):
            self._visit_within(node)
            return
        self._sizes.follow(node)
        kind = layer_rules.kind_of(layer)
        units = [self._of_tensor[id(x)] for x in inputs]
        if kind not in ("kernel", "separable") and all(
            (u == self._fixed).all() for u in units
        ):
            # The image, before any layer makes channels.
            for tensor in node.outputs:
                width = self._sizes.of(tensor)[-1] or 1
                fixed = np.full(width, self._fixed)
                self._called(node, None, tensor, fixed)
            self._count_places(node)
            return
        if not isinstance(layer, layers.Layer):
            kind = operators.kind_of(node)
        layer_rules.check(layer, kind, len(inputs[0].shape))
        self._count_places(node)
        if kind == "whole":
            self._keep_all(node, units)
            return
        (output,) = node.outputs
        shape = self._sizes.of(output)
        made = self._apply(layer, kind, units, self._sizes.of(inputs[0]), shape)
        if len(made) != shape[-1]:
            raise ValueError(
                f"Channels cannot be followed through {layer.name!r}: it "
                f"turns {len(made)} channels into {shape[-1]}."
            )
        if kind == "mixing" or layer_rules.mixes(layer, len(made)):
            self._unite(made, self._fixed)
            kind = "mixing" if kind == "elementwise" else kind
        self._called(node, kind, output, made)

    def _keep_all(self, node, units):
        """All channels of the inputs and outputs of a call stay."""
        for each in units:
            self._unite(each, self._fixed)
        for tensor in node.outputs:
            fixed = np.full(tensor.shape[-1], self._fixed)
            self._called(node, "whole", tensor, fixed)

    def _count_places(self, node):
        """Records where a layer multiplies."""
        layer = node.operation
        if isinstance(layer, layer_rules.MULTIPLYING):
            given = self._sizes.of(node.arguments.keras_tensors[0])
            # A transposed convolution applies its kernel at each input
            # position.
            transposed = layer_rules.is_transposed(layer)
            at = given if transposed else self._sizes.of(node.outputs[0])
            places = _places(at)
            if isinstance(layer, layers.EinsumDense):
                places = _places_of_einsum(layer.equation, given)
            self.places[layer] = self.places.get(layer, 0) + places
            self.input_shapes.setdefault(layer, []).append(given)

    def _called(self, node, kind, output, units, inputs=None):
        self._of_tensor[id(output)] = units
        if inputs is None:
            inputs = node.arguments.keras_tensors
        seen = [id(x) for x in inputs]
        self._calls.append(
            (node.operation, seen, id(output), units, kind, node)
        )

    def _visit_within(self, node):
        """Walks through a nested model, from its inputs to its outputs."""
        inner = functional(node.operation)
        given = node.arguments.keras_tensors
        for tensor, own in zip(given, inner.inputs, strict=True):
            units = self._of_tensor[id(tensor)]
            if id(own) in self.inputs:  # the nested model is called twice
                self._unite(units, self.inputs[id(own)])
            self.inputs[id(own)] = units
            self._sizes.enter(own, tensor)
            self._called(node, "same", own, units, [tensor])
        for each in nodes_of(functional(inner)):
            if not isinstance(each.operation, layers.InputLayer):
                self._visit(each)
        for tensor, own in zip(node.outputs, inner.outputs, strict=True):
            units = self._of_tensor[id(own)]
            self._sizes.enter(tensor, own)
            self._called(node, "same", tensor, units, [own])

    def _apply(self, layer, kind, units, before, after):
        """Returns the units of a layer's output, from the shapes around it."""
        if kind in ("kernel", "separable", "depthwise"):
            return self._made_by(layer, kind, units[0])
        if kind in ("merge", "mixing"):
            return self._merged(layer, units)
        if kind == "concatenate":
            if layer.axis in (-1, len(after) - 1):
                return np.concatenate(units)
            return self._merged(layer, units)
        if kind == "reshape":
            return self._reshaped(layer, units[0], before[1:], after[1:])
        self._record(layer, units[0])
        return units[0]

    def _merged(self, layer, units):
        widest = max(units, key=len)
        for other in units:
            if len(other) == len(widest):
                self._unite(widest, other)
            elif len(other) == 1:  # broadcast to every channel, so it stays
                self._unite(other, self._fixed)
            else:
                raise ValueError(
                    f"{layer.name!r} unites {len(other)} channels with "
                    f"{len(widest)}, which pruning does not support."
                )
        return widest

    def _reshaped(self, layer, units, before, after):
        """Returns the last axis's units, if they are equal at all positions."""
        if None in before or None in after:
            if after[-1] == len(units) != 1:
                return units
            raise open_size(f"{layer.name!r}, which is given {before}")
        everywhere = np.broadcast_to(units, before)
        rows = everywhere.reshape(-1, after[-1])
        if not (rows == rows[0]).all():
            raise ValueError(
                "This layer mixes channels and positions in a way that pruning "
                f"does not know. Received: {layer.name!r}, from {before} to "
                f"{tuple(after)}"
            )
        return rows[0]

    def _made_by(self, layer, kind, units):
        """Returns the units of the output of a layer with kernels."""
        if layer in self._made:  # all calls of a shared layer share channels
            made, seen = self._made[layer]
            self._unite(seen, units)
            return made
        inner = units
        if kind in ("depthwise", "separable"):
            inner = np.repeat(units, layer.depth_multiplier)
        made = inner
        if kind != "depthwise":
            made = self._new(layer_rules.width_of(layer))
        self._record(layer, units, made, inner)
        return made

    def _record(self, layer, units, made=None, inner=None):
        if layer in self._made:
            self._unite(self._made[layer][1], units)
            return
        self._made[layer] = units if made is None else made, units
        roles = {"in": units, "out": made, "inner": inner}
        for name, axis, role in layer_rules.axes_of(layer):
            self._pending.append((layer, name, axis, role, roles[role]))

    def _number(self):
        """Numbers the channels in the order in which layers make them."""
        roots = np.array([self._root(i) for i in range(len(self._parents))])
        found = np.unique(roots)  # the fixed unit is the oldest: root 0
        number = np.searchsorted(found, roots) - 1
        self.count = len(found) - 1
        self.axes = [
            Axis(
                layer, name, axis, number[units], layer_rules.reads(layer, role)
            )
            for layer, name, axis, role, units in self._pending
        ]
        self.outputs = {
            layer: number[made] for layer, (made, _) in self._made.items()
        }
        self.calls = [Call(*c[:3], number[c[3]], *c[4:]) for c in self._calls]
        self.inputs = {key: number[u] for key, u in self.inputs.items()}
        self.groups = self._grouped()

    def _grouped(self):
        """Gives channels that the same layer makes the same group."""
        group = np.arange(self.count)
        for layer, channels in self.outputs.items():
            own = channels[channels >= 0]
            if layer_rules.makes(layer) and len(own):
                joined = np.isin(group, group[own])
                group[joined] = group[own].min()
        return np.unique(group, return_inverse=True)[1]

    def check_size(self):
        """Raises a ValueError if the image size is not fixed."""
        for layer, places in self.places.items():
            if places == np.inf:
                raise open_size(f"{self.model.name!r}, with {layer.name!r}")

    def check_channels(self):
        """Raises a ValueError if the network has no channels to remove."""
        if not self.count:
            raise no_channels(self.model)

    def makers(self, group) -> list:
        """Lists the layers whose kernels make the channels of a group."""
        own = set(np.flatnonzero(self.groups == group))
        return [
            layer
            for layer, channels in self.outputs.items()
            if layer_rules.makes(layer) and own & set(channels.tolist())
        ]

    def check_keep(self, keep) -> np.ndarray:
        """Returns `keep` as a bool array that leaves a channel of each group.

        Raises:
            ValueError: if there are no channels to remove, the shape does not
                fit, or a group would be empty.
        """
        self.check_channels()
        keep = np.asarray(keep)
        if keep.shape != (self.count,) or keep.dtype != bool:
            raise ValueError(
                f"Expected one bool for each of {self.count} channels. "
                f"Received: {keep.dtype} of shape {keep.shape}"
            )
        left = np.bincount(self.groups[keep], minlength=self.groups.max() + 1)
        for group in np.flatnonzero(left == 0):
            names = [layer.name for layer in self.makers(group)]
            raise ValueError(
                "A group of channels would vanish, and cut the network: keep "
                "at least one channel. "
                f"Received: none of {', '.join(names)}"
            )
        return keep

    @functools.cached_property
    def names(self) -> dict:
        """Dict from layers with kernels to unique names, see `layer_names`."""
        return layer_names(self.model, self.places)

    @functools.cached_property
    def shapes(self) -> dict:
        """Dict from (layer, name of a weight) to its shape, of `axes`."""
        # Keras makes a shape anew at each call, which takes long.
        weights = [(axis.layer, axis.name) for axis in self.axes]
        return {key: tuple(getattr(*key).shape) for key in weights}

    @functools.cached_property
    def _of_axes(self):
        """The channels of all `axes` in a row, and where each axis begins."""
        sizes = [len(axis.channels) for axis in self.axes]
        channels = np.concatenate([axis.channels for axis in self.axes])
        return channels, np.cumsum([0, *sizes[:-1]])

    def widths(self, keep) -> list[int]:
        """Counts the indices that stay of each of `axes`."""
        if not self.axes:
            return []
        channels, begins = self._of_axes
        stays = self.kept(channels, keep).astype(int)
        return np.add.reduceat(stays, begins).tolist()

    @staticmethod
    def kept(channels, keep) -> np.ndarray:
        """Tells which indices of an axis stay: fixed and kept channels."""
        return np.append(keep, True)[channels]


def _places_of_einsum(equation, shape):
    """Counts the values of the indices that a kernel has not, for one image.

    >>> _places_of_einsum("abc,cde->abde", (None, 7, 8))
    7
    """
    given, kernel = equation.split("->")[0].split(",")
    before, _, after = given.partition("...")
    between = len(shape) - len(before) - len(after)
    names = [*before, *["..."] * between, *after]
    pairs = zip(names, shape, strict=True)
    sizes = [size for name, size in pairs if name not in set(kernel)]
    return _places((*sizes, 1))  # the first index is the image


def _places(shape):
    """Counts the positions of a tensor, infinitely many if its size is open."""
    return math.prod(np.inf if n is None else n for n in shape[1:-1])
