"""A network that generates images of given classes from random latents."""

import math

import keras
from keras import layers

from tf_deepinversion.core.checks import require_seed


def Generator(
    image_shape,
    classes,
    latents=64,
    width=64,
    seed=0,
    name="generator",
    dtype=None,
) -> keras.Model:
    """Builds a network from latents and classes to images.

    A dense layer makes a small map of about 7 pixels. Nearest-neighbor
    upsampling doubles the map until it has the size of the image. A 3x3
    convolution with half the channels of the one before, BatchNormalization and
    a leaky ReLU follow each doubling. All positions and images share these
    convolutions, which is a strong prior for coherent images.

    Args:
        image_shape: Tuple `(height, width, channels)`.
        classes: Int, at least 1.
        latents: Int, number of latents, which distinguish images of one class.
            Defaults to 64.
        width: Int, number of channels after the first doubling. Defaults to 64.
        seed: Int, seed of the initial weights. Defaults to 0.
        name: String. Defaults to `"generator"`.
        dtype: A dtype policy. Defaults to Keras's global policy.

    Returns:
        A functional `keras.Model` from `(batch, latents + classes)`, N(0, 1)
        numbers and a one-hot class, to images in [0, 1].
    """
    height, breadth, channels = image_shape
    levels = max(1, round(math.log2(min(height, breadth) / 7)))
    start = [-(-size // 2**levels) for size in (height, breadth)]
    dtype = keras.dtype_policies.get(dtype)
    require_seed(seed)
    # Each layer has a seed of its own: the weights depend on `seed` and on the
    # dtype alone.
    seeds = iter(range(1000 * seed, 1000 * (seed + 1)))

    def initial():
        return keras.initializers.HeNormal(seed=next(seeds))

    def activated(x):
        x = layers.BatchNormalization(momentum=0.9, dtype=dtype)(x)
        return layers.LeakyReLU(0.2, dtype=dtype)(x)

    inputs = keras.Input((latents + classes,), dtype=dtype.compute_dtype)
    x = layers.Dense(
        start[0] * start[1] * 2 * width,
        use_bias=False,
        kernel_initializer=initial(),
        dtype=dtype,
    )(inputs)
    x = activated(layers.Reshape((*start, 2 * width), dtype=dtype)(x))
    for level in range(levels):
        x = layers.UpSampling2D(dtype=dtype)(x)
        x = layers.Conv2D(
            max(8, width // 2**level),
            3,
            padding="same",
            use_bias=False,
            kernel_initializer=initial(),
            dtype=dtype,
        )(x)
        x = activated(x)
    x = layers.Conv2D(
        channels,
        3,
        padding="same",
        kernel_initializer=keras.initializers.GlorotUniform(seed=next(seeds)),
        dtype=dtype,
    )(x)
    # Upsampling gives multiples of 2^levels: crop the rest.
    over = [(0, -size % 2**levels) for size in (height, breadth)]
    x = layers.Cropping2D(over, dtype=dtype)(x)
    x = layers.Activation("sigmoid", dtype=dtype)(x)
    return keras.Model(inputs, x, name=name)
