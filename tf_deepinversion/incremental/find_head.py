"""Finds the layer that computes a classifier's logits, at any depth."""

import typing

import keras
from keras import layers

from tf_deepinversion.core.keras_internals import functional_of
from tf_deepinversion.core.keras_internals import nodes_of
from tf_deepinversion.networks.copies import is_graph

# Layers that may follow the head: none has weights.
TAIL = (
    layers.Activation,
    layers.Dropout,
    layers.Flatten,
    layers.GlobalAveragePooling2D,
    layers.Reshape,
    layers.Softmax,
)


class FoundHead(typing.NamedTuple):
    """A head and its place in the graph.

    Attributes:
        layer: The layer.
        input: The tensor that it is given, of the innermost model around it.
        model: The innermost functional model around it.
        tail: List of the layers that follow.
        around: List of pairs (functional model, node): the calls of the nested
            models around the head, the outermost first.
        fed: List of the inputs of nested models that follow the head.
    """

    layer: object
    input: object
    model: keras.Model
    tail: list
    around: list
    fed: list

    @property
    def probabilities(self) -> bool:
        """Bool, whether the model ends in a softmax or a sigmoid."""
        functions = keras.activations.softmax, keras.activations.sigmoid
        return any(
            isinstance(layer, layers.Softmax)
            or getattr(layer, "activation", None) in functions
            for layer in [self.layer, *self.tail]
        )


def find_head(model) -> FoundHead:
    """Finds the last layer whose class is not in `TAIL`.

    Raises:
        TypeError: if the model is not a `keras.Model`, or is subclassed.
        ValueError: if the layer is called more than once.
    """
    _check_model(model)
    whole, around, tail, fed = functional_of(model), [], [], []
    tensor = whole.outputs[0]
    while True:
        node = _maker(whole, tensor)
        layer = node.operation
        if is_graph(layer):
            around.append((whole, node))
            whole = functional_of(layer)
            tensor = whole.outputs[0]
        elif isinstance(layer, layers.InputLayer) and around:
            fed += whole.inputs
            whole, node = around.pop()
            tensor = node.arguments.keras_tensors[0]
        elif isinstance(layer, TAIL):
            tail.insert(0, layer)
            tensor = node.arguments.keras_tensors[0]
        else:
            given = [*node.arguments.keras_tensors, None]
            return FoundHead(layer, given[0], whole, tail, around, fed)


def _maker(whole, tensor):
    """The node of a functional model that makes a tensor."""
    nodes = nodes_of(whole)
    (found,) = (n for n in nodes if any(x is tensor for x in n.outputs))
    calls = [n for n in nodes if n.operation is found.operation]
    if len(calls) > 1:
        raise ValueError(
            "The head was not found: the model ends in a layer that is called "
            "more than once. Rebuild it with a layer for each call. "
            f"Received: {whole.name!r}, whose last layer is "
            f"{found.operation.name!r}"
        )
    return found


def _check_model(model):
    if not isinstance(model, keras.Model):
        raise TypeError(f"Expected a `keras.Model`. Received: {type(model)}")
    try:
        count = len(model.inputs), len(model.outputs)
    except (AttributeError, TypeError, ValueError):
        count = None
    if not isinstance(model, keras.Sequential) and (
        type(model).__name__ != "Functional"
    ):
        count = None
    if count is None:
        raise TypeError(
            "Expected a functional model, or a built sequential model: the "
            "head of other models cannot be found. "
            f"Received: {model.name!r} of {type(model)}"
        )
    if count != (1, 1):
        raise ValueError(
            "Expected a classifier with one input and one output. Received: "
            f"{model.name!r} with {count[0]} and {count[1]}"
        )
