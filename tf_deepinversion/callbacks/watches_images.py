"""What watches the images of an inversion, and nothing else."""

import keras

from tf_deepinversion.inversion.deep_inversion import DeepInversion


class WatchesImages(keras.callbacks.Callback):
    """A callback of `DeepInversion.fit`, which has images to look at.

    Raises:
        TypeError: where training begins, if the model is no `DeepInversion`.
    """

    def misplaced(self, where) -> TypeError:
        """The error that says what this callback is for."""
        return TypeError(
            f"{type(self).__name__} watches an inversion: give it to the `fit` "
            f"of a `DeepInversion`. Received: in {where}"
        )

    def on_train_begin(self, logs=None):
        if not isinstance(self.model, DeepInversion):
            raise self.misplaced(f"the `fit` of a {type(self.model)}")
