"""Whether TensorFlow computes with a variable on a CPU."""

import tensorflow as tf


def on_cpu(variable) -> bool:
    """Tells whether a `keras.Variable`, and so its layer's calls, is on a CPU.

    >>> on_cpu(keras.Variable([1.0]))
    True
    """
    device = tf.DeviceSpec.from_string(variable.value.device)
    return device.device_type in (None, "CPU")
