"""A layer alone on LiteRT computes what it computes in Keras."""

import keras
import numpy as np
import pytest
from keras import layers

from tf_deepinversion.quantization import on_litert

SHAPE = (2, 6, 5, 3)


@pytest.mark.parametrize("scheme", [None, "int8"])
def test_a_layer_computes_on_litert(scheme):
    layer = layers.Conv2D(4, 3, strides=2, dtype="mixed_bfloat16")
    compute = on_litert(scheme)(layer, SHAPE)
    interpreter = compute.__self__
    (given,) = interpreter.get_input_details()
    (made,) = interpreter.get_output_details()
    dtype = np.int8 if scheme else np.float32
    assert given["dtype"] == made["dtype"] == dtype
    assert given["shape"].tolist() == list(SHAPE)
    images = np.random.default_rng(0).normal(size=SHAPE).astype("float32")
    scale, zero = given["quantization"] if scheme else (1, 0)
    numbers = images / scale + zero
    if scheme:
        numbers = np.rint(numbers).clip(-128, 127)
    interpreter.set_tensor(given["index"], numbers.astype(dtype))
    compute()
    found = interpreter.get_tensor(made["index"]).astype("float32")
    step = 1e-6
    if scheme:
        step, zero = made["quantization"]
        found = (found - zero) * step
    kernel = keras.ops.convert_to_numpy(layer.kernel)
    windows = np.lib.stride_tricks.sliding_window_view(images, (3, 3), (1, 2))
    expected = np.einsum("nhwcyx,yxco->nhwo", windows[:, ::2, ::2], kernel)
    np.testing.assert_allclose(found, expected, atol=3 * step)


def test_a_dynamic_layer_computes_between_floats():
    layer = layers.Conv2D(64, 3)  # 1,728 weights
    interpreter = on_litert("dynamic")(layer, SHAPE).__self__
    rounded = [
        t["shape"].tolist()
        for t in interpreter.get_tensor_details()
        if t["dtype"] == np.int8
    ]
    assert rounded == [[64, 3, 3, 3]]  # the weights, and no activation
    for details in (
        *interpreter.get_input_details(),
        *interpreter.get_output_details(),
    ):
        assert details["dtype"] == np.float32


def test_no_such_scheme():
    with pytest.raises(ValueError, match="measure \"int8\".*'int4'"):
        on_litert("int4")
    with pytest.raises(ValueError, match="Received: scheme='int2'"):
        on_litert("int2")
