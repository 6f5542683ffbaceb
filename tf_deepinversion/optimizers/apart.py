"""Optimizers under several replicas: each moves its own images alone."""

import keras
import numpy as np
import tensorflow as tf

from tf_deepinversion.core.keras_internals import keep_gradients_apart

_OF_ALL_GRADIENTS = (
    "clipnorm",
    "global_clipnorm",
    "gradient_accumulation_steps",
    "use_ema",
)


def keep_apart(optimizer, shape, dtype):
    """Makes each replica's gradient move its own images alone.

    For variables that are the same on all replicas, Keras's optimizers add up
    the gradients of all; our replicas' images are not the same.

    Args:
        optimizer: A `keras.optimizers.Optimizer`, not yet built.
        shape: Tuple `(height, width, channels)` of the images.
        dtype: String, of the images.

    Raises:
        ValueError: if how the optimizer moves an image depends on others:
            several replicas would give other images than one device.
    """
    for name in _OF_ALL_GRADIENTS:
        if getattr(optimizer, name, None):
            raise ValueError(
                "Each replica moves its own images, so an optimizer with "
                f"{name!r} cannot be used with several replicas: leave it "
                f"out. Received: {name}={getattr(optimizer, name)}"
            )
    if not moves_images_alone(optimizer, shape, dtype):
        raise ValueError(
            "Each replica moves its own images, so an optimizer that moves an "
            "image by what others are, as Lamb and Adafactor do, cannot be "
            "used with several replicas: take Adam or PyramidAdam, or one "
            f"device. Received: optimizer={optimizer.name!r}, of class "
            f"{type(optimizer).__name__}"
        )
    keep_gradients_apart(optimizer)


def moves_images_alone(optimizer, shape, dtype="float32") -> bool:
    """Whether an optimizer moves an image in the same way whatever others are.

    It is asked, not known by its name: an image is moved once by itself and
    once beside another, with gradients of another size that end in one that
    is not finite.

    Args:
        optimizer: A `keras.optimizers.Optimizer`. New ones are made by its
            config.
        shape: Tuple `(height, width, channels)`.
        dtype: String.
    """
    random = np.random.default_rng(0)
    images = random.standard_normal((2, *shape))
    gradients = random.standard_normal((3, 2, *shape))
    images[1] *= 100
    gradients[:, 1] *= 1000
    gradients[-1, 1] = np.inf
    alone = _moved(optimizer, images[:1], gradients[:, :1], dtype)
    beside = _moved(optimizer, images, gradients, dtype)
    way = np.abs(alone - images[0]).max()
    return bool(np.abs(alone - beside).max() <= 1e-3 * way)


def _moved(optimizer, images, gradients, dtype) -> np.ndarray:
    """The first of the images after a step by each of the gradients."""
    optimizer = optimizer.from_config(optimizer.get_config())
    keep_gradients_apart(optimizer)
    variable = keras.Variable(images, dtype=dtype)
    optimizer.build([variable])

    def move():
        for gradient in gradients:
            optimizer.apply([tf.constant(gradient, dtype)], [variable])

    tf.distribute.get_strategy().run(move)
    return variable.numpy()[0]
