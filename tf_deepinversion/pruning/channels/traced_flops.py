"""FLOPs counted in a traced graph, also of a SavedModel."""

import math

import tensorflow as tf

from tf_deepinversion.core.keras_internals import with_constants


def _per_image(operation, output) -> int:
    """Counts the multiplications of one operation for one image.

    Args:
        operation: A `tf.Operation`.
        output: Tuple of ints, the shape of its output for one image.
    """
    kernel = operation.inputs[1].shape.as_list()
    # Each output of a matrix product is a sum over the inner size.
    if operation.type == "MatMul":
        inner = kernel[1 if operation.get_attr("transpose_b") else 0]
        return math.prod(output) * inner
    # A transposed convolution applies its kernel at each position of its input.
    if operation.type == "Conv2DBackpropInput":
        output = operation.inputs[2].shape.as_list()
    # A convolution applies its whole kernel at each position.
    return math.prod(output[1:-1]) * math.prod(kernel)


def _shapes(function, operations) -> list[tuple[int, ...]]:
    """Computes the shapes of the operations' outputs for one image."""
    with function.graph.as_default():
        shapes = [tf.shape(x.outputs[0]) for x in operations]
    whole = function.prune(function.inputs, shapes)
    given = [tf.zeros([n or 1 for n in x.shape], x.dtype) for x in whole.inputs]
    return [tuple(shape.numpy().tolist()) for shape in whole(*given)]


COUNTED = (
    "Conv2D",
    "Conv2DBackpropInput",
    "Conv3D",
    "DepthwiseConv2dNative",
    "MatMul",
)


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
    return 2 * sum(map(_per_image, operations, shapes))


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
