"""What `Distillation` is given counts, or is refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from inversions import NORMALIZED
from tiny import CLASSES
from tiny import SHAPE
from tiny import tiny_teacher

from tf_deepinversion.distillation._distillation import Distillation
from tf_deepinversion.transforms import Transform

PIXELS = np.random.default_rng(0).integers(0, 256, (12, *SHAPE), "uint8")
LABELS = np.arange(12) % CLASSES
ONES = np.ones(12)


def distillation(**kwargs):
    model = Distillation(tiny_teacher(0), tiny_teacher(1), NORMALIZED, **kwargs)
    model.compile(keras.optimizers.SGD(0.0))
    return model


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda m: m.fit(PIXELS, sample_weight=ONES), "sample_weight"),
        (lambda m: m.fit(PIXELS, LABELS, class_weight={0: 2.0}), "class_w"),
        (lambda m: m.evaluate(PIXELS, LABELS, 4, 0, ONES), "sample_weight"),
        (lambda m: m.compile("sgd", metrics=["accuracy"]), "`metrics`"),
        (lambda m: m.compile("sgd", loss_weights=[3.0]), "loss_weights"),
    ],
)
def test_what_would_change_nothing_is_refused(call, name):
    with pytest.raises(ValueError, match=f"leave out .*{name}"):
        call(distillation())


def as_data(images, labels):
    return tf.data.Dataset.from_tensor_slices((images, labels)).batch(5)


def as_dictionaries(images, labels):
    data = {"image": images, "label": labels}
    return tf.data.Dataset.from_tensor_slices(data).batch(5)


def test_integers_of_any_kind_are_pixels():
    model = distillation()
    expected = model.evaluate(PIXELS, LABELS, verbose=0, return_dict=True)
    wide = PIXELS.astype("int64")
    for data in (
        (wide, LABELS),
        (tf.constant(wide), LABELS),
        (as_data(wide, LABELS),),
        (as_dictionaries(wide, LABELS),),
    ):
        found = model.evaluate(*data, verbose=0, return_dict=True)
        assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("far", [-1, 256])
def test_integers_that_are_no_pixels_are_refused(far):
    model, wrong = distillation(), PIXELS.astype("int32")
    wrong[7, 1, 1] = far
    for call in (
        lambda: model.fit(wrong, verbose=0),
        lambda: model.fit(PIXELS, validation_data=(wrong, LABELS), verbose=0),
        lambda: model.evaluate(wrong, LABELS, verbose=0),
    ):
        with pytest.raises(ValueError, match=r"pixels in \[0, 255\]"):
            call()
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=r"pixels in \[0, 255\]"
    ):
        model.evaluate(as_data(wrong, LABELS), verbose=0)


class Darker(Transform):
    """A user's transform, which leaves the range of pixels."""

    def draw(self, key, count):
        return tf.zeros((count, 1))

    def __call__(self, images, numbers):
        return images - 100.0


def test_the_teacher_answers_the_pixels_that_its_cache_holds():
    model = distillation(transforms=[Darker()], steps_per_teacher_call=2)
    model.fit(PIXELS, batch_size=12, verbose=0, shuffle=False)
    held = model.teacher_cache.rows(0, 12)
    darker = np.maximum(PIXELS.astype(int) - 100, 0)
    np.testing.assert_array_equal(held["images"], darker)
    answers, _ = model.answers(darker.astype("uint8"))
    np.testing.assert_allclose(held["answers"], answers, rtol=1e-5, atol=1e-5)
