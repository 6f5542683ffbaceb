"""How a network ends, seen in the graph of one call of it."""

import tensorflow as tf

# What gives its values on, in the same order.
KEEPING = {
    "Cast",
    "EnsureShape",
    "Identity",
    "IdentityN",
    "PreventGradient",
    "Reshape",
    "StopGradient",
}


# What has no bounds: as far as its weights go, it gives any number.
UNBOUNDED = {
    "BatchMatMulV2",
    "BatchMatMulV3",
    "Conv2D",
    "DepthwiseConv2dNative",
    "Einsum",
    "Elu",
    "LeakyRelu",
    "LogSoftmax",
    "MatMul",
    "Relu",
    "Selu",
    "Softplus",
}


# What has no bounds where one of its inputs has none.
PASSING = KEEPING | {
    "AddN",
    "AddV2",
    "AvgPool",
    "BiasAdd",
    "ConcatV2",
    "ExpandDims",
    "Max",
    "MaxPool",
    "Mean",
    "Neg",
    "Pack",
    "Squeeze",
    "StridedSlice",
    "Sub",
    "Sum",
    "Transpose",
}


SCALING = {"Mul", "RealDiv"}


def _given_on(tensor) -> list:
    """The inputs of a tensor's operation that are in the tensor."""
    inputs = tensor.op.inputs
    if tensor.op.type == "IdentityN":
        return [inputs[tensor.value_index]]
    return list(inputs)


def _fixed(tensor) -> bool:
    """Whether a tensor is of weights and constants only."""
    seen, waiting = set(), [tensor.op]
    while waiting:
        operation = waiting.pop()
        if operation.type == "Placeholder":
            return False
        if operation not in seen and operation.type != "ReadVariableOp":
            waiting += [x.op for x in operation.inputs]
        seen.add(operation)
    return True


def gives(layer_output, tensor) -> bool:
    """Whether a tensor is what a layer gave, but for its dtype.

    Args:
        layer_output: Tensor `(batch, n)` of the graph.
        tensor: Tensor of the same graph.
    """
    while tensor is not layer_output:
        if tensor.op.type not in KEEPING:
            return False
        tensor = _given_on(tensor)[0]
        if len(tensor.shape) != len(layer_output.shape):
            return False
    return True


def is_unbounded(tensor, known=()) -> bool:
    """Whether a tensor is for certain one of numbers without bounds.

    Where it ends in a multiplication by weights; sums, means and scales after
    that change nothing.

    Args:
        tensor: Tensor of a graph.
        known: List of tensors that have no bounds.
    """
    kind = tensor.op.type
    if kind in UNBOUNDED or any(tensor is x for x in known):
        return True
    inputs = []
    if kind in PASSING:
        inputs = _given_on(tensor)
    elif kind in SCALING:
        inputs = [x for x in tensor.op.inputs if not _fixed(x)]
        # Two that move may keep each other within bounds.
        inputs = inputs if len(inputs) == 1 else []
    return any(is_unbounded(x, known) for x in inputs)


def assigned(graph, variables) -> list:
    """The variables that are given a value in a graph of one call.

    Args:
        graph: The graph of a concrete `tf.function`.
        variables: List of `keras.Variable`.
    """
    own = tf.distribute.get_strategy().experimental_local_results
    inner = {
        id(placeholder): id(handle) for handle, placeholder in graph.captures
    }
    changed = {
        inner.get(id(operation.inputs[0]))
        for operation in graph.get_operations()
        if operation.type.startswith("Assign")
    }
    return [
        variable
        for variable in variables
        if any(id(v.handle) in changed for v in own(variable.value))
    ]
