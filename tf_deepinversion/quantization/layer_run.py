"""A single layer as a LiteRT file, to measure what it costs on a device."""

import keras
import numpy as np
import tensorflow as tf

from tf_deepinversion.networks.compute_policy import reading
from tf_deepinversion.quantization.conversion import quiet
from tf_deepinversion.quantization.litert import interpreter_of
from tf_deepinversion.quantization.scheme import check_scheme
from tf_deepinversion.quantization.scheme import set_scheme


def on_litert(scheme=None, threads=1):
    """Tells a `pruning.LatencyTable` to measure layers on LiteRT.

    Args:
        scheme: String, as for `quantize`, or None for float32. LiteRT computes
            weights of "int4" as int8, so "int4" is refused. Defaults to None.
        threads: Int, of the interpreter. Defaults to 1.

    Returns:
        A function from a layer and the shape of its input to a function without
        arguments that computes the layer once. It is the `run` of
        `LatencyTable.measure`.

    Raises:
        ValueError: if there is no such scheme, or it is "int4".

    Example:
        >>> run = di.quantization.on_litert("int8")
        >>> compute = run(keras.layers.Conv2D(4, 3), (1, 8, 8, 2))
        >>> compute()
    """
    chosen = scheme and check_scheme(scheme)[0]
    if scheme == "int4":
        raise ValueError(
            "LiteRT unpacks weights of int4 and computes them as int8: measure "
            "\"int8\". Received: scheme='int4'"
        )

    def run(layer, shape):
        interpreter = interpreter_of(_file_of(layer, shape, chosen), threads)
        interpreter.allocate_tensors()
        return interpreter.invoke

    return run


def _file_of(layer, shape, scheme) -> bytes:
    """Converts a layer; its input and output have the scheme's dtype."""
    model = keras.Sequential([keras.Input(batch_shape=shape), layer])
    images = np.random.default_rng(0).normal(size=shape).astype("float32")
    with reading(model, keras.DTypePolicy("float32")), quiet():
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        if scheme:
            # Between layers a file holds no other dtype.
            inside = [scheme.default[1]] * 2
            set_scheme(converter, scheme, inside, per_tensor_dense=False)
            if scheme.in_integers:
                converter.representative_dataset = lambda: [[images]]
        return converter.convert()
