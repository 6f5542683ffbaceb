"""The work of a network's forward pass, counted in its graph."""

import math
import weakref

import tensorflow as tf

# The operations that do most of the work of a network for images.
COUNTED = (
    "Conv2D",
    "Conv2DBackpropInput",
    "Conv3D",
    "DepthwiseConv2dNative",
    "MatMul",
)

# Few channels make few multiplications for each output, and the time then goes
# into reading and writing the outputs. On two cores, the steps of ResNets of 8
# and 16 channels take times in which an output counts like this many
# multiplications.
_PER_OUTPUT = 300

# Tracing a network takes seconds, and the parts of a job ask for the same work.
_KNOWN = weakref.WeakKeyDictionary()

# A step takes about three forward passes: the gradients of the inputs and of
# the weights take one each. An inversion has no gradients of weights, and the
# statistics of the layers take about as long.
PASSES = 3


def multiplications(operation, output) -> int:
    """Counts the multiplications of one operation.

    Args:
        operation: A `tf.Operation` of a type in `COUNTED`.
        output: List of ints, the shape of its output.
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
    return math.prod(output[:-1]) * math.prod(kernel)


def forward_work(model, input_shape) -> float | None:
    """Estimates the work of a forward pass for one input.

    The estimate predicts times, so it also counts the outputs that are written.

    Args:
        model: A `keras.Model`.
        input_shape: Tuple of ints, the shape of one input.

    Returns:
        A float, in multiplications; None if nothing could be counted.

    Example:
        >>> work = forward_work(teacher, (8, 8, 1))
        >>> work  # 6 x 6 x 9 x 4 + 4 x 3, and 300 for each of 147 outputs
        45408.0
    """
    known = _KNOWN.setdefault(model, {})
    if tuple(input_shape) not in known:
        known[tuple(input_shape)] = _traced_work(model, input_shape)
    return known[tuple(input_shape)]


def _traced_work(model, input_shape):
    call = tf.function(lambda x: model(x, training=False), autograph=False)
    # A network may fix its batch size.
    count = getattr(model, "input_shape", [None])[0] or 1
    signature = tf.TensorSpec((count, *input_shape), "float32")
    work = 0.0
    for operation in call.get_concrete_function(
        signature
    ).graph.get_operations():
        if operation.type in COUNTED:
            output = operation.outputs[0].shape
            if not output.is_fully_defined():
                return None
            work += multiplications(operation, output.as_list())
            work += _PER_OUTPUT * output.num_elements()
    return work / count or None
