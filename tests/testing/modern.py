"""Tiny networks without BatchNormalization."""

import keras
import numpy as np
from keras import layers
from tiny import CLASSES
from tiny import SHAPE


def randomized(model, seed=1):
    """Draws gamma, beta and biases, which are all alike before training."""
    random = np.random.default_rng(seed)
    for weight in model.trainable_weights:
        if "kernel" not in weight.path:
            weight.assign(random.uniform(0.3, 1.5, weight.shape))
    return model


def modern(seed=0):
    """Tokens, LayerNormalization and GroupNormalization; two calls of one."""
    keras.utils.set_random_seed(seed)
    shared = layers.LayerNormalization(name="shared")
    x = inputs = keras.Input(SHAPE)
    x = shared(layers.Conv2D(4, 3, strides=2, padding="same")(x))
    x = shared(layers.Conv2D(4, 3, padding="same")(keras.activations.gelu(x)))
    x = layers.GroupNormalization(2, name="group")(x)
    x = layers.Reshape((16, 4))(x)
    x = layers.LayerNormalization(name="tokens")(layers.Dense(6)(x))
    x = layers.Dense(CLASSES, name="head")(layers.GlobalAveragePooling1D()(x))
    return randomized(keras.Model(inputs, x, name="modern"))


def plain(seed=0, bias=True):
    """No normalization."""
    keras.utils.set_random_seed(seed)
    x = inputs = keras.Input(SHAPE)
    x = layers.Conv2D(4, 3, activation="relu", use_bias=bias, name="conv")(x)
    x = layers.DepthwiseConv2D(3, use_bias=bias, name="depthwise")(x)
    x = layers.Dense(5, name="hidden")(layers.GlobalAveragePooling2D()(x))
    x = layers.Dense(CLASSES, name="head")(x)
    return keras.Model(inputs, x, name="plain")
