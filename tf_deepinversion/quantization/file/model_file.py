"""Reads and writes the content of a LiteRT file as objects."""

import copy

import flatbuffers
import numpy as np

from tf_deepinversion.core.keras_internals import litert_schema


def read_model(content):
    """Reads the bytes of a `.tflite` file as a `ModelT` of LiteRT's schema."""
    schema = litert_schema()
    return schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(content, 0))


def write_model(model) -> bytes:
    """Writes a `ModelT` as the bytes of a `.tflite` file."""
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def kind_of(code) -> int:
    """Returns the kind of operations in `BuiltinOperator`.

    Kinds of up to 126 may stand in a field of their own.

    Args:
        code: An `OperatorCodeT`.
    """
    return max(code.builtinCode, code.deprecatedBuiltinCode)


# The operations that add a bias to a sum of products.
_PRODUCTS = "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"


def products(model):
    """Yields the graph and the operation of each layer with a kernel.

    Args:
        model: A `ModelT`.
    """
    schema = litert_schema()
    kinds = {getattr(schema.BuiltinOperator, name) for name in _PRODUCTS}
    for graph in model.subgraphs:
        for operation in graph.operators:
            if kind_of(model.operatorCodes[operation.opcodeIndex]) in kinds:
                yield graph, operation


def scale_of(tensor) -> np.ndarray:
    """Returns the scales of a tensor, in float64."""
    return np.asarray(tensor.quantization.scale, "float64")


def own_input(graph, operation, place):
    """Returns an input of an operation as a tensor that no other one reads.

    The converter stores equal constants once.

    Args:
        graph: A `SubGraphT`.
        operation: An `OperatorT` of the graph.
        place: Int, which of its inputs.
    """
    index = int(operation.inputs[place])
    if sum(index in o.inputs for o in graph.operators) > 1:
        graph.tensors.append(copy.deepcopy(graph.tensors[index]))
        inputs = list(operation.inputs)
        index = inputs[place] = len(graph.tensors) - 1
        operation.inputs = inputs
    return graph.tensors[index]
