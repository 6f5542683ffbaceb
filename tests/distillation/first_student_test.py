"""A student that a function makes from the first images."""

import keras
import numpy as np
import pytest
from inversions import NORMALIZED
from tiny import CLASSES
from tiny import learned_teacher
from tiny import tiny_teacher

from tf_deepinversion import DeepInversion
from tf_deepinversion import FastInversion
from tf_deepinversion import Pool
from tf_deepinversion import RefreshPool
from tf_deepinversion import balanced_labels
from tf_deepinversion.distillation._distill import distill
from tf_deepinversion.distillation.first_student import first_student
from tf_deepinversion.pruning import narrow


def half(images):
    return narrow(
        learned_teacher(), images, preprocessing=NORMALIZED, ranking_batches=1
    )


def run(student, folder=None, verbose=0, **kwargs):
    return distill(
        learned_teacher(),
        student,
        rounds=2,
        steps_per_round=2,
        batch_size=4,
        refresh=RefreshPool(images=6, steps=2),
        preprocessing=NORMALIZED,
        folder=folder,
        seed=3,
        verbose=verbose,
        **kwargs,
    )


def counts(capsys):
    """The beginnings of the lines that a log file would get."""
    printed = capsys.readouterr().out.splitlines()
    return [line.split(" - ")[0] for line in printed]


@pytest.mark.slow
def test_it_is_the_student_of_the_first_batch_and_resumes(
    tmp_path, recwarn, capsys
):
    maker = DeepInversion(
        learned_teacher(), NORMALIZED, recipe="distillation_pixels", seed=3
    )
    labels = balanced_labels(CLASSES, 6)
    expected = run(half(maker.make(labels, 0, 2)), verbose=2).student
    assert counts(capsys) == [
        "Distillation: batch of images 1/2",
        "Distillation: batch of images 2/2",
        "Distillation: round 1/2",
        "Distillation: round 2/2",
    ]

    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    recwarn.clear()
    with pytest.raises(KeyboardInterrupt):
        run(half, tmp_path, callbacks=[Stop()])
    found = run(half, tmp_path, verbose=2).student
    assert counts(capsys) == [
        "First images: batch 1/1",
        "Distillation: round 2/2",
    ]
    for one, other in zip(found.weights, expected.weights, strict=True):
        np.testing.assert_array_equal(one, other)
    # The student starts from its teacher's channels, and is meant to.
    assert not any("agrees" in str(w.message) for w in recwarn)


def test_existing_images_go_to_the_function_as_they_are():
    pair, seen = (np.zeros((6, 8, 8, 1), "uint8"), np.zeros(6, "int32")), []

    def make(images):
        seen.append(images)
        return tiny_teacher()

    assert isinstance(first_student(make, pair, None, 0), keras.Model)
    assert seen[0] is pair


def test_fixed_images_come_before_the_first_batch(eagerly):
    fixed, seen = Pool(4, (8, 8, 1), CLASSES), []
    fixed.add(np.zeros((4, 8, 8, 1), "uint8"), np.zeros(4, "int32"))

    def make(images):
        seen.append(images)
        return tiny_teacher(1)

    run(make, fixed_images=fixed)
    assert seen == [fixed]


def test_the_first_images_have_a_bar_of_their_own(capsys, eagerly):
    maker = DeepInversion(tiny_teacher(), NORMALIZED, recipe="ours")
    first_student(lambda _: tiny_teacher(), maker, RefreshPool(4, 2), 2)
    assert capsys.readouterr().out.startswith("First images: batch 1/1 - ")


@pytest.mark.slow
def test_a_generator_has_not_learned_from_the_first_batch():
    maker = FastInversion(
        tiny_teacher(), NORMALIZED, recipe="distillation", seed=3
    )
    maker.make([0, 1], 0, 1)
    before = [v.numpy() for v in maker.state_variables]
    first_student(lambda _: tiny_teacher(), maker, RefreshPool(4, 2), 0)
    for variable, value in zip(maker.state_variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_what_makes_no_student():
    with pytest.raises(TypeError, match="must return a `keras.Model`.*=None"):
        first_student(lambda images: None, (), None, 0)
    competing = DeepInversion(
        tiny_teacher(), NORMALIZED, student=tiny_teacher()
    )
    with pytest.raises(ValueError, match="compete with the student"):
        first_student(half, competing, None, 0)
