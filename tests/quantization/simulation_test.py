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


def augmented():
    """As Keras's tutorial of transfer learning writes it."""
    x = inputs = keras.Input((8, 8, 3))
    x = L.RandomRotation(0.1)(L.RandomFlip("horizontal")(x))
    return ended(inputs, L.Rescaling(1 / 127.5, offset=-1)(x))


def resized():
    x = inputs = keras.Input((8, 8, 3))
    x = L.Resizing(12, 12)(x)
    x = L.Rescaling(1 / 255, -0.5)(L.Rescaling(0.5)(x))  # one has no offset
    x = L.Rescaling(2.0, [-1.0, 0.0, 1.0])(x)
    return ended(inputs, x)


def normalized():
    x = inputs = keras.Input((8, 8, 3))
    given = {"mean": [100.0, 120.0, 90.0], "variance": [900.0, 2500.0, 1600.0]}
    return ended(inputs, L.Normalization(**given)(x))


def back():
    x = inputs = keras.Input((8, 8, 3))
    x = L.Normalization(mean=1.0, variance=4.0, invert=True)(x)
    return ended(inputs, x)


def open_base():
    """A base for images of any size, behind images twice as large."""
    x = inputs = keras.Input((None, None, 3))
    x = L.Conv2D(4, 3, strides=2, padding="same", activation="relu")(x)
    base = keras.Model(inputs, x, name="base")
    given = keras.Input((8, 8, 3))
    return ended(given, base(L.UpSampling2D(2)(given)))


def all_open():
    inputs = keras.Input((None, None, 3))
    return ended(inputs, inputs)


NETWORKS = [
    open_base,
    all_open,
    listed,
    split,
    augmented,
    resized,
    normalized,
    back,
]


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
