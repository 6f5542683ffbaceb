"""Equalized networks: equal outputs and equal ranges."""

import keras
import numpy as np
import pytest
from drawn_norms import drawn_norm

from tf_deepinversion.networks.preprocessing import Preprocessing
from tf_deepinversion.quantization import LiteRT
from tf_deepinversion.quantization import equalize
from tf_deepinversion.quantization import quantize

L = keras.layers
PIXELS = Preprocessing(mean=127.5, std=50.0, pixel_range="normalized")
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (20, 8, 8, 1), "uint8")


def normalized(x, name, **kwargs):
    return drawn_norm(x, RANDOM, name, **kwargs)


@pytest.fixture(scope="module")
def model():
    """Depthwise, residual and nested, with channels of unequal ranges."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 1))
    x = normalized(L.Conv2D(6, 3, name="stem")(inputs), "stem_bn")
    x = L.ZeroPadding2D()(L.ReLU()(x))
    x = normalized(L.DepthwiseConv2D(3, name="deep")(x), "deep_bn")
    x = L.Activation("relu")(x)
    x = y = normalized(L.Conv2D(6, 1, name="wide")(x), "wide_bn", center=False)
    y = normalized(L.Conv2D(6, 1, name="left")(y), "left_bn", scale=False)
    y = L.Conv2D(6, 1, name="right")(L.ReLU()(y))
    x = L.Add()([x, y])
    inner = keras.Input((6, 6, 6))
    z = L.Conv2D(5, 3, activation="relu", name="first")(inner)
    z = L.Conv2D(4, 1, name="second")(L.MaxPooling2D()(z))
    x = keras.Model(inner, z, name="inner")(x)
    x = L.ReLU(6.0)(x)
    x = L.Dense(8, activation="relu", name="hidden")(L.Flatten()(x))
    model = keras.Model(inputs, L.Dense(3, name="logits")(x), name="any")
    for name in ("stem_bn", "deep_bn"):
        gamma = model.get_layer(name).gamma
        gamma.assign(gamma * np.geomspace(0.01, 10, 6))
    return model


def outputs(model):
    return model((IMAGES.astype("float32") - 127.5) / 50, training=False)


def folded(model, name, norm=None):
    kernel = np.abs(model.get_layer(name).kernel.numpy())
    if norm:
        bn = model.get_layer(norm)
        factor = bn.gamma / np.sqrt(bn.moving_variance + bn.epsilon)
        depthwise = kernel.shape[-1] == 1
        kernel = kernel * (factor[:, None] if depthwise else factor)
    return np.asarray(kernel)


def test_outputs_stay_and_ranges_are_equal(model):
    before = {w.path: w.numpy() for w in model.weights}
    equal = equalize(model)
    exact = outputs(model).numpy()
    np.testing.assert_allclose(
        outputs(equal), exact, atol=1e-5 * np.abs(exact).max()
    )
    for weight in model.weights:
        np.testing.assert_array_equal(weight, before[weight.path])
    stem = folded(equal, "stem", "stem_bn").max((0, 1, 2))
    deep = folded(equal, "deep", "deep_bn").max((0, 1, 3))
    wide = folded(equal, "wide", "wide_bn").max((0, 1, 3))
    # In a chain, all three have the same range in each channel.
    np.testing.assert_allclose(stem, deep, rtol=1e-3)
    np.testing.assert_allclose(deep, wide, rtol=1e-3)
    inner, old = equal.get_layer("inner"), model.get_layer("inner")
    made = folded(inner, "first").max((0, 1, 2))
    read = folded(inner, "second").max((0, 1, 3))
    np.testing.assert_allclose(made, read, rtol=1e-3)
    np.testing.assert_allclose(
        made * read,
        folded(old, "first").max((0, 1, 2))
        * folded(old, "second").max((0, 1, 3)),
        rtol=1e-3,
    )


def test_what_scales_do_not_pass_is_left_alone(model):
    """Residuals, BatchNormalization without scale, ReLU6."""
    equal = equalize(model)
    for name in ("left", "right"):
        np.testing.assert_array_equal(
            equal.get_layer(name).kernel, model.get_layer(name).kernel
        )
    before, after = (
        x.get_layer("inner").get_layer("second").bias for x in (model, equal)
    )
    np.testing.assert_array_equal(before, after)
    with pytest.raises(ValueError, match="ReLU6.*Received: 'none'"):
        x = inputs = keras.Input((8, 8, 1))
        x = L.Conv2D(2, 1)(L.ReLU(6.0)(L.Conv2D(2, 1)(x)))
        equalize(keras.Model(inputs, x, name="none"))
    with pytest.raises(ValueError, match="functional or sequential"):
        equalize(L.Dense(2))


def test_a_nested_model_of_two_calls_reads_both():
    """As a head that detectors share between the levels of a pyramid."""
    inner = keras.Input((None, None, 4))
    z = L.Conv2D(4, 3, padding="same", activation="relu")(inner)
    head = keras.Model(inner, L.GlobalAveragePooling2D()(z))
    inputs = keras.Input((8, 8, 1))
    x = L.Conv2D(4, 3, padding="same", activation="relu")(inputs)
    y = L.Conv2D(4, 3, 2, padding="same", activation="relu")(x)
    joined = L.Concatenate()([head(x), head(y)])
    joined = L.Dense(8, activation="relu")(joined)
    model = keras.Model(inputs, L.Dense(3)(joined), name="any")
    for layer in (model.layers[1], model.layers[2]):
        layer.kernel.assign(layer.kernel * np.geomspace(0.01, 10, 4))
    np.testing.assert_allclose(
        outputs(equalize(model)), outputs(model), rtol=1e-4, atol=1e-4
    )


def test_relu6_lets_scales_through_as_relu():
    def chain(top):
        keras.utils.set_random_seed(0)
        x = inputs = keras.Input((8, 8, 1))
        x = L.ReLU(top)(L.Conv2D(4, 3, name="first")(x))
        x = L.Conv2D(4, 1, activation="relu6" if top else "relu")(x)
        x = L.Activation("relu6" if top else "relu")(L.Conv2D(3, 1)(x))
        return keras.Model(inputs, L.Dense(3)(L.Flatten()(x)), name="any")

    clipped, plain = chain(6.0), chain(None)
    for model in (clipped, plain):
        kernel = model.get_layer("first").kernel
        kernel.assign(kernel * np.float32([1, 10, 30, 0.1]))
    equal = equalize(clipped, replace_relu6=True)
    exact = outputs(plain).numpy()
    assert np.abs(outputs(clipped) - exact).max() > 0.1
    np.testing.assert_allclose(
        outputs(equal), exact, atol=1e-5 * np.abs(exact).max()
    )
    ranges = folded(equal, "first").max((0, 1, 2))
    assert ranges.max() < 30 * ranges.min()
    assert clipped.layers[2].max_value == 6


def test_int8_profits_where_channels_were_unequal():
    """Ranges of activations from 1 to 3,000 share a single scale."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 1))
    x = normalized(L.Conv2D(6, 3, name="conv")(inputs), "bn")
    x = L.DepthwiseConv2D(3, name="deep")(L.ReLU()(x))
    x = L.Flatten()(L.ReLU()(x))
    model = keras.Model(inputs, L.Dense(3)(x), name="any")
    bn, deep = model.get_layer("bn"), model.get_layer("deep")
    factors = np.geomspace(1, 3000, 6).astype("float32")
    for weight in (bn.gamma, bn.beta):
        weight.assign(weight * factors)
    deep.kernel.assign(deep.kernel / factors[:, None])
    exact = outputs(model).numpy()
    errors = [
        np.abs(LiteRT(quantize(m, IMAGES, PIXELS))(IMAGES) - exact).mean()
        for m in (model, equalize(model))
    ]
    assert errors[1] < errors[0] / 5


def test_a_pooling_whose_channels_come_first_ends_a_pair():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 1))
    x = L.ReLU()(L.Conv2D(6, 3, name="stem")(inputs))
    # It averages over columns and the layers' channels.
    x = L.GlobalAveragePooling2D(data_format="channels_first")(x)
    model = keras.Model(inputs, L.Dense(3, name="logits")(x))
    with pytest.raises(ValueError, match="without such a pair"):
        equalize(model)
