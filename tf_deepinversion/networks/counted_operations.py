"""The operations of a traced graph that do most of a network's work."""

import math
import uuid

import numpy as np
import tensorflow as tf

from tf_deepinversion.core.keras_internals import with_constants

# A product of stacks of matrices, such as the projections of an attention.
_BATCHED = {"BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"}

COUNTED = {
    "Conv2D",
    "Conv2DBackpropInput",
    "Conv3D",
    "Conv3DBackpropInputV2",
    "DepthwiseConv2dNative",
    "Einsum",
    "MatMul",
    *_BATCHED,
}
_CALLS = {"PartitionedCall", "StatefulPartitionedCall"}
# A graph does not say how often, or whether, it runs the functions of these.
_BRANCHES = {
    f"{prefix}{kind}"
    for prefix in ("", "Stateless")
    for kind in ("Case", "If", "While")
}

# The attributes of functions that TensorFlow does not inline. Keras computes a
# grouped convolution in such a function.
_NOT_INLINED = ("_XlaMustCompile", "_noinline")


def counted_operations(function) -> list:
    """Finds the convolutions and matrix products of a graph.

    Each call of a function within the graph counts, such as those in which
    Keras computes grouped convolutions. Sizes that the graph leaves open are
    those for one image.

    Args:
        function: A concrete function of images of a fixed size, such as a
            signature of `tf.saved_model.load`.

    Returns:
        List of triples: a `tf.Operation`; the shapes of its inputs, a list of
        lists of ints; and the shape of its output, a list of ints.
    """
    operations = _counted(function.graph)
    shapes = [x.shape for each in operations for x in _tensors(each)]
    known = all(shape.is_fully_defined() for shape in shapes)
    if known and not _types(function.graph) & _CALLS:
        sizes = [shape.as_list() for shape in shapes]
    else:
        function = _inlined(function)
        operations = _counted(function.graph)
        sizes = _sizes(function, operations)
    left, found = iter(sizes), []
    for operation in operations:
        *inputs, output = [next(left) for _ in _tensors(operation)]
        found.append((operation, inputs, output))
    return found


def uncounted_types(function) -> set:
    """Finds the types of operations in loops and branches of a graph.

    Args:
        function: A concrete function.

    Returns:
        A set of strings, of the types in `COUNTED` that `counted_operations`
        leaves out.
    """
    graph = function.graph.as_graph_def()
    bodies = {each.signature.name: each for each in graph.library.function}
    nodes = [*graph.node, *(x for b in bodies.values() for x in b.node_def)]
    left = [node for node in nodes if node.op in _BRANCHES]
    seen, found = set(), set()
    while left:
        for value in left.pop().attr.values():
            called = [value.func] if value.HasField("func") else value.list.func
            for name in {each.name for each in called} & bodies.keys() - seen:
                seen.add(name)
                left.extend(bodies[name].node_def)
                found.update(x.op for x in bodies[name].node_def)
    return found & COUNTED


def multiplications(operation, inputs, output) -> int:
    """Counts the multiplications of one operation.

    Args:
        operation: A `tf.Operation` of a type in `COUNTED`.
        inputs: List of lists of ints, the shapes of its inputs.
        output: List of ints, the shape of its output.
    """
    if operation.type == "Einsum":
        return _of_einsum(operation, inputs)
    kernel = inputs[1]
    # Each output of a matrix product is a sum over the inner size.
    if operation.type == "MatMul":
        inner = kernel[1 if operation.get_attr("transpose_b") else 0]
        return math.prod(output) * inner
    if operation.type in _BATCHED:
        inner = kernel[-1 if operation.get_attr("adj_y") else -2]
        return math.prod(output) * inner
    # A transposed convolution applies its kernel at each position of its input.
    if operation.type in ("Conv2DBackpropInput", "Conv3DBackpropInputV2"):
        output = inputs[2]
    # A convolution applies its whole kernel at each position.
    return math.prod(output[:-1]) * math.prod(kernel)


def _of_einsum(operation, inputs):
    """Counts one multiplication for each set of values of all indices."""
    if len(inputs) < 2:  # such as a transposition
        return 0
    sizes, dots = {}, []
    names = operation.get_attr("equation").decode().split("->")[0].split(",")
    for name, shape in zip(names, inputs, strict=True):
        before, _, after = name.partition("...")
        end = len(shape) - len(after)
        sizes.update(zip(before, shape[: len(before)], strict=True))
        sizes.update(zip(after, shape[end:], strict=True))
        dots.append(shape[len(before) : end])  # none without an ellipsis
    # The axes of ellipses are broadcast.
    return math.prod([*sizes.values(), *np.broadcast_shapes(*dots)])


def _tensors(operation):
    return [*operation.inputs, operation.outputs[0]]


def _types(graph):
    return {operation.type for operation in graph.get_operations()}


def _counted(graph):
    return [x for x in graph.get_operations() if x.type in COUNTED]


def _inlined(function):
    """Freezes a concrete function, without calls of functions in its graph."""
    frozen = with_constants(function)
    if not _types(frozen.graph) & _CALLS:
        return frozen
    graph = _inlinable(frozen.graph.as_graph_def())
    whole = tf.compat.v1.wrap_function(
        lambda: tf.import_graph_def(graph, name=""), []
    )
    ends = [
        [whole.graph.get_tensor_by_name(tensor.name) for tensor in tensors]
        for tensors in (frozen.inputs, frozen.outputs)
    ]
    return with_constants(whole.prune(*ends))


def _inlinable(graph):
    """Changes a `GraphDef` so that TensorFlow inlines all its functions."""
    # TensorFlow knows the functions as they were by their names.
    suffix = uuid.uuid4().hex
    functions = graph.library.function
    for each in functions:
        each.signature.name += suffix
    inner = [node for each in functions for node in each.node_def]
    for part in [*functions, *graph.node, *inner]:
        for name in _NOT_INLINED:
            part.attr.pop(name, None)
        for value in part.attr.values():
            called = [value.func] if value.HasField("func") else value.list.func
            for each in called:
                each.name += suffix
    return graph


def _sizes(function, operations) -> list:
    """Computes the shapes of the operations' tensors for one image."""
    with function.graph.as_default():
        shapes = [tf.shape(x) for each in operations for x in _tensors(each)]
    whole = function.prune(function.inputs, shapes)
    given = [tf.zeros([n or 1 for n in x.shape], x.dtype) for x in whole.inputs]
    return [shape.numpy().tolist() for shape in whole(*given)]
