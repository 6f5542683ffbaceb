"""Tiny networks for the tests: real in kind, small in size."""

import keras
import numpy as np
from keras import layers

SHAPE = (8, 8, 1)
CLASSES = 3


def with_head(*head, shape=SHAPE):
    """A convolution, BatchNormalization, pooling, and the layers of a head."""
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input(shape)
    for layer in (
        layers.Conv2D(4, 3),
        layers.BatchNormalization(),
        layers.GlobalAveragePooling2D(),
        *head,
    ):
        x = layer(x)
    return keras.Model(inputs, x)


def tiny_teacher(seed=0, dtype="float32", activation=None, pixel_scale=None):
    """Two convolutions, each with BatchNormalization, and a dense head.

    Its moving statistics are those of noise images it was shown, so that they
    can be matched; it is fed z unless `pixel_scale` (scale, offset) says how
    pixels become z.
    """
    keras.utils.set_random_seed(seed)
    inputs = keras.Input(SHAPE, dtype=dtype)
    x = inputs
    if pixel_scale:
        x = layers.Rescaling(*pixel_scale, name="fold", dtype=dtype)(x)
    for i, filters in enumerate((4, 6)):
        x = layers.Conv2D(
            filters, 3, strides=i + 1, padding="same", dtype=dtype
        )(x)
        x = layers.BatchNormalization(name=f"bn{i}", dtype=dtype)(x)
        x = layers.Activation("softplus", dtype=dtype)(x)
    x = layers.GlobalAveragePooling2D(dtype=dtype)(x)
    x = layers.Dense(CLASSES, activation=activation, dtype=dtype)(x)
    model = keras.Model(inputs, x, name="tiny")
    random = np.random.default_rng(seed)
    for i in range(2):
        bn = model.get_layer(f"bn{i}")
        channels = bn.gamma.shape
        bn.gamma.assign(random.uniform(0.5, 1.5, channels))
        bn.beta.assign(random.normal(size=channels))
        bn.moving_mean.assign(random.normal(size=channels) / 2)
        bn.moving_variance.assign(random.uniform(0.2, 1.0, channels))
    return model


def adapted_teacher():
    """It has learned the mean and the variance of pixels outside its weights.

    As has EfficientNet with its weights of ImageNet.
    """
    keras.utils.set_random_seed(0)
    pixels = np.random.default_rng(0).integers(0, 256, (8, *SHAPE), "uint8")
    norm = layers.Normalization()
    norm.adapt(pixels.astype("float32"))
    x = inputs = keras.Input(SHAPE)
    for layer in (
        norm,
        layers.Conv2D(4, 3),
        layers.BatchNormalization(),
        layers.GlobalAveragePooling2D(),
        layers.Dense(CLASSES),
    ):
        x = layer(x)
    return keras.Model(inputs, x, name="adapted")


def learned_teacher(seed=0):
    """A tiny teacher whose head is loud enough for its classes to matter."""
    model = tiny_teacher(seed)
    head = model.layers[-1]
    head.kernel.assign(head.kernel * 10)
    return model
