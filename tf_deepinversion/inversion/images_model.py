"""A Keras model whose variables are images: what it is not, it refuses."""

import keras


class ImagesModel(keras.Model):
    """A `keras.Model` that makes images and is no network.

    It is trained by a `fit` of its own, and callbacks may read and write its
    weights. What Keras would do with a network, it refuses in words.

    Subclasses have a property `step`, an `InversionStep`, or None as long as
    there are no images.
    """

    step = None

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.built = True  # `fit` makes the variables; there is no input

    @property
    def trainable_variables(self):
        return [] if self.step is None else self.step.source.variables

    @property
    def trainable_weights(self):
        return self.trainable_variables

    @property
    def variables(self):
        return self.trainable_variables

    @property
    def weights(self):
        return self.trainable_variables

    def save_own_variables(self, store):
        self.require_images()
        store["images"] = self.step.rows.gather(self.step.images)

    def load_own_variables(self, store):
        self.require_images()
        self.step.rows.scatter(self.step.images, store["images"])

    def require_images(self):
        """Raises a ValueError if there are no images yet."""
        if self.step is None:
            raise ValueError("There are no images yet: call `fit` first.")

    def call(self, inputs):
        """Refuses: images are made here, none are read.

        Raises:
            NotImplementedError: always; it says what to do.
        """
        raise NotImplementedError(
            "An inversion makes images and reads none: `fit` makes them, "
            "`images` are what it made, `classes_of(images)` is what the "
            f"teacher takes them for. Received: inputs of {inputs.shape}"
        )

    def save(self, filepath, *args, **kwargs):
        """Refuses, for images are no network.

        Raises:
            NotImplementedError: always; it says what to do.
        """
        raise _not_a_network(f"save to {str(filepath)!r}")

    def export(self, filepath, *args, **kwargs):
        """Refuses, as `save` does."""
        raise _not_a_network(f"export to {str(filepath)!r}")

    def get_config(self):
        """Refuses, as `save` does."""
        raise _not_a_network("get_config")


def _not_a_network(received):
    return NotImplementedError(
        "What an inversion makes are images, and no network that can be "
        "loaded. Keep `images`, say in a `Pool` with a folder; for a state to "
        "go on from, pass `checkpoint=` to `fit`. "
        f"Received: {received}"
    )


def check_callbacks(callbacks):
    """Refuses what would fail after the first epoch, before it.

    Args:
        callbacks: List of `keras.callbacks.Callback`, or None.

    Raises:
        NotImplementedError: if one saves whole models.
    """
    for callback in callbacks or []:
        if isinstance(callback, keras.callbacks.ModelCheckpoint) and (
            not callback.save_weights_only
        ):
            raise _not_a_network(
                f"a ModelCheckpoint of whole models, {callback.filepath!r}"
            )
