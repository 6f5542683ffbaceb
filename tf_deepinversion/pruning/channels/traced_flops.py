"""FLOPs counted in a traced graph, also of a SavedModel."""

import tensorflow as tf

from tf_deepinversion.core.keras_internals import with_constants
from tf_deepinversion.networks.forward_work import COUNTED
from tf_deepinversion.networks.forward_work import multiplications


def _shapes(function, operations) -> list[tuple[int, ...]]:
    """Computes the shapes of the operations' outputs for one image."""
    with function.graph.as_default():
        shapes = [tf.shape(x.outputs[0]) for x in operations]
    whole = function.prune(function.inputs, shapes)
    given = [tf.zeros([n or 1 for n in x.shape], x.dtype) for x in whole.inputs]
    return [tuple(shape.numpy().tolist()) for shape in whole(*given)]


def count_flops(function) -> int:
    """Counts the FLOPs of convolutions and matrix products for one image.

    Each multiplication counts twice.

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
    frozen = with_constants(function)
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
