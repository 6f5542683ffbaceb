"""SavedModels that take uint8 pixels, whatever the network is fed."""

import os
import pathlib
import shutil
import tempfile

import numpy as np
import tensorflow as tf

from tf_deepinversion.preprocessing import Preprocessing


def export(model, folder, preprocessing=None):
    """Writes a SavedModel from uint8 pixels to what the model returns.

    Its serving signature takes `(batch, height, width, channels)`, and gives
    `{"logits": ...}`. The folder is replaced as a whole.

    Args:
        model: A `keras.Model` with one input of a fixed size.
        folder: Path.
        preprocessing: The model's `Preprocessing`; None if known by name.
    """
    preprocessing = preprocessing or Preprocessing.of(model)
    mean, std = (
        tf.constant(v, "float32")
        for v in (preprocessing.mean, preprocessing.std)
    )

    def serve(pixels):
        z = (tf.cast(pixels, "float32") - mean) / std
        fed = preprocessing.teacher_input(z)
        return {"logits": model(fed, training=False)}

    archive = tf.Module()
    archive.model = model
    archive.serve = tf.function(
        serve,
        input_signature=[
            tf.TensorSpec((None, *model.input_shape[1:]), "uint8", "pixels")
        ],
    )
    folder = pathlib.Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent)
    try:
        tf.saved_model.save(
            archive, part, signatures={"serving_default": archive.serve}
        )
        os.chmod(part, 0o755)
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


class Served:
    """An exported network, reloaded: pixels to logits.

    Args:
        folder: Path that `export` wrote.
    """

    def __init__(self, folder):
        # Held: the signature alone does not keep its variables alive.
        self._loaded = tf.saved_model.load(str(folder))
        self.signature = self._loaded.signatures["serving_default"]

    def __call__(self, images, batch_size=250) -> np.ndarray:
        """The logits `(n, classes)` of uint8 images."""
        pieces = [
            self.signature(tf.constant(images[i : i + batch_size]))["logits"]
            for i in range(0, len(images), batch_size)
        ]
        return np.concatenate([np.asarray(piece) for piece in pieces])

    def accuracy(self, images, labels) -> float:
        """The share of images that are taken for their labels."""
        return float((self(images).argmax(-1) == np.asarray(labels)).mean())
