"""FLOPs counted in a traced graph, also of a SavedModel."""

import tensorflow as tf

from tf_deepinversion.core.caller_warnings import warn_caller
from tf_deepinversion.networks.counted_operations import counted_operations
from tf_deepinversion.networks.counted_operations import multiplications
from tf_deepinversion.networks.counted_operations import uncounted_types


def count_flops(function) -> int:
    """Counts the FLOPs of convolutions and matrix products for one image.

    Each multiplication counts twice. Each call of a function within the graph
    counts, such as those in which Keras computes grouped convolutions.

    Args:
        function: A concrete function of images of a fixed size, such as a
            signature of `tf.saved_model.load`.

    Returns:
        An int.

    Warns:
        UserWarning: if the graph multiplies within loops or branches, which do
            not count.

    Example:
        >>> call = tf.function(lambda x: tf.matmul(x, tf.ones((3, 2))))
        >>> call = call.get_concrete_function(tf.TensorSpec((1, 3)))
        >>> di.pruning.count_flops(call)
        12
    """
    left_out = uncounted_types(function)
    if left_out:
        warn_caller(
            "A loop or a branch runs as often as its inputs say, so its FLOPs "
            f"do not count. Received: {', '.join(sorted(left_out))} within"
        )
    return 2 * sum(multiplications(*x) for x in counted_operations(function))


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
