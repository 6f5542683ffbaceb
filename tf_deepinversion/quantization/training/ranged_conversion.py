"""Conversion of a network whose ranges a training has found."""

import keras
import numpy as np
import tensorflow as tf

from tf_deepinversion.networks.compute_policy import reading
from tf_deepinversion.quantization.conversion import converted
from tf_deepinversion.quantization.file.integers_alone import (
    require_integers_alone,
)
from tf_deepinversion.quantization.layers.kernels import has_kernel
from tf_deepinversion.quantization.layers.kernels import is_depthwise
from tf_deepinversion.quantization.layers.kernels import largest
from tf_deepinversion.quantization.layers.kernels import on_grid
from tf_deepinversion.quantization.layers.layer_graph import LayerGraph
from tf_deepinversion.quantization.scheme import scheme_named
from tf_deepinversion.quantization.training.simulation import Simulation


def converted_with_ranges(
    model, ranges, preprocessing, scheme, dtypes, batch_size=None
) -> bytes:
    """Converts a network with given ranges of its activations.

    The file computes what the simulation computes: its kernels are the model's,
    rounded and joined with BatchNormalization.

    Args:
        model: A functional or sequential `keras.Model`.
        ranges: Dict from names to pairs of floats, of `train_quantized`.
        preprocessing: The model's `Preprocessing`.
        scheme: String, "int8" or "int4".
        dtypes: Pair of strings, the dtypes of the input and of the output.
        batch_size: As for `quantize`.

    Returns:
        Bytes of a `.tflite` file, with weights of 8 bits.

    Raises:
        ValueError: if the ranges are not the network's, or if LiteRT computes a
            layer in float.
    """
    chosen = scheme_named(scheme)
    with reading(model, keras.DTypePolicy("float32")):
        simulation = Simulation(model, chosen.bits, preprocessing)
        simulation.load(ranges)

    def prepare(converter, _):
        # Without calibration, the converter takes the ranges from the graph.
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.inference_input_type = tf.as_dtype(dtypes[0])
        converter.inference_output_type = tf.as_dtype(dtypes[1])

    content = converted(
        model,
        preprocessing,
        None,
        batch_size,
        prepare,
        chosen.holds,
        simulation.file_of,
    )
    require_integers_alone(content, model, scheme, trained=True)
    return content


def require_on_grid(model, scheme):
    """Refuses a network whose kernels changed after `train_quantized`.

    Raises:
        ValueError: if a kernel does not lie on the scheme's grid, or has a
            mask.
    """
    bits = scheme_named(scheme).bits
    for node in LayerGraph(model).nodes:
        layer = node.operation
        if not has_kernel(layer):
            continue
        off = np.abs(
            on_grid(layer.kernel, bits, is_depthwise(layer)) - layer.kernel
        )
        step = largest(layer.kernel, is_depthwise(layer)) / (
            2 ** (bits - 1) - 1
        )
        if np.any(off > 0.01 * np.asarray(step)):
            raise ValueError(
                "Expected the network that `train_quantized` returned, with "
                f"kernels on the grid of scheme={scheme!r}: prune and train "
                "first, and quantize last. Received: a kernel off the grid in "
                f"{layer.name!r}"
            )
