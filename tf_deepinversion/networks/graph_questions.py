"""Questions to the graph of one call of a network."""

import tensorflow as tf

# Operations that pass on their values in the same order.
KEEPING = {
    "Cast",
    "EnsureShape",
    "Identity",
    "IdentityN",
    "PreventGradient",
    "Reshape",
    "StopGradient",
}


# Operations whose outputs are unbounded for suitable weights.
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


# Operations that are unbounded if one of their inputs is.
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
    """Returns the inputs that an operation passes on to a tensor."""
    inputs = tensor.op.inputs
    if tensor.op.type == "IdentityN":
        return [inputs[tensor.value_index]]
    return list(inputs)


def _fixed(tensor) -> bool:
    """Tells whether a tensor depends on weights and constants only."""
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
    """Tells whether a tensor is a layer's output, up to its dtype.

    Args:
        layer_output: Tensor `(batch, n)` of the graph.
        tensor: Tensor of the same graph.
    """
    # By identity: two layers may have equal outputs, but each output is one
    # tensor.
    while tensor is not layer_output:
        if tensor.op.type not in KEEPING:
            return False
        tensor = _given_on(tensor)[0]
        if len(tensor.shape) != len(layer_output.shape):
            return False
    return True


def is_unbounded(tensor, known=()) -> bool:
    """Tells whether a tensor's values are certainly unbounded.

    They are if the tensor comes from a multiplication by weights, followed only
    by sums, means and scales.

    Args:
        tensor: Tensor of a graph.
        known: List of tensors known to be unbounded.
    """
    kind = tensor.op.type
    if kind in UNBOUNDED or any(tensor is x for x in known):
        return True
    inputs = []
    if kind in PASSING:
        inputs = _given_on(tensor)
    elif kind in SCALING:
        inputs = [x for x in tensor.op.inputs if not _fixed(x)]
        # A product of two variable tensors may be bounded.
        inputs = inputs if len(inputs) == 1 else []
    return any(is_unbounded(x, known) for x in inputs)


# Parts of the names of operations that draw random numbers.
RANDOM = (
    "Multinomial",
    "Random",
    "StatefulStandardNormal",
    "StatefulUniform",
    "TruncatedNormal",
)


def is_random(tensor) -> bool:
    """Tells whether a tensor depends on random numbers.

    Args:
        tensor: Tensor of a graph. Operations inside a `tf.function`, a loop or
            a condition do not count.
    """
    seen, waiting = set(), [tensor.op]
    while waiting:
        operation = waiting.pop()
        if any(part in operation.type for part in RANDOM):
            return True
        if operation not in seen:
            waiting += [x.op for x in operation.inputs]
        seen.add(operation)
    return False


def assigned(graph, variables) -> list:
    """Lists the variables that the graph of one call assigns.

    Args:
        graph: The graph of a concrete `tf.function`.
        variables: List of `keras.Variable`.
    """
    own = tf.distribute.get_strategy().experimental_local_results
    # Inside a graph, a placeholder stands for a variable's handle.
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
