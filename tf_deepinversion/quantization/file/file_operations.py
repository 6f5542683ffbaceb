"""Lists the operations and tensors that a LiteRT file holds."""

import typing

from tf_deepinversion.core.keras_internals import litert_schema

_FLOATS = {"float16", "float32", "float64", "bfloat16"}


class Tensor(typing.NamedTuple):
    """A tensor of a file: its place in the file, its name and its dtype."""

    index: tuple
    name: str
    dtype: str


class Operation(typing.NamedTuple):
    """An operation of a file: its name, its inputs and its outputs."""

    name: str
    inputs: tuple
    outputs: tuple


def operations_of(content) -> list[Operation]:
    """Lists a file's operations in the order in which they compute.

    Args:
        content: Bytes of a `.tflite` file.
    """
    schema = litert_schema()
    model = schema.Model.GetRootAsModel(content, 0)
    op_names = _names(schema.BuiltinOperator)
    dtypes = _names(schema.TensorType)
    operations = []
    for i in range(model.SubgraphsLength()):
        graph = model.Subgraphs(i)
        tensors = [
            _tensor((i, j), graph.Tensors(j), dtypes)
            for j in range(graph.TensorsLength())
        ]
        for j in range(graph.OperatorsLength()):
            found = graph.Operators(j)
            code = model.OperatorCodes(found.OpcodeIndex())
            # Old files hold the number in a field of 8 bits.
            number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
            inputs = (found.Inputs(k) for k in range(found.InputsLength()))
            outputs = (found.Outputs(k) for k in range(found.OutputsLength()))
            operations.append(
                Operation(
                    op_names[number],
                    # -1 stands for an input that is left out, such as a bias.
                    tuple(tensors[k] for k in inputs if k >= 0),
                    tuple(tensors[k] for k in outputs),
                )
            )
    return operations


def _names(enumeration):
    return {
        number: name
        for name, number in vars(enumeration).items()
        if isinstance(number, int)
    }


def _tensor(index, tensor, dtypes):
    name = (tensor.Name() or b"").decode()
    return Tensor(index, name, dtypes[tensor.Type()].lower())


def in_float(operations) -> list[Operation]:
    """Lists the operations that compute in float.

    A conversion from or to the float input or output of the file is none.
    """
    made = {t.index for o in operations for t in o.outputs}
    used = {t.index for o in operations for t in o.inputs}

    def at_an_end(operation):
        if operation.name == "QUANTIZE":
            return operation.inputs[0].index not in made
        last = operation.outputs[0].index not in used
        return operation.name == "DEQUANTIZE" and last

    return [
        o
        for o in operations
        if any(t.dtype in _FLOATS for t in (*o.inputs, *o.outputs))
        and not at_an_end(o)
    ]


def tensor_dtypes(operations) -> tuple:
    """Returns the sorted dtypes of all tensors of some operations."""
    return tuple(
        sorted({t.dtype for o in operations for t in (*o.inputs, *o.outputs)})
    )
