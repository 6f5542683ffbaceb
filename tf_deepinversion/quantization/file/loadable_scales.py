"""Lowers scales that LiteRT's fast kernels refuse.

A layer whose outputs are 0 on every calibration image, such as a ReLU layer
that died in pruning, gets the converter's smallest scale. XNNPACK then loads no
part of the file.
"""

import numpy as np

from tf_deepinversion.quantization.file.model_file import own_input
from tf_deepinversion.quantization.file.model_file import products
from tf_deepinversion.quantization.file.model_file import read_model
from tf_deepinversion.quantization.file.model_file import scale_of
from tf_deepinversion.quantization.file.model_file import write_model

_LIMIT = 256.0


def with_loadable_scales(content) -> bytes:
    """Bounds the step of a product, in steps of the output that it is part of.

    With scales s, a convolution or a dense layer multiplies its integer sums by
    m = s_input s_kernel / s_output. XNNPACK requires m < 256. An m above it is
    lowered to 128 by the scales of the kernel and of the bias: all 256 levels
    of such an output lie within one step of a product and are noise.

    Args:
        content: Bytes of a `.tflite` file in integers.

    Returns:
        Bytes of a `.tflite` file, the same bytes if no m is too large.
    """
    model, changed = read_model(content), False
    for graph, operation in products(model):
        *factors, product = (
            scale_of(graph.tensors[i])
            for i in (*operation.inputs[:2], operation.outputs[0])
        )
        multiplier = factors[0] * factors[1] / product
        if np.all(multiplier < _LIMIT):
            continue
        changed = True
        lower = np.where(
            multiplier < _LIMIT, 1, _LIMIT / 2 / np.abs(multiplier)
        )
        _scale_inputs(operation, graph, lower)
    return write_model(model) if changed else content


def _scale_inputs(operation, graph, factors):
    """Multiplies the scales of the kernel and of the bias of an operation."""
    for place in range(1, len(operation.inputs)):
        if operation.inputs[place] < 0:  # no bias
            continue
        tensor = own_input(graph, operation, place)
        scale = scale_of(tensor) * factors
        tensor.quantization.scale = scale.astype("float32")
