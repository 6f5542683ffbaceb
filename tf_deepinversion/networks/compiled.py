"""Which networks XLA is asked to compile."""

import tensorflow as tf

from tf_deepinversion.core.keras_internals import layers_of

# TensorFlow 2.21 has no kernels of XLA for these, or not for their gradient.
NO_KERNEL = {
    "CropAndResize",
    "ResizeArea",
    "ResizeBicubic",
    "ScaleAndTranslate",
}


NO_GRADIENT = {"ResizeNearestNeighbor"}


def operations(network, image_shape) -> set:
    """The types of the operations in a network's graph.

    Args:
        network: A `keras.Model`.
        image_shape: Tuple `(height, width, channels)`.
    """
    call = tf.function(
        lambda images: network(images, training=False), autograph=False
    )
    graph = call.get_concrete_function(tf.TensorSpec((1, *image_shape))).graph
    return {operation.type for operation in graph.get_operations()}


def settle(model, asked, networks):
    """Turns XLA off where it was not asked for and cannot compile.

    Keras looks at the layers of a model that it compiles; those of a teacher
    are none of them.

    Args:
        model: A compiled `keras.Model`, whose `jit_compile` is set.
        asked: Bool or `"auto"`, the `jit_compile` that was asked for.
        networks: List of pairs of a `keras.Model` and its image shape.

    Raises:
        ValueError: if XLA was asked for and has no kernel for an operation.
    """
    if not model.jit_compile:
        return
    used = set().union(*(operations(*pair) for pair in networks))
    layers = [x for network, _ in networks for x in layers_of(network)]
    if asked == "auto":
        unable = used & (NO_KERNEL | NO_GRADIENT)
        if unable or not all(layer.supports_jit for layer in layers):
            model.jit_compile = False
    elif used & NO_KERNEL:
        raise ValueError(
            "XLA cannot compile these networks, it has no kernel for "
            f"{', '.join(sorted(used & NO_KERNEL))}: leave `jit_compile` out, "
            'or resize by interpolation="bilinear". '
            f"Received: jit_compile={asked}"
        )
