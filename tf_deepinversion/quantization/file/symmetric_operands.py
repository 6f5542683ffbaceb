"""Gives the second operand of products of two activations the zero point 0.

XNNPACK, which LiteRT uses by default, ignores that zero point in the product of
two activations in int8, as in attention: the answers would be wrong.
"""

import copy

from tf_deepinversion.core.keras_internals import litert_schema
from tf_deepinversion.quantization.file.model_file import kind_of
from tf_deepinversion.quantization.file.model_file import read_model
from tf_deepinversion.quantization.file.model_file import write_model

_OPERAND = 1  # among the inputs of a product


def with_symmetric_operands(content) -> bytes:
    """Rounds each second operand in int8 once more, in a symmetric range.

    The range [low, high] becomes [-m, m] with m = max(-low, high), by an
    operation QUANTIZE before the product.

    Args:
        content: Bytes of a `.tflite` file in integers.

    Returns:
        Bytes of a `.tflite` file, the same bytes if there is no such operand.
    """
    model, changed = read_model(content), False
    schema = litert_schema()
    for graph in model.subgraphs:
        operations = []
        for operation in graph.operators:
            code = model.operatorCodes[operation.opcodeIndex]
            if kind_of(code) == schema.BuiltinOperator.BATCH_MATMUL:
                tensor = graph.tensors[operation.inputs[_OPERAND]]
                int8 = tensor.type == schema.TensorType.INT8
                if int8 and int(tensor.quantization.zeroPoint[0]):
                    operations.append(_rounding(operation, graph, model))
                    changed = True
            operations.append(operation)
        graph.operators = operations
    return write_model(model) if changed else content


def _rounding(operation, graph, model):
    """Returns the operation that rounds, whose output a product then reads."""
    index = int(operation.inputs[_OPERAND])
    tensor = copy.deepcopy(graph.tensors[index])
    known = tensor.quantization
    zero = int(known.zeroPoint[0])
    # Of -128 to 127, the levels of the end that is further from 0.
    levels = max(zero + 128, 127 - zero)
    known.scale = [float(known.scale[0]) * levels / 127]
    known.zeroPoint = [0]
    tensor.name = (tensor.name or b"") + b"/symmetric"
    tensor.buffer = 0  # the empty one
    graph.tensors.append(tensor)
    rounding = litert_schema().OperatorT()
    rounding.opcodeIndex = _code_of_quantize(model)
    rounding.inputs, rounding.outputs = [index], [len(graph.tensors) - 1]
    inputs = list(operation.inputs)
    inputs[_OPERAND] = rounding.outputs[0]
    operation.inputs = inputs
    return rounding


def _code_of_quantize(model) -> int:
    """Returns the place of QUANTIZE among a file's kinds of operations."""
    schema = litert_schema()
    kind = schema.BuiltinOperator.QUANTIZE
    for i, code in enumerate(model.operatorCodes):
        if kind_of(code) == kind:
            code.version = max(code.version, 2)  # which takes int8
            return i
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = kind
    code.version = 2
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1
