"""Gives each operation a bias in its own scale.

The converter stores equal biases once. In `int16x8`, the file then reads the
bias of a layer that is called twice, or of two layers with equal biases, in the
scale of the first operation: its answers would be wrong.
"""

import copy

import numpy as np

from tf_deepinversion.quantization.file.model_file import own_input
from tf_deepinversion.quantization.file.model_file import products
from tf_deepinversion.quantization.file.model_file import read_model
from tf_deepinversion.quantization.file.model_file import scale_of
from tf_deepinversion.quantization.file.model_file import write_model

_BIAS = 2  # among the inputs: features, kernel, bias
_ROUNDING = 1e-3


def with_own_biases(content) -> bytes:
    """Restores the scale of each bias, s_input s_kernel.

    Args:
        content: Bytes of a `.tflite` file in integers.

    Returns:
        Bytes of a `.tflite` file, the same bytes if all scales are right.
    """
    model, changed = read_model(content), False
    for graph, operation in products(model):
        if len(operation.inputs) <= _BIAS or operation.inputs[_BIAS] < 0:
            continue
        features, kernel, bias = (graph.tensors[i] for i in operation.inputs)
        scale = scale_of(features) * scale_of(kernel)
        ratio = scale_of(bias) / scale
        if np.allclose(ratio, 1, rtol=_ROUNDING):
            continue
        changed = True
        bias = own_input(graph, operation, _BIAS)
        buffer = copy.deepcopy(model.buffers[bias.buffer])
        dtype = {4: "int32", 8: "int64"}[_bytes_of(buffer, bias)]
        values = np.asarray(buffer.data, "uint8").view(dtype)
        info = np.iinfo(dtype)
        values = np.clip(np.rint(values * ratio), info.min, info.max)
        buffer.data = np.frombuffer(values.astype(dtype).tobytes(), "uint8")
        model.buffers.append(buffer)
        bias.buffer = len(model.buffers) - 1
        bias.quantization.scale = scale.astype("float32")
    return write_model(model) if changed else content


def _bytes_of(buffer, tensor) -> int:
    """Returns the number of bytes of each value of a tensor."""
    return len(buffer.data) // int(np.prod(tensor.shape))
