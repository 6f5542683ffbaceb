"""Networks as people write them: the file is the network that was trained."""

import keras
import numpy as np
import pytest

from tf_deepinversion.networks.preprocessing import Preprocessing
from tf_deepinversion.quantization import LiteRT
from tf_deepinversion.quantization import quantize
from tf_deepinversion.quantization import train_quantized

L = keras.layers
PIXELS = Preprocessing(mean=127.5, std=60.0)
IMAGES = np.random.default_rng(0).integers(0, 256, (32, 8, 8, 3), "uint8")


def ended(inputs, x, given=None):
    x = L.Conv2D(4, 3, activation="relu")(x)
    x = L.Dense(3)(L.GlobalMaxPooling2D()(x))
    return keras.Model(inputs if given is None else given, x, name="any")


def listed():
    x = keras.Input((8, 8, 3))
    return ended(x, x, [x])


def split():
    x = inputs = keras.Input((8, 8, 3))
    x = L.Conv2D(4, 3, activation="relu")(x)
    a, b = keras.ops.split(x, 2, -1)
    return ended(inputs, a + b)


NETWORKS = [listed, split]


@pytest.mark.parametrize("network", NETWORKS)
def test_the_file_is_the_trained_network(network):
    keras.utils.set_random_seed(0)
    teacher = network()
    result = train_quantized(
        teacher,
        (IMAGES, np.zeros(len(IMAGES), int)),
        steps=2,
        batch_size=16,
        scheme="int8",
        preprocessing=PIXELS,
        verbose=0,
    )
    content = quantize(
        result.student, preprocessing=PIXELS, ranges=result.ranges
    )
    expected = result.student(PIXELS.fed(IMAGES), training=False).numpy()
    noise = LiteRT(content)(IMAGES) - expected
    ratio = np.square(noise).mean() / np.square(expected).mean()
    assert -10 * np.log10(ratio) > 30  # in decibels
