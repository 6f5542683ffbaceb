"""Stores the weights of a LiteRT file in 4 bits, which the converter cannot.

Kernels and activations stay as the converter made them: a kernel whose weights
lie on a grid of 15 levels loses nothing.
"""

import numpy as np

from tf_deepinversion.core.keras_internals import litert_schema
from tf_deepinversion.quantization.file.model_file import kind_of
from tf_deepinversion.quantization.file.model_file import own_input
from tf_deepinversion.quantization.file.model_file import read_model
from tf_deepinversion.quantization.file.model_file import write_model

# By name of an operation: its first version with weights of int4.
_VERSIONS = {"CONV_2D": 7, "DEPTHWISE_CONV_2D": 7, "FULLY_CONNECTED": 10}
_STEPS = 127 / 7  # of the converter's scale in one of ours


def with_int4_weights(content) -> bytes:
    """Packs the weights of a file of int8 into 4 bits where they have 4 bits.

    The converter divides the largest weight of a channel into 127 steps, and a
    weight that is a whole multiple of a seventh of it comes within one step.
    Other kernels stay in int8. So do those of dense layers with one output,
    whose weights have 4 bits nevertheless: XNNPACK takes none packed.

    Args:
        content: Bytes of a `.tflite` file of int8, from the converter.

    Returns:
        Bytes of a `.tflite` file.
    """
    schema = litert_schema()
    model = read_model(content)
    versions = {
        getattr(schema.BuiltinOperator, n): v for n, v in _VERSIONS.items()
    }
    for graph in model.subgraphs:
        packed_places = set()  # several calls of a layer share the weights
        for operation in graph.operators:
            code = model.operatorCodes[operation.opcodeIndex]
            kind = kind_of(code)
            if kind not in versions:
                continue
            place = int(operation.inputs[1])
            weights = graph.tensors[place]
            if place not in packed_places:
                if _one_scale(weights, kind, schema):
                    continue
                levels = _levels(weights, model, schema)
                if levels is None:
                    continue
                packed_places.add(place)
                weights.type = schema.TensorType.INT4
                _replace(weights, packed(levels), model, schema)
            if len(operation.inputs) > 2 and operation.inputs[2] >= 0:
                bias = own_input(graph, operation, 2)
                steps = np.rint(_data(bias, model, "int32") / _STEPS)
                _replace(bias, steps.astype("int32"), model, schema)
            code.version = max(code.version, versions[kind])
    return write_model(model)


def _one_scale(weights, kind, schema):
    """Tells whether it is a dense layer with one scale for all weights."""
    dense = kind == schema.BuiltinOperator.FULLY_CONNECTED
    return dense and len(weights.quantization.scale) == 1


def _data(tensor, model, dtype):
    data = model.buffers[tensor.buffer].data
    return np.frombuffer(np.asarray(data, "uint8").tobytes(), dtype)


def _levels(weights, model, schema):
    """Returns the weights in [-7, 7], or None if they do not lie there."""
    if weights.type != schema.TensorType.INT8 or not weights.buffer:
        return None
    steps = _data(weights, model, "int8").astype("float64")
    levels = np.rint(steps / _STEPS)
    if not steps.size or np.abs(steps - levels * _STEPS).max() > 1:
        return None
    return levels.astype("int8")


def packed(levels):
    """Packs two levels into a byte, the first into the low bits."""
    pairs = np.resize(np.append(levels, 0), (len(levels) + 1) // 2 * 2)
    low, high = pairs.astype("uint8").reshape(-1, 2).T
    return (low & 15) | (high << 4)


def _replace(tensor, data, model, schema):
    """Gives a tensor other data, whose scale is `_STEPS` times as large."""
    scale = np.asarray(tensor.quantization.scale, "float64") * _STEPS
    tensor.quantization.scale = scale.astype("float32")
    tensors = (t for graph in model.subgraphs for t in graph.tensors)
    if sum(t.buffer == tensor.buffer for t in tensors) > 1:
        # The converter stores equal data once.
        model.buffers.append(schema.BufferT())
        tensor.buffer = len(model.buffers) - 1
    model.buffers[tensor.buffer].data = np.frombuffer(data.tobytes(), "uint8")
