"""Residual networks for small images."""

import keras
from keras import layers

from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.models.build_classifier import build_classifier


def conv_bn(x, filters, kernel_size, strides, name):
    x = layers.Conv2D(
        filters,
        kernel_size,
        strides=strides,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    return layers.BatchNormalization(
        momentum=0.9, epsilon=1e-5, name=f"{name}_bn"
    )(x)


def basic_block(x, filters, strides, name):
    """Adds relu(x + bn(conv(relu(bn(conv(x)))))); projects x if needed."""
    shortcut = x
    if strides != 1 or x.shape[-1] != filters:
        shortcut = conv_bn(x, filters, 1, strides, f"{name}_shortcut")
    x = conv_bn(x, filters, 3, strides, f"{name}_a")
    x = layers.ReLU(name=f"{name}_a_relu")(x)
    x = conv_bn(x, filters, 3, 1, f"{name}_b")
    x = layers.Add(name=f"{name}_add")([shortcut, x])
    return layers.ReLU(name=f"{name}_relu")(x)


def resnet_features(blocks, width):
    """Makes a function from a normalized image to the pooled features."""
    require_whole(width=width)

    def features(x):
        x = conv_bn(x, width, 3, 1, "stem")
        x = layers.ReLU(name="stem_relu")(x)
        for stage, count in enumerate(blocks):
            for block in range(count):
                # The first block of each later stage halves the resolution.
                strides = 2 if stage > 0 and block == 0 else 1
                name = f"stage{stage}_block{block}"
                x = basic_block(x, width * 2**stage, strides, name)
        return layers.GlobalAveragePooling2D(name="pool")(x)

    return features


def _network(depth, blocks, default_width):
    def build(
        input_shape=(32, 32, 3),
        classes=10,
        width=default_width,
        mean=127.5,
        std=64.0,
        name=f"resnet{depth}",
    ) -> keras.Model:
        return build_classifier(
            resnet_features(blocks, width),
            input_shape=input_shape,
            classes=classes,
            mean=mean,
            std=std,
            name=name,
        )

    build.__name__ = build.__qualname__ = f"ResNet{depth}"
    build.__doc__ = f"""Builds ResNet-{depth} for small images.

    Args:
        input_shape: Tuple `(height, width, channels)`. Defaults to
            `(32, 32, 3)`.
        classes: Int, number of logits. Defaults to 10.
        width: Int, channels of the first stage; each later stage doubles
            the channels. Defaults to {default_width}.
        mean: Float or list of `channels` floats, in gray levels (0-255). The
            first layer subtracts it from the pixels. Defaults to 127.5.
        std: Float or list of `channels` floats, in gray levels. The first
            layer divides by it. Defaults to 64.
        name: String, the name of the model. Defaults to `"resnet{depth}"`.

    Returns:
        A functional `keras.Model` from pixels `(batch, *input_shape)` in
        [0, 255] to logits `(batch, classes)`.

    Example:
        ```python
        model = di.models.ResNet{depth}((28, 28, 1), classes=10)
        ```

    Reference:
        - He et al., Deep Residual Learning, arXiv:1512.03385
    """
    return build


ResNet14 = _network(14, (2, 2, 2), 16)


ResNet20 = _network(20, (3, 3, 3), 16)


ResNet32 = _network(32, (5, 5, 5), 16)


ResNet44 = _network(44, (7, 7, 7), 16)


ResNet56 = _network(56, (9, 9, 9), 16)


ResNet18 = _network(18, (2, 2, 2, 2), 64)


ResNet34 = _network(34, (3, 4, 6, 3), 64)
