"""A Keras model that stands for the student that it trains."""

import keras

from tf_deepinversion.datasets.elements import pixels_in
from tf_deepinversion.networks import compiled
from tf_deepinversion.networks.one_batch import OneBatch


class StudentModel(OneBatch):
    """A model that trains another model, `student`, and saves that model."""

    @property
    def trained(self) -> keras.Model:
        """The network that training changes."""
        return self.student

    @property
    def networks(self) -> list:
        """List of pairs (`keras.Model`, image shape), networks of a step."""
        raise NotImplementedError

    def compile(
        self,
        optimizer="rmsprop",
        loss=None,
        loss_weights=None,
        metrics=None,
        weighted_metrics=None,
        run_eagerly=False,
        steps_per_execution=1,
        jit_compile="auto",
        auto_scale_loss=True,
    ):
        """As in Keras; the loss is always the model's own, not `loss`."""
        super().compile(
            optimizer,
            loss,
            loss_weights,
            metrics,
            weighted_metrics,
            run_eagerly,
            steps_per_execution,
            jit_compile,
            auto_scale_loss,
        )
        compiled.settle(self, jit_compile, self.networks)

    def fit(self, x=None, y=None, *args, validation_data=None, **kwargs):
        """As in Keras, on pixels: integers in [0, 255].

        Elements of a `tf.data.Dataset` may have parts behind image and label,
        which count for nothing.

        Raises:
            TypeError: if the images are not integers.
            ValueError: if they are not in [0, 255], or if an argument would
                change nothing, such as `sample_weight`.
        """
        if isinstance(validation_data, (tuple, list)) and validation_data:
            images, *labels = validation_data
            validation_data = pixels_in(images), *labels
        return super().fit(
            pixels_in(x),
            y,
            *args,
            validation_data=pixels_in(validation_data),
            **kwargs,
        )

    def evaluate(self, x=None, *args, **kwargs):
        """As in Keras, on pixels, as `fit`."""
        return super().evaluate(pixels_in(x), *args, **kwargs)

    def save(self, filepath, *args, **kwargs):
        """Saves the student as a plain model, like `student.save`.

        `keras.callbacks.ModelCheckpoint` of whole models in `fit` also saves
        the student. `save_weights` saves this object, which contains the
        student.

        Args:
            filepath: Path that ends in `.keras`.
            *args: Arguments of `keras.Model.save`.
            **kwargs: Arguments of `keras.Model.save`.
        """
        return self.student.save(filepath, *args, **kwargs)

    def get_config(self):
        """Refuses: a config cannot hold two networks.

        Raises:
            NotImplementedError: always, with an alternative.
        """
        raise NotImplementedError(
            "A Distillation has no config, because it holds two networks. Save "
            "the student by `save`, and create "
            "`Distillation(teacher, student)` again. "
            f"Received: get_config of {self.student.name!r} in distillation"
        )

    def export(self, filepath, *args, **kwargs):
        """Refuses: export the student instead.

        Raises:
            NotImplementedError: always, with the alternative.
        """
        raise NotImplementedError(
            "Export the student, not the Distillation: "
            "tf_deepinversion.export(model.student, folder, "
            "model.student_preprocessing) makes a SavedModel from pixels to "
            f"logits. Received: filepath={str(filepath)!r}"
        )
