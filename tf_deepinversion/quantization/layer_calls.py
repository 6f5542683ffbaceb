"""Follows the layers of a network from their calls to a file's tensors."""

import typing

import keras
import tensorflow as tf

from tf_deepinversion.core.keras_internals import layers_of
from tf_deepinversion.networks.call_hooks import replace
from tf_deepinversion.quantization.file.file_operations import operations_of


class LayerCall(typing.NamedTuple):
    """A call of a layer: its name scope in the graph, and its output."""

    layer: keras.layers.Layer
    scope: str
    output: object


def calls_of(model, function, inputs) -> tuple:
    """Returns a function's result, and the calls of a model's layers in it.

    Args:
        model: A `keras.Model`.
        function: Function that calls the model.
        inputs: Tensor, the function's argument.
    """
    calls = []

    def recorder(layer):
        call = layer.call

        def recorded(*args, **kwargs):
            output = call(*args, **kwargs)
            scope = tf.get_current_name_scope()
            calls.append(LayerCall(layer, scope, output))
            return output

        return recorded

    layers = layers_of(model, include_self=False)
    with replace("call", [(layer, recorder(layer)) for layer in layers]):
        return function(inputs), calls


class Trace(typing.NamedTuple):
    """A network's graph: names of operations in order, output, and calls."""

    operations: list
    output: str
    calls: list


def trace(model, fed) -> Trace:
    """Traces a network as the converter does."""
    found = []

    @tf.function(autograph=False)
    def traced(x):
        found.append(calls_of(model, lambda x: fed(x, training=False), x))
        return found[-1][0]

    spec = tf.TensorSpec(fed.input_shape, "float32")
    graph = traced.get_concrete_function(spec).graph
    output, calls = found[-1]
    names = [operation.name for operation in graph.get_operations()]
    return Trace(names, output.name, calls)


def tensors_of_calls(content, traced) -> dict:
    """Finds the tensors that hold the outputs of layers.

    The converter names a tensor after the operations of the graph that the
    tensor stands for. The tensor holds the result of the last of them.

    Args:
        content: Bytes of a `.tflite` file.
        traced: The network's `Trace`.

    Returns:
        Dict from the number of a call to the index of a tensor; None is the
        output of the file.
    """
    order = {name: i for i, name in enumerate(traced.operations)}
    places = {call.scope: i for i, call in enumerate(traced.calls)}
    found = {}
    for operation in operations_of(content):
        graph, index = (
            operation.outputs[0].index if operation.outputs else (1, 0)
        )
        if graph:
            continue  # of a loop, not of the network
        last = _last(operation.outputs[0].name.split(";"), order)
        call = last and _call_of(last, places)
        # Of a layer with layers of its own, only the output's name tells.
        if call is not None and (
            _plain(traced.calls[call].layer) or _op(traced.calls[call]) == last
        ):
            found[call] = index
    for i, call in enumerate(traced.calls):
        if getattr(call.output, "name", None) == traced.output:
            found[i] = None
    return found


def _last(names, order):
    """Returns the operation that computes last, or None if none is known."""
    # The converter numbers a name that it uses again: MatMul2.
    known = [n if n in order else n.rstrip("0123456789") for n in names]
    return max((n for n in known if n in order), key=order.get, default=None)


def _call_of(name, places):
    """Returns the number of the innermost call that an operation lies in."""
    while "/" in name:
        name = name.rpartition("/")[0]
        if name in places:
            return places[name]
    return None


def _plain(layer):
    return not layers_of(layer, include_self=False)


def _op(call):
    return getattr(call.output, "name", "").split(":")[0]
