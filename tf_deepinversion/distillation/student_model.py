"""A Keras model that stands for the student that it trains."""

import keras

from tf_deepinversion.networks import compiled
from tf_deepinversion.networks import replicas
from tf_deepinversion.networks.batch_norm_moments import batch_norms


class StudentModel(replicas.OneBatch):
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
        if getattr(self.optimizer, "gradient_accumulation_steps", None):
            raise ValueError(
                "Each step draws its images by the optimizer's number of "
                "updates, so with `gradient_accumulation_steps` several steps "
                "would draw the same images: leave it out, and use a larger "
                "batch. Received: gradient_accumulation_steps="
                f"{self.optimizer.gradient_accumulation_steps}"
            )

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


def require_trainable(teacher, student):
    """Refuses a student that would not learn, or would change its teacher.

    Args:
        teacher: A `keras.Model`.
        student: A `keras.Model`.

    Raises:
        ValueError: if the student has no trainable variables, or its training
            would change layers of the teacher.
    """
    if not student.trainable_variables:
        raise ValueError(
            "The student has no trainable variables: set `trainable = True` of "
            "the student, or of the model that you passed if the student is a "
            f"copy of that model. Received: {student.name!r}"
        )
    norms = batch_norms(student)
    # Training also changes the moving statistics of layers that are not frozen.
    changed = [
        *student.trainable_variables,
        *(v for x in norms if x.trainable for v in x.variables),
    ]
    own = {id(variable) for variable in teacher.variables}
    shared = sorted({v.path for v in changed if id(v) in own})
    if shared:
        raise ValueError(
            "Training the student would change its teacher: freeze the shared "
            "layers (`layer.trainable = False`), or build the student from its "
            "own layers, for instance by `keras.models.clone_model`. "
            f"Received: shared {shared[:3]}"
        )
