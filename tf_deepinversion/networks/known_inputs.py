"""The inputs of networks that are known by their names or their layers."""

import keras
import numpy as np

from tf_deepinversion.core.keras_internals import layers_of

IMAGENET_MEAN = (123.675, 116.28, 103.53)


IMAGENET_STD = (58.395, 57.12, 57.375)


CAFFE_MEAN = (123.68, 116.779, 103.939)


# The conventions of `keras.applications.FAMILY.preprocess_input`, by a model's
# complete name in lower case, in this and in earlier versions of Keras. Also
# the EfficientNet-Lites of `models`, which rescale pixels themselves.
APPLICATIONS = {
    "caffe": r"resnet(50|101|152)|vgg(16|19)",
    "pixels": r"efficientnet(b\d|v2-(b\d|[sml])|_lite[0-4])"
    r"|mobilenetv3(small|large)"
    r"|convnext_(tiny|small|base|large|xlarge)",
    "tf": r"inception_v3|inception_resnet_v2|xception|nasnet(_mobile|_large)?"
    r"|mobilenet(v2)?_\d\.\d\d_(\d+|none)|resnet(50|101|152)v2",
    "torch": r"densenet(121|169|201)",
}


def rescales(model) -> bool:
    """Tells whether a model has a layer that rescales its inputs."""
    kinds = (keras.layers.Rescaling, keras.layers.Normalization)
    return any(isinstance(x, kinds) for x in layers_of(model))


def is_fed_pixels(model, layer) -> bool:
    """Tells whether a layer receives the model's pixels unchanged."""
    try:
        given = layer.input
    except (AttributeError, ValueError):  # not called in a graph, or twice
        return False
    if given is model.inputs[0]:
        return True
    # Augmenting layers do nothing in inference, and resizing an image of one
    # color keeps the color.
    shape = [size or 32 for size in model.inputs[0].shape[1:]]
    # Three images of one gray level each.
    pixels = np.float32([0, 100, 255]).reshape(-1, 1, 1, 1) * np.ones(shape)
    seen = np.asarray(keras.Model(model.inputs[0], given)(pixels))
    ends = seen.reshape(len(pixels), -1)
    return np.allclose(ends, pixels.reshape(len(pixels), -1)[:, :1], atol=1e-3)


def channels_of(model):
    """Returns the number of channels of a network's images, None if unknown."""
    shape = getattr(model, "input_shape", None)
    image = isinstance(shape, tuple) and len(shape) == 4
    return shape[-1] if image else None
