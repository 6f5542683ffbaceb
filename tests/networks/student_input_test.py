"""A student that is fed otherwise than its teacher sees the same images."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tf_deepinversion import RECIPES
from tf_deepinversion import Competition
from tf_deepinversion import CrossEntropy
from tf_deepinversion import DeepInversion
from tf_deepinversion import Distillation
from tf_deepinversion import FastInversion
from tf_deepinversion import Preprocessing
from tf_deepinversion import distill
from tf_deepinversion.models.generator import Generator
from tf_deepinversion.networks.student_input import student_input

SHAPE = (8, 8, 3)
LOUD = keras.initializers.RandomNormal(stddev=2.0, seed=1)
PIXELS = Preprocessing([110, 100, 90], [60, 55, 50])


def of_pixels(size=8, channels=3):
    """A network whose logits depend much on how it is fed."""
    keras.utils.set_random_seed(4)
    inputs = keras.Input((size, size, channels))
    x = layers.Rescaling(1 / 50, offset=-2)(inputs)
    x = layers.Conv2D(5, 3, activation="tanh")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(3, kernel_initializer=LOUD)(x))


def teacher_of(student, scale, order):
    """The same function of the pixels, fed otherwise."""
    inputs = keras.Input(SHAPE)
    x = inputs
    if order == "bgr":
        x = layers.Lambda(lambda x: x[..., ::-1])(x)
    x = layers.Rescaling(255 / scale)(x)
    if student.input_shape[1] != SHAPE[0]:
        x = layers.Resizing(*student.input_shape[1:3])(x)
    return keras.Model(inputs, student(x), name="teacher")


def inversion(kind, teacher, preprocessing, **kwargs):
    recipe = RECIPES["ours"]
    if kind is FastInversion:
        recipe = RECIPES["generator"]
        kwargs["generator"] = Generator(SHAPE, 3, latents=4, width=4)
    recipe = recipe.replace(transforms=[])
    model = kind(teacher, preprocessing, recipe=recipe, **kwargs)
    model.compile(loss=[CrossEntropy(), Competition(1.0)])
    return model


@pytest.mark.parametrize(
    ("kind", "scale", "order", "size"),
    [
        (DeepInversion, 1.0, "rgb", 8),
        (DeepInversion, 255.0, "bgr", 4),
        (FastInversion, 1.0, "bgr", 8),
    ],
)
def test_two_networks_that_are_one_function_do_not_differ(
    kind, scale, order, size
):
    student = of_pixels(size)
    teacher = teacher_of(student, scale, order)
    told = Preprocessing(PIXELS.mean, PIXELS.std, (0, scale), order)
    model = inversion(
        kind, teacher, told, student=student, student_preprocessing=PIXELS
    )
    history = model.fit([0, 1, 2], steps=2, verbose=0).history
    assert history["competition"][-1] == pytest.approx(1, abs=1e-5)
    found = Distillation(
        teacher, student, told, student_preprocessing=PIXELS
    ).answers(model.images)
    np.testing.assert_allclose(*found, atol=1e-4)


def test_fed_as_its_teacher_it_is_another_network():
    student = of_pixels()
    teacher = teacher_of(student, 1.0, "rgb")
    told = Preprocessing(PIXELS.mean, PIXELS.std, (0, 1))
    model = inversion(DeepInversion, teacher, told, student=student)
    history = model.fit([0, 1, 2], steps=1, verbose=0).history
    assert history["competition"][-1] < 0.999


def test_a_student_known_by_name_is_fed_by_its_own():
    inputs = keras.Input(SHAPE)
    x = layers.Rescaling(1 / 50, -2, name="normalize")(inputs)
    x = layers.Dense(3)(layers.GlobalAveragePooling2D()(x))
    known = keras.Model(inputs, x)
    told = Preprocessing(110, 60, (0, 1))
    model = DeepInversion(of_pixels(), told, student=known)
    assert model.student_preprocessing.std.tolist() == [50]
    unknown = DeepInversion(of_pixels(), told, student=of_pixels())
    assert unknown.student_preprocessing is told


def test_gray_images_become_those_of_a_student_of_colors():
    teacher, student = of_pixels(channels=1), of_pixels()
    gray = Preprocessing(110, 60)
    model = DeepInversion(
        teacher, gray, student=student, student_preprocessing=PIXELS
    )
    model.compile(loss=[CrossEntropy(), Competition(1.0)])
    model.fit([0, 1], steps=1, verbose=0)
    z = tf.constant(gray.normalize(model.images))
    fed = model.networks.student_input(z)
    np.testing.assert_allclose(
        fed, np.repeat(model.images, 3, -1), rtol=1e-4, atol=1e-3
    )
    with pytest.raises(ValueError, match="have 3 channels.*of 1 channels"):
        DeepInversion(teacher, gray, student=student)


def test_fed_alike_nothing_is_computed_anew():
    """So that figures stay what they are, to the bit."""
    student = of_pixels()
    other = Preprocessing([80, 70, 60], 40)  # of pixels, too
    model = DeepInversion(
        of_pixels(), PIXELS, student=student, student_preprocessing=other
    )
    model.compile(loss=[CrossEntropy()])
    assert model.networks.feeds_alike
    assert "student_preprocessing" not in model.settings()
    assert not other.feeds_as(Preprocessing(80, 40, (0, 1)))
    assert not other.feeds_as(Preprocessing(80, 40, channel_order="bgr"))


def test_its_settings_say_how_it_is_fed():
    model = DeepInversion(
        of_pixels(),
        PIXELS,
        student=of_pixels(),
        student_preprocessing=Preprocessing(110, 60, (0, 1)),
    )
    model.compile(loss=[CrossEntropy()])
    found = model.settings()["student_preprocessing"]
    assert found is model.student_preprocessing
    assert not model.networks.feeds_alike


def test_distill_and_its_synthesizer_must_feed_alike():
    teacher, student = of_pixels(), of_pixels()

    def start(preprocessing=PIXELS, **kwargs):
        synthesizer = DeepInversion(
            teacher, preprocessing, student=student, **kwargs
        )
        distill(teacher, student, synthesizer, rounds=1, preprocessing=PIXELS)

    unit = Preprocessing(110, 60, (0, 1))
    with pytest.raises(ValueError, match="same `student_preprocessing`"):
        start(student_preprocessing=unit)
    with pytest.raises(ValueError, match="the same `preprocessing`.*Received"):
        start(unit, student_preprocessing=PIXELS)
    with pytest.raises(TypeError, match="Expected a `Preprocessing`"):
        start(student_preprocessing=1)


def applied(name, classes=3, size=8):
    inputs = keras.Input((size, size, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(inputs))
    return keras.Model(inputs, layers.Dense(classes)(x), name=name)


def test_a_copy_of_an_application_is_fed_as_its_teacher():
    """What the user says of the teacher goes before what a name tells."""
    fed = Preprocessing(120, 64, (0, 1))
    teacher, copy = (applied("mobilenetv2_0.35_32") for _ in range(2))
    assert Distillation(teacher, copy, fed).student_preprocessing == fed
    # Another application is what its name says.
    other = Distillation(teacher, applied("resnet50"), fed)
    caffe = Preprocessing.imagenet("caffe")
    assert other.student_preprocessing.feeds_as(caffe)
    # A layer within the student is decisive.
    own = layers.Rescaling(1 / 64, -120 / 64, name="normalize")
    inputs = keras.Input((8, 8, 3))
    named = keras.Model(inputs, copy(own(inputs)), name=teacher.name)
    found = Distillation(teacher, named, fed).student_preprocessing
    assert found.pixel_range == (0, 255)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.inside = applied("inside")

    def call(self, x):
        return self.inside(x)


@pytest.mark.parametrize("kind", ["open", "subclassed"])
def test_students_of_no_fixed_size_take_the_teacher_s(kind):
    student = applied("student", size=None)
    if kind == "subclassed":
        student = Subclassed()
        student(np.zeros((1, 8, 8, 3)))
    images = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), "uint8")
    before = student.get_weights()[0].copy()
    distill(
        applied("teacher"),
        student,
        (images, np.arange(12) % 3),
        rounds=1,
        steps_per_round=3,
        batch_size=4,
        preprocessing=PIXELS,
        student_preprocessing=PIXELS,
        verbose=0,
    )
    assert np.abs(student.get_weights()[0] - before).max() > 0


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_student_of_smaller_images_sees_every_pixel(jit_compile):
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 8, 12, 3))
    pixels = tf.constant(pixels.astype("float32"))
    fed = tf.function(
        lambda x: student_input(x, (4, 3, 3), PIXELS), jit_compile=jit_compile
    )
    means = pixels.numpy().reshape(2, 4, 2, 3, 4, 3).mean((2, 4))
    np.testing.assert_allclose(fed(pixels), PIXELS.fed(means), rtol=1e-5)
    with tf.GradientTape() as tape:
        tape.watch(pixels)
        total = tf.reduce_sum(fed(pixels))
    assert (tape.gradient(total, pixels).numpy() != 0).all()
    # Between two whole factors, the image is interpolated first.
    assert student_input(pixels, (3, 5, 3), PIXELS).shape == (2, 3, 5, 3)
