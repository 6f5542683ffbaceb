"""A Keras model whose variables are images."""

import keras


class ImagesModel(keras.Model):
    """Base class of a `keras.Model` that makes images and is no network.

    The model has its own `fit`. Callbacks may read and write its weights, which
    are the variables of the images. Methods of Keras that need a network raise
    an error that says what to do.

    Subclasses have a property `step`, an `InversionStep`, or None before there
    are images.
    """

    step = None

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        if self.variable_dtype not in ("float32", "float64"):
            raise ValueError(
                "The images are variables of float32 or float64: compute in "
                'less by dtype="mixed_bfloat16". Received: '
                f"{self.dtype_policy}, of dtype= or of "
                "keras.config.set_dtype_policy"
            )
        # Keras builds a model at its first call. This model is never called:
        # `fit` creates the variables.
        self.built = True

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

    def get_weights(self):
        """Returns arrays of the images, and of the generator that makes them.

        Keras would read the rows of the first replica, and leave out what no
        optimizer changes.
        """
        return [self.step.rows.gather(x) for x in self._state()]

    def set_weights(self, weights):
        """Assigns what `get_weights` returned."""
        for variable, value in zip(self._state(), weights, strict=True):
            self.step.rows.scatter(variable, value)

    def _state(self):
        return [] if self.step is None else self.step.source.state().values()

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
        """Refuses, because this model makes images and reads none.

        Raises:
            NotImplementedError: always; it says what to do.
        """
        raise NotImplementedError(
            "An inversion makes images and reads none. Call `fit` to make "
            "images, read them from `images`, and call `classes_of(images)` "
            f"for the teacher's predictions. Received: inputs of {inputs.shape}"
        )

    def save(self, filepath, *args, **kwargs):
        """Refuses, because images are no network.

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
        "An inversion makes images, not a network that can be loaded. Keep "
        "`images`, for example in a `Pool` with a folder. To resume a run, "
        "pass `checkpoint=` to `fit`. "
        f"Received: {received}"
    )


def check_callbacks(callbacks):
    """Refuses callbacks that would fail after the first epoch.

    Args:
        callbacks: List of `keras.callbacks.Callback`, or None.

    Raises:
        NotImplementedError: if a callback saves whole models.
    """
    for callback in callbacks or []:
        if isinstance(callback, keras.callbacks.ModelCheckpoint) and (
            not callback.save_weights_only
        ):
            raise _not_a_network(
                f"a ModelCheckpoint of whole models, {callback.filepath!r}"
            )
