"""Students and teachers of files, in the command `tf-deepinversion`."""

import json

import keras
import numpy as np
import pytest
from keras import layers
from tiny import CLASSES
from tiny import SHAPE

import tf_deepinversion as di
import tf_deepinversion_command as command
from tf_deepinversion.serving import Served

FEEDING = ("--mean=127.5", "--std=50", "--pixel_range=normalized")
ONE_STEP = ("--images=some.npz", "--rounds=1", "--steps_per_round=1")
IMAGES = np.random.default_rng(0).integers(0, 256, (20, *SHAPE), "uint8")


def network(units=CLASSES, normal=None, seed=0):
    """A tiny network; with `normal`, a pair, it is fed pixels."""
    keras.utils.set_random_seed(seed)
    model = keras.Sequential([keras.Input(SHAPE)])
    if normal:
        mean, std = normal
        model.add(layers.Rescaling(1 / std, -mean / std, name="normalize"))
    for layer in (
        layers.Conv2D(4, 3),
        layers.BatchNormalization(),
        layers.GlobalAveragePooling2D(),
        layers.Dense(units),
    ):
        model.add(layer)
    return model


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs a command on teacher.keras; gives its figures and its folder."""
    monkeypatch.chdir(tmp_path)
    np.savez("some.npz", images=IMAGES, labels=np.arange(20) % 2)

    def run(name, *flags):
        command.run([name, "teacher.keras", *flags])
        printed = capsys.readouterr().out
        figures = json.loads(printed.strip().splitlines()[-1])
        return figures, tmp_path / "output" / name

    return run


def served_as(output, fed):
    """Checks that the SavedModel answers as its network, fed otherwise."""
    student = keras.models.load_model(output / "network.keras")
    answers = Served(output / "saved_model")(IMAGES)
    np.testing.assert_allclose(answers, student(fed), rtol=1e-4, atol=1e-4)


def test_a_student_of_a_file_is_fed_as_a_teacher_known_by_its_layer(run):
    network(normal=(100, 60)).save("teacher.keras")
    network(seed=1).save("student.keras")
    _, output = run("distill", "--student=student.keras", *ONE_STEP)
    # The teacher normalizes the pixels that it is fed; this student does not.
    served_as(output, IMAGES.astype("float32"))


@pytest.mark.slow
def test_a_student_with_its_own_normalization_is_fed_pixels(run, monkeypatch):
    asked, distill = [], di.distill

    def watched(*args, **kwargs):
        asked.append(kwargs["student_preprocessing"])
        return distill(*args, **kwargs)

    monkeypatch.setattr(di, "distill", watched)
    network().save("teacher.keras")
    network(normal=(100, 60), seed=1).save("student.keras")
    student = "--student=student.keras"
    _, output = run("distill", *FEEDING, student, *ONE_STEP)
    served_as(output, IMAGES.astype("float32"))
    _, output = run(
        "distill",
        *FEEDING,
        "--share=0.5",
        "--output=output/distill/s",
        *ONE_STEP,
    )
    # One of the teacher's channels is fed as the teacher.
    served_as(output / "s", (IMAGES.astype("float32") - 127.5) / 50)
    assert asked[0] is None and asked[1].mean == (127.5,)


def test_one_output_is_two_classes(run, monkeypatch):
    network(1).save("teacher.keras")
    network(2, seed=1).save("student.keras")
    student = "--student=student.keras"
    given = "--images=some.npz", "--test_data=some.npz"
    figures, _ = run("report", *FEEDING, student, *given)
    fed = (IMAGES.astype("float32") - 127.5) / 50
    answers = keras.models.load_model("teacher.keras")(fed)
    said = np.ravel(answers) > 0
    answered = np.argmax(keras.models.load_model("student.keras")(fed), -1)
    assert figures["agreement"] == (said == answered).mean()
    assert (
        figures["teacher_test_accuracy"] == (said == np.arange(20) % 2).mean()
    )

    class Made(Exception):
        pass

    def distill(_, student, *__, **___):
        raise Made(student.output_shape)

    monkeypatch.setattr(di, "distill", distill)
    with pytest.raises(Made, match=r"\(None, 2\)"):
        run("distill", *FEEDING, "--width=2", *ONE_STEP)
