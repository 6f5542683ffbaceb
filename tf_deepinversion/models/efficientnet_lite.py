"""EfficientNet-Lite: ImageNet networks without squeeze and excitation."""

import math

import keras
from keras import layers

# Width, depth, size of the training images.
VARIANTS = {
    0: (1.0, 1.0, 224),
    1: (1.0, 1.1, 240),
    2: (1.1, 1.2, 260),
    3: (1.2, 1.4, 280),
    4: (1.4, 1.8, 300),
}


# Repeats, kernel size, strides, expansion, channels.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


STEM_CHANNELS, HEAD_CHANNELS = 32, 1280


def scaled_channels(channels, width) -> int:
    """Rounds channels x width to a multiple of 8, at least 90% of the product.

    >>> [scaled_channels(c, 1.1) for c in (16, 24, 40, 80)]
    [16, 24, 48, 88]
    """
    wanted = channels * width
    found = max(8, int(wanted + 4) // 8 * 8)
    return found + 8 if found < 0.9 * wanted else found


def blocks(version) -> list:
    """Lists kernel size, strides, expansion and channels of every block."""
    width, depth, _ = VARIANTS[version]
    found = []
    for i, (repeats, kernel, strides, expansion, channels) in enumerate(STAGES):
        # The depth does not change the first and the last stage.
        if 0 < i < len(STAGES) - 1:
            repeats = math.ceil(depth * repeats)
        for repeat in range(repeats):
            found.append(
                (
                    kernel,
                    strides if repeat == 0 else 1,
                    expansion,
                    scaled_channels(channels, width),
                )
            )
    return found


def _bn(x, name):
    return layers.BatchNormalization(momentum=0.99, epsilon=1e-3, name=name)(x)


def _conv_bn(x, channels, kernel, strides, conv, bn):
    x = layers.Conv2D(
        channels,
        kernel,
        strides=strides,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=conv,
    )(x)
    return _bn(x, bn)


def inverted_residual(x, kernel, strides, expansion, channels, name):
    """Adds a wide depthwise convolution between two narrow convolutions."""
    inputs, wide = x, x.shape[-1] * expansion
    if expansion > 1:
        x = _conv_bn(x, wide, 1, 1, f"{name}_expand_conv", f"{name}_bn0")
        x = layers.ReLU(6.0, name=f"{name}_relu0")(x)
    x = layers.DepthwiseConv2D(
        kernel,
        strides=strides,
        padding="same",
        use_bias=False,
        depthwise_initializer="he_normal",
        name=f"{name}_depthwise_conv",
    )(x)
    x = layers.ReLU(6.0, name=f"{name}_relu1")(_bn(x, f"{name}_bn1"))
    x = _conv_bn(x, channels, 1, 1, f"{name}_project_conv", f"{name}_bn2")
    # The shortcut needs equal shapes.
    if strides == 1 and inputs.shape[-1] == channels:
        x = layers.Add(name=f"{name}_add")([x, inputs])
    return x


def _network(version):
    size = VARIANTS[version][2]

    def build(
        input_shape=(size, size, 3),
        classes=1000,
        name=f"efficientnet_lite{version}",
    ) -> keras.Model:
        pixels = keras.Input(input_shape, name="pixels")
        # (pixel - 127) / 128.
        x = layers.Rescaling(1 / 128, -127 / 128, name="rescale")(pixels)
        x = _conv_bn(x, STEM_CHANNELS, 3, 2, "conv_stem", "bn0")
        x = layers.ReLU(6.0, name="relu0")(x)
        for i, block in enumerate(blocks(version)):
            x = inverted_residual(x, *block, name=f"blocks_{i}")
        x = _conv_bn(x, HEAD_CHANNELS, 1, 1, "conv_head", "bn1")
        x = layers.ReLU(6.0, name="relu1")(x)
        x = layers.GlobalAveragePooling2D(name="pool")(x)
        logits = layers.Dense(classes, name="fc")(x)
        return keras.Model(pixels, logits, name=name)

    build.__name__ = build.__qualname__ = f"EfficientNetLite{version}"
    build.__doc__ = f"""Builds EfficientNet-Lite{version}: pixels to logits.

    The weights are random; `checkpoints.load_efficientnet_lite` loads the
    ImageNet weights.

    Args:
        input_shape: Tuple `(height, width, channels)`; `(None, None, 3)` for
            images of any size. Defaults to `({size}, {size}, 3)`.
        classes: Int, number of logits. Defaults to 1000.
        name: String, the name of the model. Defaults to
            `"efficientnet_lite{version}"`.

    Returns:
        A functional `keras.Model` from pixels `(batch, *input_shape)` in
        [0, 255] to logits `(batch, classes)`.

    Example:
        ```python
        model = di.models.EfficientNetLite{version}(classes=10)
        ```

    Reference:
        - Tan and Le, EfficientNet, arXiv:1905.11946
    """
    return build


EfficientNetLite0 = _network(0)


EfficientNetLite1 = _network(1)


EfficientNetLite2 = _network(2)


EfficientNetLite3 = _network(3)


EfficientNetLite4 = _network(4)
