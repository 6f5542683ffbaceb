"""Networks with normalizations of each image as files in integers."""

import keras
import numpy as np
import pytest
from keras import layers

from tf_deepinversion import Preprocessing
from tf_deepinversion.quantization import LiteRT
from tf_deepinversion.quantization import quantize
from tf_deepinversion.quantization.integer_norms import integer_norms

PIXELS = Preprocessing(mean=127.5, std=60.0, pixel_range=(-1, 1))
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (32, 8, 8, 3), "uint8")


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"axis": (1, 3), "epsilon": 1e-6},
        {"axis": [1, 2]},
        {"center": False},
        {"scale": False},
    ],
    ids=str,
)
def test_outputs_are_those_of_numpy(arguments):
    layer = layers.LayerNormalization(**arguments)
    model = keras.Sequential([keras.Input((4, 5, 3)), layer])
    for weight in layer.weights:
        weight.assign(RANDOM.uniform(0.5, 2, weight.shape))
    x = RANDOM.normal(3, 2, (2, 4, 5, 3))
    axes = arguments.get("axis", (3,))
    m, v = (f(x, tuple(axes), keepdims=True) for f in (np.mean, np.var))
    expected = (x - m) / np.sqrt(v + layer.epsilon)
    shape = [n if i in axes else 1 for i, n in enumerate(x.shape)]
    if layer.gamma is not None:
        expected = expected * layer.gamma.numpy().reshape(shape)
    if layer.beta is not None:
        expected = expected + layer.beta.numpy().reshape(shape)
    with integer_norms(model):
        assert "call" in vars(layer)
        np.testing.assert_allclose(model(x), expected, rtol=1e-4, atol=1e-5)
    assert "call" not in vars(layer)


@pytest.mark.parametrize("arguments", [{}, {"scale": False, "center": False}])
def test_groups_are_those_of_numpy(arguments):
    layer = layers.GroupNormalization(2, **arguments)
    model = keras.Sequential([keras.Input((4, 5, 6)), layer])
    for weight in layer.weights:
        weight.assign(RANDOM.uniform(0.5, 2, weight.shape))
    x = RANDOM.normal(3, 2, (2, 4, 5, 6))
    halves = x.reshape(2, 4, 5, 2, 3)
    m, v = (f(halves, (1, 2, 4), keepdims=True) for f in (np.mean, np.var))
    expected = ((halves - m) / np.sqrt(v + layer.epsilon)).reshape(x.shape)
    if layer.weights:
        expected = expected * layer.gamma.numpy() + layer.beta.numpy()
    with integer_norms(model):
        assert "call" in vars(layer)
        np.testing.assert_allclose(model(x), expected, rtol=1e-4, atol=1e-5)


def test_root_mean_squares_are_those_of_numpy():
    layer = layers.RMSNormalization(epsilon=1e-3)
    model = keras.Sequential([keras.Input((4, 6)), layer])
    layer.scale.assign(RANDOM.uniform(0.5, 2, 6))
    x = RANDOM.normal(3, 2, (2, 4, 6))
    root = np.sqrt(np.mean(x**2, -1, keepdims=True) + 1e-3)
    with integer_norms(model):
        assert "call" in vars(layer)
        np.testing.assert_allclose(
            model(x), x / root * layer.scale.numpy(), rtol=1e-4
        )


def test_other_layers_keep_their_own_call():
    class Own(layers.LayerNormalization):
        def call(self, inputs):
            return 2 * super().call(inputs)

    other = layers.GroupNormalization(2, axis=1)
    model = keras.Sequential([keras.Input((4, 6)), Own(), other])
    replaced = layers.LayerNormalization()
    model.add(replaced)
    replaced.call = function = keras.ops.relu
    with integer_norms(model):
        assert [x for x in model.layers if "call" in vars(x)] == [replaced]
        assert replaced.call is function


@pytest.mark.parametrize(("scheme", "least"), [("int8", 20), ("int16x8", 30)])
def test_a_file_in_integers_answers_as_the_network(scheme, least):
    """As ConvNeXt: before a convolution, and after the average of places."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(8, 3),
            layers.LayerNormalization(epsilon=1e-6),
            layers.Conv2D(8, 3, activation="gelu"),
            layers.GroupNormalization(2),
            layers.GlobalAveragePooling2D(),
            layers.RMSNormalization(),
            layers.Dense(3),
        ],
        name="any",
    )
    model.layers[1].beta.assign(RANDOM.normal(size=8))
    content = quantize(model, IMAGES, PIXELS, 0, scheme=scheme)
    exact = model.predict(PIXELS.fed(IMAGES), verbose=0)
    noise = np.mean((LiteRT(content)(IMAGES) - exact) ** 2)
    signal = np.mean((exact - exact.mean(0)) ** 2)
    assert 10 * np.log10(signal / noise) > least
