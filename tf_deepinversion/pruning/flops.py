"""FLOPs counted in a traced graph: of a SavedModel, whatever made it."""

import math

import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import (
    convert_variables_to_constants_v2,
)


def _per_image(operation) -> int:
    """Multiplications of one operation, for a batch of one."""
    if operation.type == "MatMul":
        left, out = operation.inputs[0].shape, operation.outputs[0].shape
        inner = left[0 if operation.get_attr("transpose_a") else 1]
        return (out[0] or 1) * inner * out[1]
    kernel = operation.inputs[1].shape.as_list()
    if operation.type == "Conv2DBackpropInput":
        places = operation.inputs[2].shape.as_list()[1:-1]
        return math.prod(places) * math.prod(kernel)
    places = operation.outputs[0].shape.as_list()[1:-1]
    return math.prod(places) * math.prod(kernel)


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
    graph = convert_variables_to_constants_v2(function).graph
    return 2 * sum(
        _per_image(operation)
        for operation in graph.get_operations()
        if operation.type in COUNTED
    )


def flops_of_model(model) -> int:
    """As `count_flops`, of a Keras model with one input of a fixed size."""
    signature = tf.TensorSpec((1, *model.input_shape[1:]), "float32")
    function = tf.function(lambda x: model(x, training=False))
    return count_flops(function.get_concrete_function(signature))
