"""SavedModels that take uint8 pixels, whatever the network is fed."""

import os
import pathlib
import shutil
import tempfile

import numpy as np
import tensorflow as tf

from tf_deepinversion.core.checks import check_pixels
from tf_deepinversion.core.checks import share_right
from tf_deepinversion.core.pieces import pieces_of
from tf_deepinversion.networks.preprocessing import Preprocessing

SAVED_MODEL = {
    "saved_model.pb",
    "fingerprint.pb",
    "keras_metadata.pb",
    "variables",
    "assets",
    "assets.extra",
}


def export(model, folder, preprocessing=None, image_shape=None):
    """Writes a SavedModel from uint8 pixels to what the model returns.

    Its serving signature takes `(batch, height, width, channels)`, and gives
    `{"logits": ...}`. A SavedModel that is there is replaced as a whole.

    Args:
        model: A `keras.Model` with one input, the image.
        folder: Path, new, empty or of a SavedModel.
        preprocessing: The model's `Preprocessing`; None if known by name.
        image_shape: Tuple `(height, width, channels)`, None where it is open;
            needed where the model does not know it, being subclassed.

    Raises:
        ValueError: if the folder holds anything else, or the shape of the
            images is not known.
    """
    folder = pathlib.Path(folder).absolute()
    _check_replaceable(folder)
    shape = image_shape or getattr(model, "input_shape", (None,))[1:]
    if len(shape) != 3:
        raise ValueError(
            "The shape of the images is not known from the model: pass "
            "image_shape=(height, width, channels). "
            f"Received: image_shape={image_shape}"
        )
    preprocessing = Preprocessing.of(model, preprocessing)

    def serve(pixels):
        return {"logits": model(preprocessing.fed(pixels), training=False)}

    archive = tf.Module()
    archive.model = model
    # The seeds of random layers are reached by no path that it follows.
    archive.held = [variable.value for variable in model.variables]
    archive.serve = tf.function(
        serve,
        input_signature=[tf.TensorSpec((None, *shape), "uint8", "pixels")],
    )
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


def _check_replaceable(folder):
    """Refuses what `export` would delete, but did not write."""
    if not folder.exists():
        return
    found = {path.name for path in folder.iterdir()}
    others = sorted(found - SAVED_MODEL)
    if others or (found and "saved_model.pb" not in found):
        raise ValueError(
            "A SavedModel needs a folder of its own: new, empty, or with the "
            f"SavedModel whose place it takes. Received: {folder}, which has "
            f"{', '.join((others or sorted(found))[:3])}"
        )


class Served:
    """An exported network, reloaded: pixels to logits.

    Args:
        folder: Path that `export` wrote.
    """

    def __init__(self, folder):
        # Held: the signature alone does not keep its variables alive.
        self._loaded = tf.saved_model.load(str(folder))
        self.signature = self._loaded.signatures["serving_default"]

    def __call__(self, images, batch_size=None) -> np.ndarray:
        """The logits `(n, classes)` of uint8 images."""
        images = check_pixels(images)
        logits = [
            self.signature(tf.constant(piece))["logits"]
            for piece in pieces_of(images, batch_size)
        ]
        return np.concatenate([np.asarray(piece) for piece in logits])

    def accuracy(self, images, labels) -> float:
        """The share of images that are taken for their labels."""
        return share_right(self(images).argmax(-1), labels)
