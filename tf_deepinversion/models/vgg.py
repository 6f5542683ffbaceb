"""VGG-11 with batch normalization, for small images."""

import keras
from keras import layers

from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.models.build_classifier import build_classifier
from tf_deepinversion.models.resnet import conv_bn

# Channels in units of the width; "pool" halves the resolution.
VGG11 = (1, "pool", 2, "pool", 4, 4, "pool", 8, 8, "pool", 8, 8, "pool")


def VGG11BN(
    input_shape=(32, 32, 3),
    classes=10,
    width=64,
    mean=127.5,
    std=64.0,
    name="vgg11_bn",
) -> keras.Model:
    """Builds VGG-11 with batch normalization and one dense layer.

    Args:
        input_shape: Tuple `(height, width, channels)`. Defaults to
            `(32, 32, 3)`.
        classes: Int, number of logits. Defaults to 10.
        width: Int, channels of the first convolution. Defaults to 64.
        mean: Float or list of `channels` floats, in gray levels (0-255). The
            first layer subtracts it from the pixels. Defaults to 127.5.
        std: Float or list of `channels` floats, in gray levels. The first layer
            divides by it. Defaults to 64.
        name: String, the name of the model. Defaults to `"vgg11_bn"`.

    Returns:
        A functional `keras.Model` from pixels `(batch, *input_shape)` in
        [0, 255] to logits `(batch, classes)`.

    Example:
        >>> model = di.models.VGG11BN((28, 28, 1), classes=4, width=2)
        >>> model.output_shape
        (None, 4)

    Reference:
        - Simonyan and Zisserman, Very Deep Convolutional Networks,
          arXiv:1409.1556
    """

    require_whole(width=width)

    def features(x):
        for i, units in enumerate(VGG11):
            if units == "pool":
                x = layers.MaxPooling2D(padding="same", name=f"pool{i}")(x)
            else:
                x = conv_bn(x, width * units, 3, 1, f"conv{i}")
                x = layers.ReLU(name=f"conv{i}_relu")(x)
        return layers.GlobalAveragePooling2D(name="pool")(x)

    return build_classifier(
        features,
        input_shape=input_shape,
        classes=classes,
        mean=mean,
        std=std,
        name=name,
    )
