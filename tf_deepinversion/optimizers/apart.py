"""Optimizers on several replicas: each replica optimizes its own images."""

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
    """Makes each replica apply only the gradient of its own images.

    Keras's optimizers add up the gradients of all replicas, because replicas
    normally hold copies of one variable. Here each replica holds different
    images.

    Args:
        optimizer: A `keras.optimizers.Optimizer`, not yet built.
        shape: Tuple `(height, width, channels)` of the images.
        dtype: String, the images' dtype.

    Raises:
        ValueError: if the step of an image depends on other images. Several
            replicas would then make other images than one device.
    """
    for name in _OF_ALL_GRADIENTS:
        if getattr(optimizer, name, None):
            raise ValueError(
                "Each replica optimizes its own images, so several replicas "
                f"cannot use an optimizer with {name!r}: leave it out. "
                f"Received: {name}={getattr(optimizer, name)}"
            )
    if not moves_images_alone(optimizer, shape, dtype):
        raise ValueError(
            "Each replica optimizes its own images, so several replicas cannot "
            "use an optimizer whose step of an image depends on other images, "
            "such as Lamb and Adafactor: take Adam or PyramidAdam, or one "
            f"device. Received: optimizer={optimizer.name!r}, of class "
            f"{type(optimizer).__name__}"
        )
    keep_gradients_apart(optimizer)


def moves_images_alone(optimizer, shape, dtype="float32") -> bool:
    """Tells whether an optimizer treats each image independently.

    The function tries the optimizer on an image alone, and on the same image
    beside a second image. The second image has much larger gradients, and the
    last of them is infinite.

    Args:
        optimizer: A `keras.optimizers.Optimizer`. The function works on copies
            made from its config.
        shape: Tuple `(height, width, channels)`.
        dtype: String. Defaults to `"float32"`.

    Returns:
        A bool.
    """
    random = np.random.default_rng(0)
    images = random.standard_normal((2, *shape))
    gradients = random.standard_normal((3, 2, *shape))
    # Norms and clipping would let this neighbor change the first image's step.
    images[1] *= 100
    gradients[:, 1] *= 1000
    gradients[-1, 1] = np.inf
    alone = _moved(optimizer, images[:1], gradients[:, :1], dtype)
    beside = _moved(optimizer, images, gradients, dtype)
    way = np.abs(alone - images[0]).max()
    return bool(np.abs(alone - beside).max() <= 1e-3 * way)


def _moved(optimizer, images, gradients, dtype) -> np.ndarray:
    """Returns the first image after one step for each of the gradients."""
    optimizer = optimizer.from_config(optimizer.get_config())
    keep_gradients_apart(optimizer)
    variable = keras.Variable(images, dtype=dtype)
    optimizer.build([variable])

    def move():
        for gradient in gradients:
            optimizer.apply([tf.constant(gradient, dtype)], [variable])

    tf.distribute.get_strategy().run(move)
    return variable.numpy()[0]
