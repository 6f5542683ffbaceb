"""Layers that are always 0: their branch changes nothing, the file loads."""

import keras
import numpy as np
import pytest

from tf_deepinversion.networks.preprocessing import Preprocessing
from tf_deepinversion.quantization import LiteRT
from tf_deepinversion.quantization import quantize
from tf_deepinversion.quantization.file.loadable_scales import (
    with_loadable_scales,
)

layers = keras.layers
PIXELS = Preprocessing(mean=0.0, std=255.0)
IMAGES = np.random.default_rng(0).integers(0, 256, (50, 8, 8, 3), "uint8")


def dead(**kwargs):
    low = keras.initializers.Constant(-5000.0)
    return {"activation": "relu", "bias_initializer": low, **kwargs}


def convolution(x):
    x = layers.Conv2D(4, 3, padding="same", **dead())(x)
    return layers.Conv2D(4, 3, padding="same", use_bias=False)(x)


def depthwise(x):
    x = layers.DepthwiseConv2D(3, padding="same", **dead())(x)
    return layers.Conv2D(4, 3, padding="same")(x)


def dense(x):
    x = layers.GlobalAveragePooling2D()(x)
    return layers.Reshape((1, 1, 4))(layers.Dense(4, **dead())(x))


def pooled(x):
    x = layers.Conv2D(4, 3, padding="same", **dead())(x)
    return layers.MaxPooling2D(8)(x)


def network(branch=None):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3))
    stem = layers.Conv2D(4, 3, padding="same", activation="relu")
    head = layers.Dense(5)
    x = stem(inputs)
    trunk = head(layers.GlobalAveragePooling2D()(x))
    if branch is None:
        return keras.Model(inputs, trunk)
    x = layers.GlobalAveragePooling2D()(x + branch(x))
    return keras.Model(inputs, head(x))


@pytest.mark.parametrize(
    ("branch", "scheme"),
    [
        *((x, "int8") for x in (convolution, depthwise, dense, pooled)),
        (dense, "int4"),
        (dense, "int16x8"),
    ],
)
def test_a_dead_layer_adds_nothing(branch, scheme):
    found, expected = (
        LiteRT(quantize(model, IMAGES, PIXELS, 0, scheme=scheme))
        for model in (network(branch), network())
    )
    step = expected.output["quantization"][0]
    images = IMAGES[:9]
    # LiteRT adds branches in steps of its own: the sum may round otherwise.
    np.testing.assert_allclose(found(images), expected(images), atol=2.1 * step)


def test_a_live_network_stays_as_it_is():
    content = quantize(network(), IMAGES, PIXELS, 0)
    assert with_loadable_scales(content) == content
