"""Small classifiers of 32x32x3 images, from different families.

The networks are plain Keras, like a user's own networks, and each has its own
preprocessing. Only `vgg` is a network of `tf_deepinversion.models`. Those of
`modern_networks.py` normalize by `LayerNormalization`, but for one to compare.
"""

import json
import pathlib
import typing

import keras
import modern_networks
from keras import layers

from tf_deepinversion import Preprocessing
from tf_deepinversion.models import VGG11BN


class Family(typing.NamedTuple):
    """The function that builds networks of a family, and their inputs.

    Attributes:
        build: Function from the number of classes and the width to a model.
        pixel_range: As for `Preprocessing`; None where the model rescales.
        optimizer: Of `train_glyph_teachers.py`, by name.
    """

    build: typing.Callable
    pixel_range: object
    optimizer: str = "muon"


def _conv(x, filters, kernel=3, strides=1):
    return layers.Conv2D(
        filters, kernel, strides=strides, padding="same", use_bias=False
    )(x)


def _norm(x, activation=None):
    x = layers.BatchNormalization(momentum=0.9)(x)
    return layers.Activation(activation)(x) if activation else x


def resnet_swish(classes, width):
    """Residual blocks, swish, softmax. The inputs lie in [-1, 1]."""
    x = inputs = keras.Input((32, 32, 3))
    x = _norm(_conv(x, width, 5, 2), "swish")
    for stage in range(3):
        filters, strides = width * 2**stage, 2 if stage else 1
        shortcut = x
        if strides > 1:
            shortcut = _norm(_conv(x, filters, 1, strides))
        x = _norm(_conv(x, filters, 3, strides), "swish")
        x = layers.Add()([shortcut, _norm(_conv(x, filters))])
        x = layers.Activation("swish")(x)
    x = layers.GlobalAveragePooling2D()(x)
    outputs = layers.Dense(classes, activation="softmax")(x)
    return keras.Model(inputs, outputs, name="resnet_swish")


def vgg(classes, width):
    """VGG-11 with BatchNormalization and logits. It rescales pixels itself."""
    return VGG11BN((32, 32, 3), classes, width=width)


def _inverted_residual(x, filters, strides, expansion=4):
    """An inverted residual: expansion, depthwise convolution, projection."""
    shortcut = x
    x = _norm(_conv(x, expansion * x.shape[-1], 1), "relu6")
    x = layers.DepthwiseConv2D(
        3, strides=strides, padding="same", use_bias=False
    )(x)
    x = _norm(_conv(_norm(x, "relu6"), filters, 1))
    if x.shape == shortcut.shape:
        x = layers.Add()([shortcut, x])
    return x


def mobilenet(classes, width):
    """Like MobileNetV2: depthwise convolutions, softmax. Inputs in [0, 1]."""
    x = inputs = keras.Input((32, 32, 3))
    x = _norm(_conv(x, width), "relu6")
    for filters, strides in ((1, 2), (1, 1), (2, 2), (2, 1), (4, 2), (4, 1)):
        x = _inverted_residual(x, filters * width, strides)
    x = _norm(_conv(x, 16 * width, 1), "relu6")
    x = layers.GlobalAveragePooling2D()(x)
    outputs = layers.Dense(classes, activation="softmax")(x)
    return keras.Model(inputs, outputs, name="mobilenet")


def densenet(classes, width, depth=4):
    """Like DenseNet: pre-activation, logits. The inputs are normalized."""
    x = inputs = keras.Input((32, 32, 3))
    x = layers.MaxPooling2D()(_norm(_conv(x, 2 * width), "relu"))
    for block in range(3):
        if block:
            x = _conv(_norm(x, "relu"), x.shape[-1] // 2, 1)
            x = layers.AveragePooling2D(2)(x)
        for _ in range(depth):
            new = _conv(
                _norm(_conv(_norm(x, "relu"), 4 * width, 1), "relu"), width
            )
            x = layers.Concatenate()([x, new])
    x = layers.GlobalAveragePooling2D()(_norm(x, "relu"))
    return keras.Model(inputs, layers.Dense(classes)(x), name="densenet")


def convnext_tiny(classes, width):
    """ConvNeXtTiny of Keras, which has one width. It rescales pixels itself."""
    del width
    return keras.applications.ConvNeXtTiny(
        weights=None,
        input_shape=(32, 32, 3),
        classes=classes,
        classifier_activation=None,
    )


def _modern(name) -> Family:
    """A family of `modern_networks.py`, whose networks rescale pixels."""
    return Family(
        lambda classes, width: modern_networks.NETWORKS[name](
            (32, 32, 3), classes, width, mean=127.5, std=75.0
        ),
        None,
    )


FAMILIES = {
    "resnet_swish": Family(resnet_swish, (-1, 1)),
    "vgg": Family(vgg, None),
    "mobilenet": Family(mobilenet, (0, 1)),
    "densenet": Family(densenet, "normalized"),
    # An orthogonal step takes seconds for 28 million weights.
    "convnext_tiny": Family(convnext_tiny, None, "adamw"),
    **{name: _modern(name) for name in modern_networks.NETWORKS},
}


def preprocessing_in(figures) -> Preprocessing:
    """Makes the `Preprocessing` of a teacher from the dict of its .json."""
    return Preprocessing.from_config(figures["preprocessing"])


def load_glyph_teacher(path) -> tuple:
    """Loads a teacher of train_glyph_teachers.py.

    Args:
        path: Path without suffix.

    Returns:
        A triple: the `keras.Model`, its `Preprocessing`, and the dict of its
        .json.
    """
    path = pathlib.Path(path)
    figures = json.loads(path.with_suffix(".json").read_text())
    model = keras.models.load_model(path.with_suffix(".keras"), compile=False)
    return model, preprocessing_in(figures), figures
