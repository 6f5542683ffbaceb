"""Gives the second operand of products of two activations the zero point 0.

XNNPACK, which LiteRT uses by default, ignores that zero point in the product of
two activations in int8, as in attention: the answers would be wrong.
"""

from tf_deepinversion.core.keras_internals import litert_schema
from tf_deepinversion.quantization.model_file import kind_of
from tf_deepinversion.quantization.model_file import read_model
from tf_deepinversion.quantization.model_file import write_model

# Operations whose inputs and outputs have one scale in common.
_MOVING = (
    "BROADCAST_TO",
    "CONCATENATION",
    "DEPTH_TO_SPACE",
    "EXPAND_DIMS",
    "GATHER",
    "GATHER_ND",
    "MAXIMUM",
    "MAX_POOL_2D",
    "AVERAGE_POOL_2D",
    "MINIMUM",
    "MIRROR_PAD",
    "PACK",
    "PAD",
    "PADV2",
    "RESHAPE",
    "RESIZE_BILINEAR",
    "RESIZE_NEAREST_NEIGHBOR",
    "REVERSE_V2",
    "SELECT",
    "SELECT_V2",
    "SLICE",
    "SPACE_TO_DEPTH",
    "SPLIT",
    "SPLIT_V",
    "SQUEEZE",
    "STRIDED_SLICE",
    "TILE",
    "TRANSPOSE",
    "UNPACK",
)
# Operations that LiteRT computes with one fixed scale of the output.
_FIXED = "L2_NORMALIZATION", "LOGISTIC", "LOG_SOFTMAX", "SOFTMAX", "TANH"


def with_symmetric_operands(content) -> bytes:
    """Makes the range of each second operand in int8 symmetric.

    The range [low, high] becomes [-m, m] with m = max(-low, high), for the
    operand and for all tensors that share its scale. Where they include an
    input or output of the file, a constant, or an output of a fixed scale, the
    range stays.

    Args:
        content: Bytes of a `.tflite` file in integers.

    Returns:
        Bytes of a `.tflite` file, the same bytes if there is no such operand.
    """
    model, changed = read_model(content), False
    schema = litert_schema()
    names = {
        number: name
        for name, number in vars(schema.BuiltinOperator).items()
        if isinstance(number, int)
    }
    for graph in model.subgraphs:
        operations = [
            (names[kind_of(model.operatorCodes[o.opcodeIndex])], o)
            for o in graph.operators
        ]
        for name, operation in operations:
            if name != "BATCH_MATMUL":
                continue
            together = _sharing(int(operation.inputs[1]), graph, operations)
            if _may_change(together, model, graph, operations):
                changed |= _make_symmetric(together, graph)
    return write_model(model) if changed else content


def _is_int8(tensor) -> bool:
    return tensor.type == litert_schema().TensorType.INT8


def _ends_of(operation) -> list:
    """Lists the tensors that an operation reads and makes."""
    return [int(i) for i in (*operation.inputs, *operation.outputs) if i >= 0]


def _sharing(index, graph, operations) -> set:
    """Returns a tensor and all tensors that must have its scale."""
    found, new = set(), {index}
    while new:
        found |= new
        new = {
            i
            for name, operation in operations
            if name in _MOVING
            for i in _ends_of(operation)
            if found.intersection(_ends_of(operation))
            and _is_int8(graph.tensors[i])
        } - found
    return found


def _may_change(indices, model, graph, operations) -> bool:
    """Whether nothing else decides the scale of some tensors."""
    ends = {int(i) for i in (*graph.inputs, *graph.outputs)}
    fixed = {
        int(i)
        for name, operation in operations
        if name in _FIXED
        for i in operation.outputs
    }
    return not indices & (ends | fixed) and all(
        _is_int8(graph.tensors[i])
        and model.buffers[graph.tensors[i].buffer].data is None
        and len(graph.tensors[i].quantization.scale) == 1
        for i in indices
    )


def _make_symmetric(indices, graph) -> bool:
    """Changes the scales of some tensors; returns whether any changed."""
    changed = False
    for i in indices:
        known = graph.tensors[i].quantization
        zero = int(known.zeroPoint[0])
        if zero:
            # Of -128 to 127, the levels of the end that is further from 0.
            levels = max(zero + 128, 127 - zero)
            known.scale = [float(known.scale[0]) * levels / 127]
            known.zeroPoint = [0]
            changed = True
    return changed
