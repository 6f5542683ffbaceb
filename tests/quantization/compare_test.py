"""The error of each layer against the same numbers by NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_deepinversion.networks.preprocessing import Preprocessing
from tf_deepinversion.quantization import LiteRT
from tf_deepinversion.quantization import compare
from tf_deepinversion.quantization import quantize
from tf_deepinversion.quantization import to_litert
from tf_deepinversion.quantization import without_names
from tf_deepinversion.reports import ratio_bars

L = keras.layers
PIXELS = Preprocessing(mean=127.5, std=50.0, pixel_range="normalized")
IMAGES = np.random.default_rng(0).integers(0, 256, (13, 8, 8, 1), "uint8")


def normalized(x):
    """A BatchNormalization with statistics that are not the initial ones."""
    random = np.random.default_rng(1)
    bn = L.BatchNormalization()
    x = bn(x)
    for variable in bn.weights:
        variable.assign(random.uniform(0.5, 2, variable.shape))
    return x


@pytest.fixture(scope="module")
def model():
    """Layers that the converter joins, operators, a nested and a shared one."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 1))
    x = normalized(L.Conv2D(6, 3, padding="same", name="stem")(inputs))
    x = L.ReLU(name="stem_relu")(x)
    y = normalized(L.DepthwiseConv2D(3, padding="same", name="depthwise")(x))
    y = L.ReLU(6.0, name="relu6")(y)
    y = normalized(L.Conv2D(6, 1, use_bias=False, name="linear")(y))
    x = L.Add(name="sum")([x, y])
    shared = L.Conv2D(6, 1, activation="relu", name="shared")
    x = keras.ops.relu(normalized(shared(shared(x))))
    inner = keras.Input((8, 8, 6))
    pooled = L.MaxPooling2D(name="pool")(inner)
    x = keras.Model(inner, pooled, name="inner")(x)
    x = L.Dropout(0.5, name="dropout")(L.Flatten(name="flat")(x))
    return keras.Model(inputs, L.Dense(3, name="logits")(x), name="any")


HELD = (
    *("stem_relu", "relu6", "batch_normalization", "sum", "shared"),
    *("shared 2", "pool", "flat", "logits"),
)


def plain(names):
    """Names without the numbers that Keras gives them."""
    return [
        "batch_normalization" if n.startswith("batch") else n for n in names
    ]


def exact(model, name, images):
    output = model.get_layer(name).output
    z = (images.astype("float32") - 127.5) / 50
    return keras.Model(model.input, output)(z, training=False).numpy()


def by_plain_kernels(content):
    """The logits by an interpreter that does not keep all tensors."""
    served = LiteRT(content)
    resolvers = tf.lite.experimental.OpResolverType
    served._interpreter = tf.lite.Interpreter(
        model_content=content,
        experimental_op_resolver_type=(
            resolvers.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        ),
    )
    return served(IMAGES)


def ratio(signal, other):
    return 10 * np.log10(np.sum(signal**2) / np.sum((signal - other) ** 2))


@pytest.mark.slow
def test_the_float_file_has_every_layer_s_numbers(model):
    """A tensor that was taken for another layer's would be far off."""
    content = to_litert(model, PIXELS)
    found = compare(model, content, IMAGES, PIXELS)
    assert plain(found) == list(HELD)
    assert min(found.values()) > 100


@pytest.mark.slow
def test_the_ratio_is_that_of_the_file_s_numbers(model):
    content = quantize(model, IMAGES, PIXELS, batch_size=4)
    found = compare(model, content, IMAGES, PIXELS)
    assert plain(found) == list(HELD)
    logits = exact(model, "logits", IMAGES)
    assert found["logits"] == pytest.approx(
        ratio(logits, by_plain_kernels(content)), abs=1e-3
    )
    # The kernels of the delegate round otherwise.
    expected = ratio(logits, LiteRT(content)(IMAGES))
    assert found["logits"] == pytest.approx(expected, abs=2)
    # The first activation has the error of its own steps, and little else.
    first = exact(model, "stem_relu", IMAGES)
    step = first.max() / 255
    rounded = np.rint(first / step) * step
    assert ratio(first, rounded) - 8 < found["stem_relu"]
    assert found["stem_relu"] < ratio(first, rounded) + 0.5
    assert min(found.values()) > 10


def test_what_the_names_get_wrong_is_left_out():
    """Without an offset the converter names no BatchNormalization."""
    keras.utils.set_random_seed(0)
    bn = L.BatchNormalization(name="bn")
    chain = (L.Conv2D(4, 3, name="conv"), bn, L.Activation("silu", name="silu"))
    model = keras.Sequential(
        [keras.Input((8, 8, 1)), *chain, L.Flatten(), L.Dense(3, name="last")],
        name="any",
    )
    bn.gamma.assign(bn.gamma * 2)
    found = compare(model, to_litert(model, PIXELS), IMAGES[:2], PIXELS)
    assert "conv" not in found and found["silu"] > 100
    assert list(found)[-1] == "last"
    other = keras.Sequential(
        [keras.Input((8, 8, 1)), L.Flatten(), L.Dense(3)], name="other"
    )
    content = to_litert(other, PIXELS)
    with pytest.raises(ValueError, match="with its layers' names"):
        compare(model, content, IMAGES, PIXELS)
    with pytest.raises(ValueError, match=r"shape \(8, 8, 1\)"):
        compare(other, content, np.zeros((2, 9, 9, 1), "uint8"), PIXELS)


def test_equal_names_in_nested_models_are_told_apart():
    def block(channels, name):
        inputs = keras.Input((8, 8, channels))
        x = L.Conv2D(4, 3, padding="same", name="conv")(inputs)
        x = L.Activation("relu", name="act")(x)
        return keras.Model(inputs, x, name=name)

    nested = [block(1, "a"), block(4, "b")]
    model = keras.Sequential(
        [keras.Input((8, 8, 1)), *nested, L.Flatten(), L.Dense(3)], name="any"
    )
    found = compare(model, to_litert(model, PIXELS), IMAGES[:2], PIXELS)
    assert {"act", "act 2"} <= set(found) and None not in found
    assert all(ratio > 80 for ratio in found.values())


def test_bars_are_as_long_as_the_ratios():
    drawn = ratio_bars(
        {"a<b": 10.0, "c": 40.0, "d": float("inf"), "e": -3.0}, "Error"
    )
    assert "a&lt;b" in drawn and drawn.count("<rect") == 4
    for width in (90, 360, 0):
        assert f'width="{width}" ' in drawn
    assert ">10.0 dB<" in drawn and ">no error<" in drawn
    assert ratio_bars({}, "Error") == ""


def test_a_file_without_names_computes_the_same_and_cannot_be_compared(model):
    content = quantize(model, IMAGES, PIXELS, 0)
    small = without_names(content)
    details = LiteRT(content)._interpreter.get_tensor_details()
    assert len(content) - len(small) >= sum(len(t["name"]) for t in details)
    np.testing.assert_array_equal(
        LiteRT(small)(IMAGES), LiteRT(content)(IMAGES)
    )
    assert LiteRT(small).ops == LiteRT(content).ops
    with pytest.raises(ValueError, match="without layers of the network"):
        compare(model, small, IMAGES, PIXELS)
    with pytest.raises(ValueError):
        without_names(b"no model at all")
