"""SavedModels that take uint8 pixels, for any preprocessing of the network."""

import os
import pathlib
import shutil
import tempfile

import numpy as np
import tensorflow as tf

from tf_deepinversion.core.checks import check_pixels
from tf_deepinversion.core.files import require_local
from tf_deepinversion.core.pieces import pieces_of
from tf_deepinversion.core.predictions import share_right
from tf_deepinversion.networks.preprocessing import Preprocessing
from tf_deepinversion.networks.stored_names import require_stored_names

SAVED_MODEL = {
    "saved_model.pb",
    "fingerprint.pb",
    "keras_metadata.pb",
    "variables",
    "assets",
    "assets.extra",
}


def export(model, folder, preprocessing=None, image_shape=None):
    """Writes a SavedModel that maps uint8 pixels to the model's output.

    Its serving signature takes `(batch, height, width, channels)` and returns
    `{"logits": outputs}`, `(batch, classes)`. They are the outputs of the model
    itself: probabilities of a model that ends in a softmax or a sigmoid. An
    existing SavedModel is replaced completely.

    Args:
        model: A `keras.Model` with one input, the image.
        folder: Path of a folder that is new, empty, or holds a SavedModel.
        preprocessing: The model's `Preprocessing`, or None if the model is
            known by its name.
        image_shape: Tuple `(height, width, channels)`, required if the model
            does not know its shape; None marks an open size.

    Raises:
        ValueError: if the folder holds other files, the shape of the images is
            unknown, or TensorFlow cannot write the name of a layer.

    Example:
        ```python
        di.export(teacher, "saved_model")
        served = tf.saved_model.load("saved_model")
        served.signatures["serving_default"](tf.constant(images))["logits"]
        ```
    """
    require_local(folder=folder)
    folder = pathlib.Path(os.path.realpath(folder))  # a link stays a link
    check_replaceable(folder)
    shape = image_shape or getattr(model, "input_shape", (None,))[1:]
    if np.ndim(shape) != 1 or len(shape) != 3:
        raise ValueError(
            "The model does not fix the shape of its images: pass "
            "image_shape=(height, width, channels). "
            f"Received: image_shape={image_shape}"
        )
    preprocessing = Preprocessing.of(model, preprocessing)
    require_stored_names(model)

    def serve(pixels):
        return {"logits": model(preprocessing.fed(pixels), training=False)}

    archive = tf.Module()
    archive.model = model
    # `tf.saved_model.save` does not find the seeds of random layers itself.
    archive.held = [variable.value for variable in model.variables]
    archive.serve = tf.function(
        serve,
        input_signature=[tf.TensorSpec((None, *shape), "uint8", "pixels")],
    )
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Beside the folder, because a rename works within one file system only.
    part = tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent)
    try:
        tf.saved_model.save(
            archive, part, signatures={"serving_default": archive.serve}
        )
        # Only its owner can read a folder of `mkdtemp`.
        os.chmod(part, 0o755)
        old = pathlib.Path(f"{part}.old")
        if folder.exists():
            # No half is ever there. A kill between the two renames leaves the
            # old model beside, under a name that ends in `.old`.
            os.replace(folder, old)
        try:
            os.replace(part, folder)
        except BaseException:
            if old.exists():
                os.replace(old, folder)
            raise
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def check_replaceable(folder):
    """Refuses a folder with files that `export` did not write."""
    if not folder.exists():
        return
    found = {path.name for path in folder.iterdir()}
    others = sorted(found - SAVED_MODEL)
    if others or (found and "saved_model.pb" not in found):
        raise ValueError(
            "A SavedModel needs a folder of its own: new, empty, or with a "
            f"SavedModel to replace. Received: {folder}, which has "
            f"{', '.join((others or sorted(found))[:3])}"
        )


class Served:
    """An exported network, loaded again: a function from pixels to logits.

    Args:
        folder: Path that `export` wrote.
    """

    def __init__(self, folder):
        require_local(folder=folder)
        # The signature alone does not keep its variables alive.
        self._loaded = tf.saved_model.load(str(folder))
        self.signature = self._loaded.signatures["serving_default"]

    def __call__(self, images, batch_size=None) -> np.ndarray:
        """Computes the outputs `(n, classes)` for uint8 images."""
        images = check_pixels(images)
        logits = [
            self.signature(tf.constant(piece))["logits"]
            for piece in pieces_of(images, batch_size)
        ]
        return np.concatenate([np.asarray(piece) for piece in logits])

    def accuracy(self, images, labels) -> float:
        """Computes the share of images assigned to their labels."""
        return share_right(self(images), labels)
