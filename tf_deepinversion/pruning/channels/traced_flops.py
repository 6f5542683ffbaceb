"""FLOPs counted in a traced graph: of a SavedModel, whatever made it."""

import math

import tensorflow as tf

from tf_deepinversion.core.keras_internals import with_constants


def _per_image(operation, output) -> int:
    """Multiplications of one operation, for a batch of one.

    Args:
        operation: A `tf.Operation`.
        output: Tuple of ints, the shape of what it makes of one image.
    """
    kernel = operation.inputs[1].shape.as_list()
    if operation.type == "MatMul":
        inner = kernel[1 if operation.get_attr("transpose_b") else 0]
        return math.prod(output) * inner
    if operation.type == "Conv2DBackpropInput":
        output = operation.inputs[2].shape.as_list()
    return math.prod(output[1:-1]) * math.prod(kernel)


def _shapes(function, operations) -> list[tuple[int, ...]]:
    """Of what operations make of one image; a graph may leave them open."""
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
    """Two for each multiplication of convolutions and matrices, an image.

    Args:
        function: A concrete function, such as a signature of
            `tf.saved_model.load`, of images of a fixed size.
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
    """As `count_flops`, of a Keras model with one input of a fixed size."""
    signature = tf.TensorSpec((1, *model.input_shape[1:]), "float32")
    function = tf.function(lambda x: model(x, training=False))
    return count_flops(function.get_concrete_function(signature))
