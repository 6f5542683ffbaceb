"""The page about an inversion: bounded, whatever the number of classes."""

import re

import keras
import numpy as np
import pytest
from tiny import tiny_teacher

from tf_deepinversion import Preprocessing
from tf_deepinversion.reports import inversion_report
from tf_deepinversion.reports import page

ROW = {
    "teacher_accuracy": 1.0,
    "verifier_accuracy": None,
    "feature_distance": 1.0,
    "spread": None,
    "seconds": 1,
}


def classes_shown(tmp_path, classes, size=2):
    labels = np.arange(classes)
    images = np.zeros((classes, size, size, 1), "uint8")
    inversion_report.report_inversion(
        tmp_path / "page.html",
        title="t",
        sets={"DeepInversion": images},
        rows={"DeepInversion": ROW},
        labels=labels,
        names=[f"class {c}" for c in labels],
        history={"loss": [2.0, 1.0]},
        figures={},
    )
    page = (tmp_path / "page.html").read_text()
    shown = re.findall('alt="synthesized class (.*?)"', page)
    return page, [int(c) for c in shown]


def test_a_verifier_sees_the_images_at_its_own_size():
    """The logits of the verifier are the mean of the pixels, up or down."""
    inputs = keras.Input((16, 16, 1))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1, name="normalize")(inputs)
    x = keras.layers.GlobalAveragePooling2D()(x)
    head = keras.layers.Dense(2, use_bias=False)
    verifier = keras.Model(inputs, head(x))
    head.set_weights([np.array([[1.0, -1.0]])])
    images = np.zeros((4, 8, 8, 1), "uint8")
    images[:2] = 255
    row = inversion_report.measure_images(
        images,
        np.array([0, 0, 0, 1]),
        tiny_teacher(),
        Preprocessing(127.5, 50, "normalized"),
        verifier,
    )
    assert row["verifier_accuracy"] == 0.75
    # Features 1, 1 and -1 of class 0; class 1 has a single image.
    assert row["spread"] == pytest.approx(np.sqrt(4 / 3), rel=1e-5)


@pytest.mark.parametrize(("classes", "size"), [(20, 300), (100, 2)])
def test_few_classes_are_shown_all(tmp_path, classes, size):
    page, shown = classes_shown(tmp_path, classes, size)
    assert shown == list(range(classes))
    assert "evenly chosen" not in page


@pytest.mark.parametrize(("size", "most"), [(2, 100), (300, 20)])
def test_of_many_classes_a_sample_is_shown(tmp_path, size, most):
    page, shown = classes_shown(tmp_path, 150, size)
    assert shown == list(np.linspace(0, 149, most).astype(int))
    assert f"{most} of 150 classes, evenly chosen" in page


def test_a_ratio_of_zero_is_told_from_none():
    assert page.ratio(0.0, 2.0) == 0 and page.ratio(3.0, 2.0) == 1.5
    assert page.ratio(None, 2.0) is page.ratio(1.0, None) is None
    assert page.ratio(1.0, 0.0) is None
