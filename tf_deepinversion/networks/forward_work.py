"""The work of a network's forward pass, counted in its graph."""

import math
import weakref

import tensorflow as tf

from tf_deepinversion.networks.counted_operations import counted_operations
from tf_deepinversion.networks.counted_operations import multiplications

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
    traced = call.get_concrete_function(signature)
    for operation, inputs, output in counted_operations(traced):
        work += multiplications(operation, inputs, output)
        work += _PER_OUTPUT * math.prod(output)
    return work / count or None
