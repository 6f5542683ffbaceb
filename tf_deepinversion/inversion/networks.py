"""The networks of an inversion: a teacher, and perhaps a student."""

import contextlib

import numpy as np
import tensorflow as tf

from tf_deepinversion.core.checks import check_pixels
from tf_deepinversion.networks.classifier import Classifier
from tf_deepinversion.networks.compute_policy import policy_named
from tf_deepinversion.networks.feature_targets import FeatureTargets
from tf_deepinversion.networks.preprocessing import Preprocessing
from tf_deepinversion.networks.reader import readings_of
from tf_deepinversion.networks.replica_checks import require_scope
from tf_deepinversion.networks.replicas import in_scope
from tf_deepinversion.networks.student_input import check_channels
from tf_deepinversion.networks.student_input import preprocessing_of_student
from tf_deepinversion.networks.student_input import shape_of_student
from tf_deepinversion.networks.student_input import student_input
from tf_deepinversion.objective.terms import Term


class Networks:
    """A teacher and a student, which read images in z.

    This class is no Keras object, so Keras does not track its attributes: a
    model that has a `Networks` does not count the networks' weights as its own.

    Args:
        teacher: A `keras.Model`.
        preprocessing: A `Preprocessing`, or None if the teacher is known by its
            name.
        student: A `keras.Model`, or None.
        student_preprocessing: A `Preprocessing`, or None.
        image_shape: Tuple `(height, width, channels)`, or None if the teacher
            fixes it.
        dtype: A dtype policy for the networks, or None.
        targets: `FeatureTargets` of the teacher, or None for the statistics of
            its BatchNormalization layers.

    Attributes:
        teacher: A `Classifier`.
        student: A `Classifier`, or None.
        preprocessing: The teacher's `Preprocessing`.
        student_preprocessing: The student's `Preprocessing`, or None.
        targets: As given.
        feeds_alike: Bool, whether teacher and student take the same inputs;
            True without a student.

    Raises:
        TypeError: if a network is not a `keras.Model`.
        ValueError: if a network cannot be inverted, or the two do not fit.
    """

    def __init__(
        self,
        teacher,
        preprocessing=None,
        student=None,
        student_preprocessing=None,
        image_shape=None,
        dtype=None,
        targets=None,
    ):
        strategy = tf.distribute.get_strategy()
        self._dtype, self.targets = dtype, targets
        if targets is not None:
            _require_targets(targets, teacher)
        self.teacher = Classifier(
            in_scope(teacher, strategy), image_shape, dtype, targets
        )
        self.student = self.student_preprocessing = None
        if student is not None:
            # Not a copy, which would stay as the student is now.
            require_scope(student, strategy)
            self.student = self._fitting(student)
        self.preprocessing = Preprocessing.of(teacher, preprocessing)
        self.preprocessing.require_channels(self.teacher.image_shape[-1])
        if student is not None:
            self.student_preprocessing = preprocessing_of_student(
                student, student_preprocessing, self.preprocessing, teacher
            )
            check_channels(
                self.teacher.image_shape,
                self.student.image_shape,
                self.student_preprocessing,
            )
        self.feeds_alike = student is None or (
            self.student.image_shape == self.teacher.image_shape
            and self.student_preprocessing.feeds_as(self.preprocessing)
        )

    def _fitting(self, student):
        shape = shape_of_student(student, self.teacher.image_shape)
        found = Classifier(student, shape, self._dtype)
        if found.classes != self.teacher.classes:
            raise ValueError(
                "Teacher and student must have the same classes. "
                f"Received: {self.teacher.classes} and {found.classes}"
            )
        return found

    @property
    def dtype(self):
        """The name of the requested dtype policy, or None."""
        given = self._dtype
        return given and policy_named(given).name

    @property
    def student_shape(self):
        """(height, width, channels) of the student's inputs, or None."""
        return self.student and self.student.image_shape

    @property
    def classifiers(self) -> list:
        """The teacher, and the student if there is one."""
        return [x for x in (self.teacher, self.student) if x is not None]

    def settings(self) -> dict:
        """Returns the settings on which images depend, without the networks."""
        found = {"preprocessing": self.preprocessing.get_config()}
        if not self.feeds_alike:
            found["student_preprocessing"] = self.student_preprocessing
            found["student_shape"] = self.student_shape
        if self.targets is not None:
            found["targets"] = self.targets
        return found

    @contextlib.contextmanager
    def open(self):
        """A context in which `read` can be called."""
        with contextlib.ExitStack() as stack:
            for network in self.classifiers:
                stack.enter_context(network.open())
            yield self

    def read(self, images):
        """Runs the open networks on images.

        Args:
            images: z, float tensor `(batch, height, width, channels)`.

        Returns:
            A pair: the teacher's `Reading`, and the student's logits `(batch,
            classes)`, or None without a student.
        """
        # A student with equal inputs reads the same tensor.
        fed = self.preprocessing.teacher_input(images)
        reading = self.teacher.read(fed)
        if self.student is None:
            return reading, None
        if not self.feeds_alike:
            fed = self.student_input(images)
        logits = self.student.read(fed).logits
        return reading, tf.cast(logits, reading.logits.dtype)

    def student_input(self, images):
        """Converts z to the inputs of a student with other inputs."""
        pixels = self.preprocessing.pixels(images)
        shape = self.student.image_shape
        return student_input(pixels, shape, self.student_preprocessing)

    def require_sizes(self, shapes):
        """Prepares the networks to read images of these shapes, too.

        Args:
            shapes: Iterable of tuples `(height, width, channels)`.

        Raises:
            ValueError: if a network cannot read them.
        """
        for shape in set(shapes):
            for network in self.classifiers:
                if network.image_shape != self.teacher.image_shape:
                    continue  # `student_input` resizes to its own size
                if shape != network.image_shape:
                    network.require_size(shape)

    def require_terms(self, loss):
        """Checks that `loss` is a list of terms that fit the networks.

        Raises:
            TypeError: if `loss` is not a list of terms with names.
            ValueError: if a term needs layers or a student that are missing.
        """
        if not isinstance(loss, (list, tuple)) or not (
            loss and all(isinstance(term, Term) for term in loss)
        ):
            raise TypeError(
                "`loss` must be a list of terms, such as [CrossEntropy(), "
                f"FeatureStatistics(10.0)]. Received: loss={loss}"
            )
        for term in loss:
            self._require_term(term)

    def _require_term(self, term):
        if not isinstance(term.name, str):
            raise TypeError(
                f"A term needs a name, for the logs. Received: "
                f"{type(term).__name__} with name={term.name!r}"
            )
        if term.needs_batch_norms:
            self.teacher.require_batch_norms()
        if term.needs_student and self.student is None:
            raise ValueError(
                f"The term {term.name!r} needs a student: "
                "DeepInversion(teacher, student=student)."
            )
        if term.needs_features and not self.teacher.features:
            raise ValueError(
                "The term reads the features that feed a dense head, but this "
                "teacher's logits are not the outputs of a `Dense` layer: "
                "leave out `feature_dropout` and `ClassMeans`. "
                f"Received: {term.get_config()} of {term.name!r}"
            )

    def classes_of(self, images, batch_size=None) -> np.ndarray:
        """Predicts the classes of images by the teacher in its own precision.

        Args:
            images: uint8 array `(n, height, width, channels)`.
            batch_size: Int, number of images that the teacher reads at once.
                Defaults to 250, or fewer large images.

        Returns:
            An int32 array `(n,)`, the class with the largest logit of each
            image.

        Raises:
            TypeError: if the images are not integers.
            ValueError: if the images have another shape, or there is no image.
        """
        images, teacher = check_pixels(images), self.teacher
        # Predictions use the network's own precision, not that of the
        # inversion.
        if self._dtype is not None:
            teacher = Classifier(teacher.model, teacher.image_shape)
        logits = readings_of(
            teacher,
            images,
            self.preprocessing,
            lambda reading: reading.logits,
            batch_size,
        )
        return logits.argmax(-1).astype("int32")


def _require_targets(targets, teacher):
    if not isinstance(targets, FeatureTargets):
        raise TypeError(
            "Expected `FeatureTargets`, such as "
            "FeatureTargets.measure(teacher, images). "
            f"Received: targets={targets!r}"
        )
    targets.require_network(teacher)
