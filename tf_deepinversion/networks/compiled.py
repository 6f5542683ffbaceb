"""Decides whether XLA compiles a model."""

import tensorflow as tf

from tf_deepinversion.core.keras_internals import layers_of

# TensorFlow 2.21 has no XLA kernel for these operations or their gradients.
NO_KERNEL = {
    "CropAndResize",
    "ResizeArea",
    "ResizeBicubic",
    "ScaleAndTranslate",
}


NO_GRADIENT = {"ResizeNearestNeighbor"}


def operations(network, image_shape) -> set:
    """Lists the types of the operations in a network's graph.

    Args:
        network: A `keras.Model`.
        image_shape: Tuple `(height, width, channels)`.

    Returns:
        A set of strings.
    """
    call = tf.function(
        lambda images: network(images, training=False), autograph=False
    )
    graph = call.get_concrete_function(tf.TensorSpec((1, *image_shape))).graph
    return {operation.type for operation in graph.get_operations()}


def settle(model, asked, networks):
    """Turns XLA off if the user did not request it and XLA cannot compile.

    Keras checks the layers of the model that it compiles. The layers of a
    teacher are not among them, so this function checks those.

    Args:
        model: A compiled `keras.Model`, whose `jit_compile` is set.
        asked: Bool or `"auto"`, the `jit_compile` that the user requested.
        networks: List of pairs (`keras.Model`, its image shape).

    Raises:
        ValueError: if the user requested XLA, and XLA has no kernel for an
            operation.
    """
    if not model.jit_compile:
        return
    # The graphs show operations that no layer declares.
    used = set().union(*(operations(*pair) for pair in networks))
    layers = [x for network, _ in networks for x in layers_of(network)]
    if asked == "auto":
        unable = used & (NO_KERNEL | NO_GRADIENT)
        if unable or not all(layer.supports_jit for layer in layers):
            model.jit_compile = False
    elif used & NO_KERNEL:
        raise ValueError(
            "XLA cannot compile these networks because it has no kernel for "
            f"{', '.join(sorted(used & NO_KERNEL))}: leave `jit_compile` out, "
            'or resize with interpolation="bilinear". '
            f"Received: jit_compile={asked}"
        )
