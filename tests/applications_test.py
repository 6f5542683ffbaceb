"""Networks of keras.applications as teachers; benchmarks/teachers.py: all."""

import json
import pathlib
import re
import subprocess
import sys

import keras
import numpy as np
import pytest

import tf_deepinversion as di
from benchmarks.check_teacher import check
from benchmarks.check_teacher import names

ROOT = pathlib.Path(__file__).resolve().parent.parent
# How many BatchNormalizations each has.
FAST = {"VGG16": 0}
SLOW = {
    "MobileNet": 27,
    "ResNet50": 53,
    "ConvNeXtTiny": 0,
    "DenseNet121": 121,
    "EfficientNetB0": 49,
    "EfficientNetV2B0": 59,
    "InceptionV3": 94,
    "MobileNetV2": 52,
    "MobileNetV3Small": 34,
    "NASNetMobile": 192,
    "ResNet50V2": 49,
    "Xception": 40,
}


@pytest.mark.parametrize(
    "name,batch_norms",
    [
        *FAST.items(),
        *(pytest.param(*x, marks=pytest.mark.slow) for x in SLOW.items()),
    ],
)
def test_a_network_of_keras_applications(name, batch_norms):
    keras.backend.clear_session()
    figures = check(name, steps=6)
    assert figures["batch_norms"] == batch_norms


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "layers"), [("ConvNeXtTiny", 23), ("VGG16", 13 + 2)]
)
def test_targets_of_a_network_without_batch_norm(name, layers):
    """Normalizations of ConvNeXt; all kernels of VGG except the head."""
    keras.utils.set_random_seed(0)
    teacher = getattr(keras.applications, name)(
        weights=None, input_shape=(32, 32, 3), classes=4
    )
    images = np.random.default_rng(0).integers(0, 256, (10, 32, 32, 3), "uint8")
    targets = di.FeatureTargets.measure(teacher, images)
    assert len(targets.statistics) == layers
    model = di.DeepInversion(teacher, targets=targets)
    model.compile(loss=[di.FeatureStatistics(form="relative")])
    history = model.fit([0, 1, 2, 3], 6, steps_per_epoch=1, verbose=0).history
    found = history["feature_statistics"]
    assert found[-1] < 0.9 * found[0]


def test_the_page_names_them_all_and_none_has_failed():
    page = (ROOT / "docs" / "teachers.md").read_text(encoding="utf-8")
    table = page.partition("<!-- table -->")[2].partition("<!-- /table -->")[0]
    rows = re.findall(r"^\| (\w+) \|", table, re.M)[1:]
    assert rows == names(), "run benchmarks/teachers.py for the others"
    assert "failed" not in table


@pytest.mark.slow
def test_the_benchmark_brings_its_page_up_to_date(tmp_path):
    page = tmp_path / "page.md"
    old = "| ANet | 32 | 1.0 M | 1 | 0 to 255 | 2.00 to 1.00 |\n"
    page.write_text(
        "before\n<!-- table -->\n| network |\n|---|\n"
        f"{old}| MobileNet | old |\n<!-- /table -->\nafter\n"
    )
    answer = subprocess.run(
        [
            sys.executable,
            ROOT / "benchmarks" / "teachers.py",
            "--teachers=MobileNet,Nonesuch",
            f"--output={page}",
        ],
        capture_output=True,
        text=True,
    )
    figures = json.loads(answer.stdout.splitlines()[-1])
    assert (figures["teachers"], figures["passed"]) == (2, 1), answer.stderr
    assert list(figures["failed"]) == ["Nonesuch"] and answer.returncode == 1
    text = page.read_text()
    assert text.startswith("before\n<!-- table -->\n| network | pixels |")
    assert text.endswith("<!-- /table -->\nafter\n") and old in text
    assert re.search(r"\| MobileNet \| 32 \| 4.3 M \| 27 \| -1 to 1 \|", text)
    assert "| Nonesuch |  |  |  |  | failed: " in text
    assert "| old |" not in text
