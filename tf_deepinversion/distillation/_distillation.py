"""Distillation: a student learns a teacher's outputs for images."""

import keras
import tensorflow as tf

from tf_deepinversion.core.checks import require_integers
from tf_deepinversion.core.checks import require_seed
from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.core.pieces import read_by_pieces
from tf_deepinversion.datasets.elements import pixels_and_labels
from tf_deepinversion.distillation.answers import Answers
from tf_deepinversion.distillation.student_model import StudentModel
from tf_deepinversion.distillation.teacher_cache import TeacherCache
from tf_deepinversion.distillation.teacher_cache import require_one_replica
from tf_deepinversion.distillation.teacher_cache import setting_of
from tf_deepinversion.networks import replicas
from tf_deepinversion.networks.classifier import Classifier
from tf_deepinversion.networks.compute_policy import policy_named
from tf_deepinversion.networks.measured_policy import chosen_policy
from tf_deepinversion.networks.preprocessing import Preprocessing
from tf_deepinversion.networks.require_trainable import require_trainable
from tf_deepinversion.networks.student_input import check_channels
from tf_deepinversion.networks.student_input import preprocessing_of_student
from tf_deepinversion.networks.student_input import shape_of_student
from tf_deepinversion.networks.student_input import student_input
from tf_deepinversion.transforms.base import apply
from tf_deepinversion.transforms.base import draw_own
from tf_deepinversion.transforms.base import require_transforms
from tf_deepinversion.transforms.shifts import HorizontalFlip
from tf_deepinversion.transforms.shifts import Shift


def _read(classifier, preprocessing, pixels):
    with classifier.open():
        return classifier.read(preprocessing.fed(pixels))


class Distillation(StudentModel):
    """A Keras model that trains a student with its teacher's logits.

    The model needs no labels. `compile`, `fit`, callbacks, and `evaluate` on
    labeled images work as usual, with uint8 pixels. Saving the model saves the
    student. Only the student is trained, and only with the divergence from the
    teacher and the class maps: regularizers of its layers and `add_loss` do not
    count, the optimizer's `weight_decay` does.

    Args:
        teacher: A `keras.Model` classifier.
        student: A `keras.Model` with the teacher's classes, of any architecture
            and image size. The images are resized for the student.
        preprocessing: The teacher's `Preprocessing`, or None if the teacher is
            known by its name. Defaults to None.
        student_preprocessing: The student's `Preprocessing`. Defaults to the
            student's own if it is known by its name, otherwise to the
            teacher's.
        temperature: Float, see `SoftenedKL`. Defaults to 4.
        class_maps: Float, weight of the mean squared distance of both networks'
            class maps: the outputs of the head for the features at each place
            of the image, before their global average. The student then learns
            which part of an image shows which class. The weight has no effect,
            and `class_map_grid` is None, if a network does not end in a
            `GlobalAveragePooling2D` and a `Dense` layer (or in a convolution
            and a `GlobalAveragePooling2D`), or if no grid of several places
            that divides both networks' features has at most 2,048 values: with
            features of 7x7 places, 292 classes are the most. Defaults to 0.
        transforms: List of transforms of the images for both networks, drawn
            anew every step. Defaults to `[Shift(2), HorizontalFlip()]`.
        steps_per_teacher_call: Int, number of student steps that share one call
            of the teacher. With 4, the teacher labels a new batch every fourth
            step, and every step trains on random images of the last 10,240
            that the teacher labeled. `teacher_cache`, a `TeacherCache`, stores
            these transformed, as uint8. Values above 1 need a single device.
            Defaults to 1.
        teacher_cache_bytes: Int, memory limit for these images and answers: one
            byte per pixel value and four per logit and per value of a class
            map. Defaults to 120 million, enough for 10,240 images of 32x32x3.
        image_shape: Tuple `(height, width, channels)`, required if the teacher
            does not fix it. Defaults to the teacher's.
        student_shape: Tuple `(height, width, channels)`. Defaults to the
            student's own; open sizes are the teacher's.
        dtype: A dtype policy for both networks in training. `"mixed_bfloat16"`
            takes 80% of the time on a CPU with instructions for it, and may
            take more on a CPU without. The student's variables keep their
            dtype; `evaluate`, `answers` and calls are exact. `"auto"` chooses
            by a trial, see `DeepInversion`. Defaults to the networks' own
            policies.
        seed: Int in [0, 2**31), seed of the transforms. Defaults to 0.
        **kwargs: Arguments of `keras.Model`, such as `name`.

    Raises:
        TypeError: if a network is not a `keras.Model`, or a transform is not a
            transform. In `fit` and `evaluate`: if the images are not integers.
        ValueError: if classes or channels differ, a number is out of range, or
            as for `Classifier`. In training: if the student has no trainable
            variables or shares layers with the teacher, or if several replicas
            would give another result than one device. In `compile`: if the
            optimizer accumulates gradients.

    Example:
        >>> model = di.Distillation(teacher, student)
        >>> model(images).shape.as_list()  # the student's logits
        [12, 3]
    """

    def __init__(
        self,
        teacher,
        student,
        preprocessing=None,
        student_preprocessing=None,
        *,
        temperature=4.0,
        class_maps=0.0,
        transforms=None,
        steps_per_teacher_call=1,
        teacher_cache_bytes=120_000_000,
        image_shape=None,
        student_shape=None,
        dtype=None,
        seed=0,
        **kwargs,
    ):
        dtype = chosen_policy(dtype)
        super().__init__(**kwargs)
        self._teacher = Classifier(teacher, image_shape)
        shape = shape_of_student(student, self._teacher.image_shape)
        self._student = Classifier(student, student_shape or shape)
        # Only training computes in another precision.
        self._in_training = self._teacher, self._student
        if dtype is not None:
            self._in_training = (
                Classifier(teacher, self._teacher.image_shape, dtype),
                Classifier(student, self._student.image_shape, dtype),
            )
        self._training_dtype = dtype and policy_named(dtype).name
        if self._student.classes != self._teacher.classes:
            raise ValueError(
                "Teacher and student must have the same classes. Received: "
                f"{self._teacher.classes} and {self._student.classes}"
            )
        self.student = student
        self.preprocessing = Preprocessing.of(teacher, preprocessing)
        self.student_preprocessing = preprocessing_of_student(
            student, student_preprocessing, self.preprocessing, teacher
        )
        check_channels(
            self.image_shape, self.student_shape, self.student_preprocessing
        )
        self._answers = Answers(
            self._teacher, self._student, temperature, class_maps
        )
        if transforms is None:
            transforms = [Shift(2), HorizontalFlip()]
        self._transforms = require_transforms(transforms)
        require_whole(
            steps_per_teacher_call=steps_per_teacher_call,
            teacher_cache_bytes=teacher_cache_bytes,
        )
        require_seed(seed)
        self._seed = int(seed)
        self.teacher_cache = self._held = None
        if steps_per_teacher_call > 1:
            self.teacher_cache = TeacherCache(
                self.image_shape,
                self._answers.width,
                steps_per_teacher_call,
                most_bytes=teacher_cache_bytes,
                seed=self._seed,
            )
        self._loss = keras.metrics.Mean(name="loss")
        self._agreement = keras.metrics.Mean(name="agreement")
        self._accuracy = keras.metrics.Mean(name="accuracy")
        self.built = True  # like both networks

    @property
    def teacher(self) -> keras.Model:
        """The teacher, a `keras.Model` that stays unchanged."""
        return self._teacher.model

    @property
    def image_shape(self) -> tuple:
        """Tuple (height, width, channels), the teacher's image shape."""
        return self._teacher.image_shape

    @property
    def student_shape(self) -> tuple:
        """Tuple (height, width, channels), the student's image shape."""
        return self._student.image_shape

    @property
    def networks(self) -> list:
        return [
            (self.teacher, self.image_shape),
            (self.student, self.student_shape),
        ]

    @property
    def class_map_grid(self):
        """Tuple (height, width) of the compared class maps, or None."""
        return self._answers.grid

    @property
    def classes(self) -> int:
        """Int, number of classes of both networks."""
        return self._teacher.classes

    @property
    def metrics(self):
        return [self._loss, self._agreement, self._accuracy]

    def call(self, pixels, training=False):
        """Computes the student's logits.

        Args:
            pixels: Int array `(n, height, width, channels)` in [0, 255].
            training: Bool, whether to call the student in training mode.
                Defaults to False.

        Returns:
            A float tensor `(n, classes)`.

        Raises:
            TypeError: if the pixels are not integers.
        """
        require_integers(keras.backend.standardize_dtype(pixels.dtype))
        return self._read_student(pixels, training).logits

    def _read_student(self, pixels, training=False):
        """Reads the student's answer to pixels, which may be floats."""
        student = self._in_training[1] if training else self._student
        pixels, shape = tf.cast(pixels, "float32"), self.student_shape
        fed = student_input(pixels, shape, self.student_preprocessing)
        with student.open():
            return student.read(fed, training)

    def settings(self) -> dict:
        """Returns the settings that affect the student, as a dict.

        Networks, data and the arguments of `fit` are not included.
        """
        return {
            "image_shape": self.image_shape,
            "student_shape": self.student_shape,
            "temperature": self._answers.temperature,
            "class_maps": self._answers.class_maps,
            "transforms": self._transforms,
            "steps_per_teacher_call": setting_of(self.teacher_cache),
            "preprocessing": self.preprocessing,
            "student_preprocessing": self.student_preprocessing,
            "dtype": self._training_dtype,
            "seed": self._seed,
        }

    def answers(self, images, batch_size=None):
        """Computes both networks' logits of images, in inference mode.

        Args:
            images: uint8 array `(n, height, width, channels)`.
            batch_size: Int, number of images per call. Defaults to 250, or
                fewer large images.

        Returns:
            A pair of arrays `(n, classes)`: the teacher's logits and the
            student's logits.
        """
        return read_by_pieces(
            lambda x: (
                _read(self._teacher, self.preprocessing, x).logits,
                self._read_student(x).logits,
            ),
            images,
            batch_size,
        )

    def teacher_features(self, images, batch_size=None):
        """Computes the teacher's logits and features of images.

        Args:
            images: uint8 array `(n, height, width, channels)`.
            batch_size: Int, number of images per call. Defaults to 250, or
                fewer large images.

        Returns:
            A pair of arrays: the teacher's logits `(n, classes)`, and the
            inputs `(n, features)` of its dense head. Without a dense head both
            are the logits.
        """

        def logits_and_features(pixels):
            reading = self._teacher.read(self.preprocessing.fed(pixels))
            return reading.logits, reading.features

        with self._teacher.open():
            return read_by_pieces(logits_and_features, images, batch_size)

    def require_batch(self, batch_size):
        """Checks that the teacher's cache can hold a batch.

        Raises:
            ValueError: if it cannot.
        """
        if self.teacher_cache:
            self.teacher_cache.require_batch(batch_size)

    @property
    def state_variables(self) -> list:
        """List of the state that training changes besides the student."""
        return self.teacher_cache.variables if self.teacher_cache else []

    def make_train_function(self, force=False):
        """As in Keras, but traces again if the student's constraints changed.

        Keras keeps a traced step with its constraints. Without new tracing, a
        student that got masks in the meantime would train without them.
        """
        held = [v.constraint for v in self.student.trainable_variables]
        super().make_train_function(force or held != self._held)
        self._held = held

    def require_replicas(self):
        """Refuses settings whose result depends on the number of replicas.

        Raises:
            ValueError: if several replicas would give another result, or if
                steps share calls of the teacher.
        """
        if self.teacher_cache:
            steps = self.teacher_cache.steps_per_call
            require_one_replica(self.distribute_strategy, steps)
        super().require_replicas()

    def _ask(self, images, step):
        """Returns the transformed images and the teacher's answers to them."""
        images = tf.cast(images, "float32")
        numbers = draw_own(
            self._transforms, [self._seed, 1], step, tf.shape(images)[0]
        )
        images = apply(self._transforms, images, numbers)
        if self.teacher_cache:
            # The cache stores uint8: the teacher must label what it stores.
            images = tf.clip_by_value(tf.round(images), 0, 255)
        answer = _read(self._in_training[0], self.preprocessing, images)
        return images, self._answers.of(answer)

    def train_step(self, data):
        require_trainable(self.student, self.teacher)
        images, _ = pixels_and_labels(replicas.of_any_size(data))
        step = tf.cast(self.optimizer.iterations, "int32")
        if self.teacher_cache:
            images, target = self.teacher_cache.batch(
                lambda new=images: self._ask(new, step),
                step,
                tf.shape(images)[0],
            )
        else:
            images, target = self._ask(images, step)
        with tf.GradientTape() as tape:
            answer = self._answers.of(self._read_student(images, training=True))
            loss = self._own_loss(target, answer)
            scaled = self.optimizer.scale_loss(loss)
        variables = self.student.trainable_variables
        self.optimizer.apply(tape.gradient(scaled, variables), variables)
        replicas.add_to(self._loss, replicas.total(loss))
        self._agree(target, answer)
        return replicas.logs_of(self._loss, self._agreement)

    def _own_loss(self, target, answer):
        """Returns this replica's part of the mean over all replicas' images."""
        loss = self._answers.loss(target, answer)
        return replicas.of_mean(loss, tf.shape(answer)[0])

    def test_step(self, data):
        images, labels = pixels_and_labels(data)
        images = tf.cast(images, "float32")
        taught = _read(self._teacher, self.preprocessing, images)
        target = self._answers.of(taught)
        answer = self._answers.of(self._read_student(images))
        loss = replicas.total(self._own_loss(target, answer))
        size = tf.cast(replicas.total(tf.shape(images)[0]), "float32")
        # Weighted by size, because the last batch may be smaller.
        replicas.add_to(self._loss, loss, size)
        self._agree(target, answer)
        logged = [self._loss, self._agreement]
        if labels is not None:
            if (labels.shape.rank or 1) > 1 and labels.shape[-1] != 1:
                raise ValueError(
                    "Expected integer labels of shape (n,): use "
                    "`labels.argmax(-1)` for one-hot rows. "
                    f"Received: shape={labels.shape}"
                )
            logits = self._answers.logits(answer)
            right = keras.metrics.sparse_categorical_accuracy(labels, logits)
            replicas.add_to(self._accuracy, replicas.whole(right))
            logged.append(self._accuracy)
        return replicas.logs_of(*logged)

    def _agree(self, target, answer):
        first, second = map(self._answers.logits, (target, answer))
        same = tf.argmax(first, -1) == tf.argmax(second, -1)
        same = replicas.whole(tf.cast(same, "float32"))
        replicas.add_to(self._agreement, same)
