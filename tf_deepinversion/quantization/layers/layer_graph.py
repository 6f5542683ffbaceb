"""The calls of a network's layers, and which call reads which."""

import collections

import keras
from keras import layers

from tf_deepinversion.core.keras_internals import functional_of
from tf_deepinversion.core.keras_internals import nodes_of
from tf_deepinversion.networks.copies import is_graph
from tf_deepinversion.quantization.layers.kernels import has_kernel


def require_graph(model):
    """Refuses a model whose calls no graph shows.

    Raises:
        ValueError: if the model is neither functional nor sequential.
    """
    if not is_graph(model) or functional_of(model) is None:
        raise ValueError(
            "Expected a functional or sequential model, whose graph shows "
            f"which layer reads which. Received: {type(model)}"
        )


class LayerGraph:
    """The calls of all layers of a functional or sequential model.

    Nested models count by their layers: a call inside reads what the nested
    model reads.

    Args:
        model: A built functional or sequential `keras.Model`.

    Attributes:
        nodes: List of Keras's nodes, one for each call, each after the calls
            that it depends on.

    Raises:
        ValueError: if the model is neither functional nor sequential.
    """

    def __init__(self, model):
        require_graph(model)
        self.nodes, self._stands_for = [], {}
        self._nested = collections.defaultdict(list)
        self._add(functional_of(model))
        self._calls = collections.Counter(id(n.operation) for n in self.nodes)
        self._readers = collections.defaultdict(list)
        for node in self.nodes:
            for tensor in node.input_tensors:
                self._readers[self.key(tensor)].append(node)
        others = list(functional_of(model).outputs)  # seen from outside
        for inputs in self._nested.values():
            # A nested model of several calls shows its readers to the last.
            others += sum(inputs, []) if len(inputs) > 1 else []
        for tensor in others:
            self._readers[self.key(tensor)].append(None)

    def _add(self, model):
        for node in nodes_of(model):
            if not is_graph(node.operation):
                self.nodes.append(node)
                continue
            inner = functional_of(node.operation)
            self._nested[id(inner)].append(list(node.input_tensors))
            self._equate(inner.inputs, node.input_tensors)
            self._add(inner)
            self._equate(node.outputs, inner.outputs)

    def _equate(self, tensors, others):
        for tensor, other in zip(tensors, others, strict=True):
            self._stands_for[id(tensor)] = other

    def key(self, tensor) -> int:
        """Identifies a tensor, also across the border of a nested model."""
        while id(tensor) in self._stands_for:
            tensor = self._stands_for[id(tensor)]
        return id(tensor)

    def called_once(self, operation) -> bool:
        """Tells whether the graph calls a layer exactly once."""
        return self._calls[id(operation)] == 1

    def only_reader(self, node):
        """Returns the only call that reads a call's only output, or None.

        The reading layer has no other call.
        """
        if node is None or len(node.outputs) != 1:
            return None
        found = self._readers[self.key(node.outputs[0])]
        if len(found) != 1 or found[0] is None:
            return None
        return found[0] if self.called_once(found[0].operation) else None

    def norm_behind(self, node):
        """Returns the BatchNormalization that alone reads a linear layer.

        LiteRT's converter joins both: the kernel absorbs the scale. Returns
        None if there is none.
        """
        layer, reader = node.operation, self.only_reader(node)
        found = reader and reader.operation
        if not isinstance(found, layers.BatchNormalization):
            return None
        rank = len(reader.input_tensors[0].shape)
        joins = has_kernel(layer) and is_linear(layer)
        return found if joins and found.axis in (-1, rank - 1) else None


def is_linear(layer) -> bool:
    """Tells whether a layer has no activation of its own."""
    return layer.activation in (None, keras.activations.linear)
