"""A callback that saves pictures of an inversion in progress."""

import pathlib

import numpy as np
import tensorflow as tf

from tf_deepinversion.callbacks.watches_images import WatchesImages
from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.core.files import require_local
from tf_deepinversion.core.pictures import grid
from tf_deepinversion.core.pictures import save_png


class ImageGrid(WatchesImages):
    """Saves all images as one PNG, every few epochs.

    Pass the callback to `DeepInversion.fit(callbacks=[...])`.

    Args:
        path: Path of the PNG. `{epoch}` in the path becomes the epoch's
            number; without `{epoch}` each picture replaces the one before.
        every: Int, number of epochs between pictures. Defaults to 1.
        columns: Int, number of images in a row. Defaults to 10.
        scale: Int, factor by which each pixel is enlarged. Defaults to 2.
        log_dir: Path of a TensorBoard log that also gets the pictures, or
            None. Defaults to None.

    Raises:
        TypeError: at the start of training, if the model is not a
            `DeepInversion`.
        ValueError: if a number is not whole, or `path` has other braces.

    Example:
        >>> grid = di.ImageGrid("images_{epoch}.png", every=5)
        >>> grid.every, grid.columns
        (5, 10)
    """

    def __init__(self, path, every=1, columns=10, scale=2, log_dir=None):
        super().__init__()
        require_local(path=path)
        require_whole(every=every, columns=columns, scale=scale)
        self.path = str(path)
        try:
            self.path.format(epoch=1)
        except (KeyError, IndexError, ValueError) as error:
            raise ValueError(
                "`path` may contain {epoch} and no other braces. "
                f"Received: path={self.path!r}"
            ) from error
        self.every = every
        self.columns = columns
        self.scale = scale
        self.log_dir, self._writer = log_dir, None

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self.every:
            return
        picture = grid(self.model.images, self.columns, self.scale)
        save_png(pathlib.Path(self.path.format(epoch=epoch + 1)), picture)
        if self.log_dir is not None:
            self._add_to_tensorboard(picture, epoch + 1)

    def _add_to_tensorboard(self, picture, step):
        # One writer for the whole run: each writer starts a new file of events.
        if self._writer is None:
            self._writer = tf.summary.create_file_writer(str(self.log_dir))
        with self._writer.as_default():
            tf.summary.image("images", picture[np.newaxis], step)
        self._writer.flush()

    def on_train_end(self, logs=None):
        if self._writer is not None:
            self._writer.close()
            self._writer = None
