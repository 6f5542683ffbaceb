"""Base class of callbacks that watch the images of an inversion."""

import keras

from tf_deepinversion.inversion.deep_inversion import DeepInversion


class WatchesImages(keras.callbacks.Callback):
    """A callback for `DeepInversion.fit` only.

    Raises:
        TypeError: at the start of training, if the model is not a
            `DeepInversion`.
    """

    def misplaced(self, where) -> TypeError:
        """Makes the error for a callback in the wrong place."""
        return TypeError(
            f"{type(self).__name__} watches an inversion: pass it to the `fit` "
            f"of a `DeepInversion`. Received: in {where}"
        )

    def on_train_begin(self, logs=None):
        if not isinstance(self.model, DeepInversion):
            raise self.misplaced(f"the `fit` of a {type(self.model)}")
