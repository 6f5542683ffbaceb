"""Files with weights of 4 bits, against kernels rounded in NumPy."""

import keras
import numpy as np
import pytest

from tf_deepinversion.networks.copies import copy_of
from tf_deepinversion.networks.preprocessing import Preprocessing
from tf_deepinversion.quantization import LiteRT
from tf_deepinversion.quantization import quantize
from tf_deepinversion.quantization.file.file_operations import operations_of

layers = keras.layers
PIXELS = Preprocessing(mean=127.5, std=60.0, pixel_range=(-1, 1))
IMAGES = np.random.default_rng(0).integers(0, 256, (24, 8, 8, 3), "uint8")


def one_output():
    x = inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, activation="relu")(x)
    return keras.Model(
        inputs, layers.Dense(1)(layers.GlobalAveragePooling2D()(x))
    )


def shared_layer():
    x = inputs = keras.Input((8, 8, 3))
    shared = layers.Conv2D(4, 3, padding="same", activation="relu")
    x = layers.Conv2D(4, 3, padding="same", activation="relu")(x)
    x = layers.GlobalAveragePooling2D()(shared(shared(x)))
    return keras.Model(inputs, layers.Dense(3)(x))


def equal_biases():
    """Two layers of equal inputs, scales and biases."""
    x = inputs = keras.Input((8, 8, 3))
    a, b = (layers.Conv2D(4, 3, activation="relu") for _ in range(2))
    x = layers.Concatenate()([a(x), b(x)])
    return keras.Model(
        inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x))
    )


def separable():
    x = inputs = keras.Input((8, 8, 3))
    x = layers.SeparableConv2D(
        6, 3, depth_multiplier=2, strides=2, padding="same", activation="relu"
    )(x)
    return keras.Model(
        inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x))
    )


def on_seven_levels(kernel, outputs):
    """Rounds a kernel, whose last axes number the outputs, in NumPy."""
    largest = np.abs(kernel).max(tuple(range(kernel.ndim - outputs)))
    return np.rint(kernel * 7 / largest) * largest / 7


@pytest.mark.parametrize(
    "network", [one_output, shared_layer, equal_biases, separable]
)
def test_the_file_is_the_network_with_rounded_kernels(network):
    keras.utils.set_random_seed(0)
    model, random = network(), np.random.default_rng(1)
    for variable in model.weights:
        variable.assign(random.normal(size=variable.shape))
    if network is equal_biases:
        a, b = model.layers[1:3]
        b.kernel.assign(-a.kernel)
        b.bias.assign(a.bias)
    rounded = copy_of(model)
    for layer in rounded.layers:
        for name in ("kernel", "pointwise_kernel", "depthwise_kernel"):
            if hasattr(layer, name):
                held = getattr(layer, name)
                outputs = 2 if name == "depthwise_kernel" else 1
                held.assign(on_seven_levels(held.numpy(), outputs))
    expected = rounded(PIXELS.fed(IMAGES), training=False).numpy()
    content = quantize(model, IMAGES, PIXELS, 0, scheme="int4")
    weights = [
        operation.inputs[1].dtype
        for operation in operations_of(content)
        if operation.name.endswith(("CONV_2D", "FULLY_CONNECTED"))
    ]
    assert weights.count("int4") >= len(weights) - (network is one_output)
    found = LiteRT(content)(IMAGES)
    noise = np.square(found - expected).mean() / np.square(expected).mean()
    assert -10 * np.log10(noise) > 35  # in decibels


@pytest.mark.parametrize(
    ("network", "dtype"),
    [
        (one_output, "float16"),
        (one_output, "bfloat16"),
        (one_output, "float64"),
        (separable, "float16"),
        pytest.param(separable, "bfloat16", marks=pytest.mark.slow),
    ],
)
def test_variables_of_any_precision_are_read_in_float32(network, dtype):
    policy = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy(dtype)
        narrow = network()
    finally:
        keras.config.set_dtype_policy(policy)
    plain = network()
    for mine, given in zip(plain.weights, narrow.weights, strict=True):
        mine.assign(np.asarray(given).astype("float32"))
    found, expected = (
        LiteRT(quantize(m, IMAGES, PIXELS, 0, scheme="int4"))(IMAGES)
        for m in (narrow, plain)
    )
    np.testing.assert_array_equal(found, expected)
