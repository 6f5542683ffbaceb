"""Refuses the other backends of Keras, before anything else is imported."""

import keras

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        "tf_deepinversion computes with TensorFlow: set the environment "
        "variable KERAS_BACKEND=tensorflow before Keras is imported, or "
        '"backend": "tensorflow" in ~/.keras/keras.json. '
        f"Received: Keras with the backend {keras.backend.backend()!r}"
    )
