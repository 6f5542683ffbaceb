"""What a distillation is as a Keras model: its student."""

import keras

from tf_deepinversion.networks import replicas
from tf_deepinversion.networks.batch_norm_moments import batch_norms


class StudentModel(replicas.OneBatch):
    """A model that trains another one, `student`, and is saved as that one."""

    @property
    def trained(self) -> keras.Model:
        """The network that training changes."""
        return self.student

    def save(self, filepath, *args, **kwargs):
        """Saves the student, as `student.save` and so as a model of its own.

        So does a `keras.callbacks.ModelCheckpoint` of whole models in `fit`.
        `save_weights` is of this object, whose part the student is.

        Args:
            filepath: Path, that ends in `.keras`.
            *args: Of `keras.Model.save`, as `**kwargs` are.
            **kwargs: See there.
        """
        return self.student.save(filepath, *args, **kwargs)

    def get_config(self):
        """Refuses: two networks are no config.

        Raises:
            NotImplementedError: always; it says what to do.
        """
        raise NotImplementedError(
            "A Distillation is not made from a config, for it holds two "
            "networks. Save the student, by `save`, and make "
            "`Distillation(teacher, student)` again. "
            f"Received: get_config of {self.student.name!r} in distillation"
        )

    def export(self, filepath, *args, **kwargs):
        """Refuses, for the student is to be exported.

        Raises:
            NotImplementedError: always; it says how.
        """
        raise NotImplementedError(
            "A Distillation is not exported, its student is: "
            "tf_deepinversion.export(model.student, folder, "
            "model.student_preprocessing) makes a SavedModel of pixels to "
            f"logits. Received: filepath={str(filepath)!r}"
        )


def require_trainable(teacher, student):
    """Refuses a student that would not learn, or would change its teacher.

    Args:
        teacher: A `keras.Model`.
        student: A `keras.Model`.

    Raises:
        ValueError: if the student has no trainable variables, or training it
            would change layers of the teacher.
    """
    if not student.trainable_variables:
        raise ValueError(
            "The student has no trainable variables: set "
            "`student.trainable = True`."
        )
    norms = batch_norms(student)
    changed = [
        *student.trainable_variables,
        *(v for x in norms if x.trainable for v in x.variables),
    ]
    own = {id(variable) for variable in teacher.variables}
    shared = sorted({v.path for v in changed if id(v) in own})
    if shared:
        raise ValueError(
            "To train the student would change its teacher: freeze the layers "
            "that they share (`layer.trainable = False`), or make the student "
            "of layers of its own, say by `keras.models.clone_model`. "
            f"Received: {shared[:3]}"
        )
