"""Refuses files whose weights of float16 are too large for it."""

import numpy as np

from tf_deepinversion.core.keras_internals import litert_schema
from tf_deepinversion.quantization.file.model_file import read_model


def require_float16(content):
    """Reads a file back: the converter cuts large weights without a word.

    Args:
        content: Bytes of a `.tflite` file.

    Raises:
        ValueError: if a weight of float16 has the largest value, or none.
    """
    model, limit = read_model(content), np.finfo("float16").max
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            data = model.buffers[tensor.buffer].data
            if (
                tensor.type != litert_schema().TensorType.FLOAT16
                or data is None
            ):
                continue
            values = np.asarray(data, "uint8").view("float16")
            if not (np.abs(values) < limit).all():
                raise ValueError(
                    f"A weight of float16 lies within {limit:g}: `equalize` "
                    "the model first, or take another scheme. Received: a "
                    f"larger weight in {tensor.name.decode()!r}"
                )
