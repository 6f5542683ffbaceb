"""The main job, end to end, in a tiny run."""

import functools
import json
import pathlib
import re
import runpy
import sys

import keras
import numpy as np
import pytest
from absl.testing import flagsaver
from inversions import NORMALIZED
from tiny import tiny_teacher
from tiny import with_head

from tf_deepinversion import RefreshPool
from tf_deepinversion import demo
from tf_deepinversion import load_pretrained
from tf_deepinversion.datasets.real_images import load_test_images
from tf_deepinversion.metrics import diversity
from tf_deepinversion.metrics import recognition
from tf_deepinversion.models.build_classifier import build_classifier

ROOT = pathlib.Path(__file__).parent.parent
FIGURES = {
    "teacher_test_accuracy",
    "teacher_accuracy",
    "verifier_accuracy",
    "verifier_accuracy_noise",
    "feature_distance_ratio",
    "feature_distance_to_real",
    "diversity",
    "seconds",
    "images",
    "seed",
    "teacher_sha256",
}


def last_line(printed):
    return json.loads(printed.strip().splitlines()[-1])


@pytest.fixture
def small_steps(monkeypatch):
    """The demo's student, by fewer images and steps."""
    few = {
        "refresh": RefreshPool(images=10, steps=1),
        "batch_size": 4,
        "steps_per_round": 2,
    }
    distill = demo.distill
    monkeypatch.setattr(
        demo, "distill", lambda *args, **given: distill(*args, **given | few)
    )
    narrow, one = demo.narrow, {"ranking_batches": 1, "batch_size": 4}
    monkeypatch.setattr(
        demo, "narrow", lambda *args, **given: narrow(*args, **given | one)
    )


@pytest.fixture
def few_real_images(monkeypatch):
    """300 of the test images that ship, in place of 2,000."""
    images, labels = (array[:300] for array in load_test_images())
    monkeypatch.setattr(demo, "load_test_images", lambda: (images, labels))
    return images, labels


def small_network(name):
    """Under the name of a network that ships: two convolutions, untrained."""

    def features(x):
        for filters in (4, 8):
            x = keras.layers.Conv2D(filters, 3, strides=2, use_bias=False)(x)
            x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
        return keras.layers.GlobalAveragePooling2D()(x)

    keras.utils.set_random_seed(len(name))
    return build_classifier(
        features,
        input_shape=(28, 28, 1),
        classes=10,
        mean=72.94,
        std=90.02,
        name=name,
    )


@pytest.fixture(
    params=[
        small_network,
        pytest.param(load_pretrained, marks=pytest.mark.slow),
    ]
)
def load(request, monkeypatch):
    """What the demo loads its networks by."""
    monkeypatch.setattr(demo, "load_pretrained", request.param)
    return request.param


def test_demo_saves_measures_and_reports(
    tmp_path, capsys, small_steps, few_real_images, load
):
    demo.main(
        ["--images=20", "--steps=3", "--rounds=1", f"--output={tmp_path}"]
    )
    figures = last_line(capsys.readouterr().out)
    assert FIGURES <= set(figures)
    assert set(figures["ladder"]) == {
        "uniform noise",
        "image prior alone",
        "DeepInversion",
        "real images",
    }
    saved, labels = next(
        iter(
            keras.utils.image_dataset_from_directory(
                tmp_path / "images",
                color_mode="grayscale",
                image_size=(28, 28),
                shuffle=False,
                batch_size=20,
                verbose=0,
            )
        )
    )
    saved = np.asarray(saved).astype("uint8")
    assert sorted(labels.numpy()) == sorted(list(range(10)) * 2)
    student = keras.models.load_model(tmp_path / "student" / "student.keras")
    images, real_labels = few_real_images
    said = np.argmax(student.predict(images, verbose=0), -1)
    right = (said == real_labels).mean()
    assert figures["student_test_accuracy"] == pytest.approx(right, abs=1e-3)
    assert figures["saved_model_max_difference"] < 1e-3
    # The figures are those of the images as they were saved.
    teacher = load("fashion_mnist_resnet20")
    verifier = load("fashion_mnist_vgg11")
    same = np.argmax(teacher.predict(images, verbose=0), -1) == said
    assert figures["student_agreement"] == pytest.approx(same.mean(), abs=1e-3)
    for name, network in (("teacher", teacher), ("verifier", verifier)):
        accuracy = recognition.accuracy(network, saved, labels)
        assert figures[f"{name}_accuracy"] == pytest.approx(accuracy)
    real = diversity.alike(*few_real_images, labels.numpy())
    assert figures["feature_distance_to_real"] == pytest.approx(
        recognition.feature_distance(teacher, saved)
        / recognition.feature_distance(teacher, real),
        rel=1e-4,
    )
    page = (tmp_path / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 20  # ten classes, twice
    assert "Ankle boot" in page and "docs/inversion.md" in page
    # The student: its accuracy, and a matrix of what it says.
    row = page.split("<td>student</td>")[1].split("</tr>")[0]
    assert f">{100 * right:.1f} %<" in row
    cells = re.findall(r'<td style="[^"]*">(\d+)<', page)
    np.testing.assert_array_equal(
        np.array(cells, int).reshape(10, 10),
        recognition.confusion(real_labels, said, 10),
    )
    assert not re.search(r"(src|href)=\"(?!data:)", page), "not self-contained"


@pytest.fixture
def invert(monkeypatch):
    """Runs examples/invert.py with flags of its own."""

    def run(*arguments):
        with flagsaver.flagsaver():
            monkeypatch.setattr(sys, "argv", ["invert.py", *arguments])
            with pytest.raises(SystemExit) as end:
                runpy.run_path(
                    str(ROOT / "examples" / "invert.py"), run_name="__main__"
                )
        return end.value.code

    return run


@pytest.mark.parametrize(
    ("name", "size", "arguments"),
    [
        pytest.param(
            "MobileNetV2",
            96,
            {"input_shape": (96, 96, 3), "alpha": 0.35},
            marks=pytest.mark.slow,
        ),
        # Which Keras makes for any size.
        pytest.param("MobileNetV3Small", 224, {}, marks=pytest.mark.slow),
    ],
)
def test_example_inverts_a_network_of_keras_applications(
    tmp_path, invert, capsys, monkeypatch, name, size, arguments
):
    """Of one size, as Keras makes them with their weights of ImageNet."""
    keras.utils.set_random_seed(0)
    make = functools.partial(
        getattr(keras.applications, name), weights=None, **arguments
    )
    monkeypatch.setattr(keras.applications, name, make)
    code = invert(
        f"--teacher={name}",
        "--recipe=imagenet_multiresolution",
        "--labels=207,281",
        "--steps=1,1",
        "--noprior_alone",
        f"--output={tmp_path}",
    )
    figures = last_line(capsys.readouterr().out)
    assert not code and figures["images"] == 2
    paths = list((tmp_path / "images").glob("*/*.png"))
    assert [keras.utils.load_img(p).size for p in paths] == 2 * [(size, size)]


def test_example_inverts_a_network_of_any_size(tmp_path, invert, capsys):
    """The image prior alone too, at the size and by the recipe of the flags."""
    network = with_head(keras.layers.Dense(3), shape=(None, None, 2))
    network.save(tmp_path / "mine.keras")
    code = invert(
        f"--teacher={tmp_path / 'mine.keras'}",
        "--mean=100,110",
        "--std=50",
        "--image_size=9,8",
        "--recipe=distillation_pixels",
        "--labels=0,1,2,0",
        "--steps=2",
        "--micro_batch=2",
        f"--output={tmp_path}",
    )
    figures = last_line(capsys.readouterr().out)
    assert not code and figures["images"] == 4
    assert "image prior alone" in figures["ladder"]


@pytest.mark.slow
def test_example_inverts_a_file_of_the_users(tmp_path, invert, capsys):
    network = load_pretrained("fashion_mnist_vgg11")
    inside = keras.Model(
        network.get_layer("normalize").output, network.output, name="mine"
    )
    path = tmp_path / "mine.keras"
    inside.save(path)
    code = invert(
        f"--teacher={path}",
        "--mean=72.94",
        "--std=90.02",
        "--pixel_range=normalized",
        "--labels=9,9,1",
        "--steps=2",
        f"--output={tmp_path}",
    )
    figures = last_line(capsys.readouterr().out)
    assert not code and figures["images"] == 3
    assert figures["verifier_accuracy"] is None
    assert figures["feature_distance_ratio"] < 1
    folders = {
        p.name: len(list(p.iterdir())) for p in (tmp_path / "images").iterdir()
    }
    assert folders == {"1_class_1": 1, "9_class_9": 2}


def test_repeated_it_tells_the_seconds_of_the_first_call(tmp_path):
    def run():
        model = demo.FastInversion(tiny_teacher(), NORMALIZED)
        return demo.invert_and_report(
            model, tmp_path, labels=[0, 1], steps=2, prior_images=0
        )

    first = run()
    assert first["seconds"] > 0 and run()["seconds"] == first["seconds"]
