"""Small classifiers of gray images that normalize by LayerNormalization.

Plain Keras, as a user would have them. Each begins with a `Rescaling` named
`normalize`, so that the library knows how it is fed.
"""

import keras
from keras import layers


@keras.saving.register_keras_serializable("benchmarks")
class Positions(layers.Layer):
    """Adds a learned vector to each token."""

    def build(self, input_shape):
        self.vectors = self.add_weight(
            name="vectors",
            shape=input_shape[1:],
            initializer=keras.initializers.RandomNormal(stddev=0.02),
        )

    def call(self, x):
        return x + self.vectors


def _fed(shape, mean, std):
    inputs = keras.Input(shape)
    return inputs, layers.Rescaling(1 / std, -mean / std, name="normalize")(
        inputs
    )


def _layer_norm():
    return layers.LayerNormalization(epsilon=1e-6)


def _batch_norm():
    return layers.BatchNormalization(momentum=0.9)


def _convolved(x, norm, kernel):
    """As a block of ConvNeXt: depthwise, normalized, widened, narrowed."""
    filters, shortcut = x.shape[-1], x
    x = norm()(layers.DepthwiseConv2D(kernel, padding="same")(x))
    x = layers.Dense(4 * filters, activation="gelu")(x)
    return layers.Add()([shortcut, layers.Dense(filters)(x)])


def _convnext(norm, shape, classes, width, mean, std, name):
    inputs, x = _fed(shape, mean, std)
    x = norm()(layers.Conv2D(width, 4, strides=2, padding="same")(x))
    for stage in range(2):
        if stage:
            x = layers.Conv2D(2 * width, 2, strides=2)(norm()(x))
        for _ in range(2):
            x = _convolved(x, norm, 5)
    x = norm()(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, layers.Dense(classes)(x), name=name)


def convnext(*args, **kwargs):
    """As ConvNeXt, by LayerNormalization."""
    return _convnext(_layer_norm, *args, name="convnext", **kwargs)


def convnext_batch_norm(*args, **kwargs):
    """The same with BatchNormalization, to compare."""
    return _convnext(_batch_norm, *args, name="convnext_batch_norm", **kwargs)


def vit(shape, classes, width, mean, std):
    """As ViT: patches of 4x4, attention, the mean of the tokens."""
    inputs, x = _fed(shape, mean, std)
    x = layers.Conv2D(2 * width, 4, strides=4)(x)
    x = Positions()(layers.Reshape((-1, 2 * width))(x))
    for _ in range(3):
        y = _layer_norm()(x)
        y = layers.MultiHeadAttention(4, width // 2)(y, y)
        x = layers.Add()([x, y])
        y = layers.Dense(4 * width, activation="gelu")(_layer_norm()(x))
        x = layers.Add()([x, layers.Dense(2 * width)(y)])
    x = layers.GlobalAveragePooling1D()(_layer_norm()(x))
    return keras.Model(inputs, layers.Dense(classes)(x), name="vit")


NETWORKS = {
    "convnext": convnext,
    "convnext_batch_norm": convnext_batch_norm,
    "vit": vit,
}
