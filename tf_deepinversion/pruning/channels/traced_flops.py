"""FLOPs counted in a traced graph, also of a SavedModel."""

import uuid

import tensorflow as tf

from tf_deepinversion.core.keras_internals import with_constants
from tf_deepinversion.networks.forward_work import COUNTED
from tf_deepinversion.networks.forward_work import multiplications

# The attributes of functions that TensorFlow does not inline. Keras computes a
# grouped convolution in such a function.
_NOT_INLINED = ("_XlaMustCompile", "_noinline")


def _inlined(function):
    """Freezes a concrete function, without calls of functions in its graph."""
    frozen = with_constants(function)
    types = {operation.type for operation in frozen.graph.get_operations()}
    if not types & {"PartitionedCall", "StatefulPartitionedCall"}:
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


def _shapes(function, operations) -> list[tuple[int, ...]]:
    """Computes the shapes of the operations' outputs for one image."""
    with function.graph.as_default():
        shapes = [tf.shape(x.outputs[0]) for x in operations]
    whole = function.prune(function.inputs, shapes)
    given = [tf.zeros([n or 1 for n in x.shape], x.dtype) for x in whole.inputs]
    return [tuple(shape.numpy().tolist()) for shape in whole(*given)]


def count_flops(function) -> int:
    """Counts the FLOPs of convolutions and matrix products for one image.

    Each multiplication counts twice. Each call of a function within the graph
    counts, such as those in which Keras computes grouped convolutions.

    Args:
        function: A concrete function of images of a fixed size, such as a
            signature of `tf.saved_model.load`.

    Returns:
        An int.

    Example:
        >>> call = tf.function(lambda x: tf.matmul(x, tf.ones((3, 2))))
        >>> call = call.get_concrete_function(tf.TensorSpec((1, 3)))
        >>> di.pruning.count_flops(call)
        12
    """
    frozen = _inlined(function)
    operations = [
        operation
        for operation in frozen.graph.get_operations()
        if operation.type in COUNTED
    ]
    shapes = _shapes(frozen, operations)
    return 2 * sum(map(multiplications, operations, shapes))


def flops_of_model(model) -> int:
    """Counts the FLOPs of a Keras model with one input of a fixed size.

    Args:
        model: A `keras.Model`.

    Returns:
        An int, see `count_flops`.

    Example:
        >>> di.pruning.flops_of_model(teacher)  # 6 x 6 x 9 x 4 x 2 + 4 x 3 x 2
        2616
    """
    signature = tf.TensorSpec((1, *model.input_shape[1:]), "float32")
    function = tf.function(lambda x: model(x, training=False))
    return count_flops(function.get_concrete_function(signature))
