"""How a network ends, seen in the graph of one call of it."""

import typing

import keras
import tensorflow as tf

from tf_deepinversion.networks.call_hooks import original


class Ends(typing.NamedTuple):
    """How a network ends, as one call of it shows in a graph.

    Attributes:
        softmax: The layer whose softmax ends the network, or None.
        head: The `Dense` that gives the logits, or None.
        features: Int, how many features feed the head, or None.
        unbounded: Bool, whether the logits are known to have no bounds.
        random: Bool, whether the logits are made of random numbers.
    """

    softmax: object
    head: object
    features: int | None = None
    unbounded: bool = False
    random: bool = False


class Reading(typing.NamedTuple):
    """What one call of a network shows.

    Attributes:
        logits: Tensor `(batch, classes)` in float32 or float64.
        batch_norm_calls: List of the `Call` of every BatchNormalization, in
            their order.
        head: The `Call` of the `Dense` that gives the logits, or None where
            another layer does.
    """

    logits: object
    batch_norm_calls: list
    head: object

    @property
    def batch_norms(self) -> list:
        """The layers of `batch_norm_calls`."""
        return [call.layer for call in self.batch_norm_calls]

    @property
    def features(self):
        """What feeds the head, `(batch, features)`; without one, the logits."""
        if self.head is None:
            return self.logits
        return at_least_float32(self.head.inputs)


def at_least_float32(x):
    """A float tensor in float32, or as it is in float64."""
    if keras.backend.standardize_dtype(x.dtype) == "float64":
        return x
    return keras.ops.cast(x, "float32")


def masked_logits(head, mask):
    """The logits that a dense head gives of a part of the features.

    Args:
        head: The `Call` of the `Dense`.
        mask: Float tensor `(batch, features)` by which the features are
            multiplied.

    Returns:
        A tensor `(batch, classes)` in float32 or float64.
    """
    features = at_least_float32(head.inputs)
    kernel = keras.ops.cast(head.layer.kernel, features.dtype)
    logits = (features * keras.ops.cast(mask, features.dtype)) @ kernel
    if head.layer.bias is not None:
        logits = logits + keras.ops.cast(head.layer.bias, features.dtype)
    return logits


def reading_of(result, calls, ends) -> Reading:
    """What a call of a network shows.

    Args:
        result: Tensor `(batch, classes)`, what the network gave.
        calls: List of the `Call` of the watched layers within.
        ends: `Ends` of the network.
    """
    logits, batch_norm_calls, head = result, [], None
    for call in calls:
        # The last calls of these are those at the end.
        softmax = isinstance(call.layer, keras.layers.Softmax)
        if softmax or call.name == "activation":
            if call.layer is ends.softmax:
                logits = call.inputs
        elif call.layer is ends.head:
            head = call
        elif hasattr(call.layer, "moving_mean"):
            batch_norm_calls.append(call)
    return Reading(at_least_float32(logits), batch_norm_calls, head)


def find(result, calls) -> Ends:
    """Which layer's softmax ends a network, and which `Dense`, if any.

    Args:
        result: Tensor `(batch, classes)` of a graph, what the network gave.
        calls: List of the `Call` of the watched layers within.
    """
    softmax, dense, logits = None, None, result
    for call in calls:
        own = isinstance(call.layer, keras.layers.Softmax)
        if own or call.name == "activation":
            if gives(call.outputs, result):
                softmax, logits = call.layer, call.inputs
    for call in calls:
        if type(call.layer) is keras.layers.Dense and call.name == "call":
            # One that puts another function after its kernel is no head.
            own = original(call.layer, "activation")
            linear = own in (None, keras.activations.linear)
            if (linear and gives(call.outputs, logits)) or (
                call.layer is softmax
            ):
                dense = call.layer
    return Ends(softmax, dense)


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


# Parts of the names of what draws random numbers.
RANDOM = (
    "Multinomial",
    "Random",
    "StatefulStandardNormal",
    "StatefulUniform",
    "TruncatedNormal",
)


def is_random(tensor) -> bool:
    """Whether a tensor is made of random numbers.

    Args:
        tensor: Tensor of a graph. What it is made of within a `tf.function`,
            a loop or a condition is not looked at.
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
