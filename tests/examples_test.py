"""The examples, as their users start them, in tiny runs."""

import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_deepinversion.datasets import load_test_images
from tf_deepinversion.metrics import accuracy
from tf_deepinversion.models import VGG11BN
from tf_deepinversion.pruning import flops_of_model

ROOT = pathlib.Path(__file__).parent.parent


def example(name, *arguments):
    """Runs an example; returns its last line, read."""
    result = subprocess.run(
        [sys.executable, str(ROOT / "examples" / name), *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert result.returncode == 0, result.stderr[-2000:]
    return json.loads(result.stdout.splitlines()[-1])


def test_distill_exports_a_student_that_takes_uint8_pixels(tmp_path):
    figures = example(
        "distill.py",
        "--student=ResNet14",
        "--student_width=2",
        "--rounds=2",
        "--steps_per_round=2",
        "--images_per_round=20",
        "--first_steps=2",
        "--synthesis_steps=1",
        f"--output={tmp_path}",
    )
    assert figures["method"] == "fast" and figures["images"] == 40
    assert figures["saved_model_max_difference"] < 1e-4
    images, labels = load_test_images()
    student = keras.models.load_model(tmp_path / "student.keras")
    assert figures["student_test_accuracy"] == pytest.approx(
        accuracy(student, images, labels)
    )
    served = tf.saved_model.load(str(tmp_path / "saved_model"))
    logits = served.signatures["serving_default"](tf.constant(images[:50]))
    np.testing.assert_allclose(
        logits["logits"],
        student(images[:50].astype("float32")),
        rtol=1e-4,
        atol=1e-4,
    )


@pytest.mark.parametrize(
    ("criterion", "data"), [("taylor", "synthesised"), ("magnitude", "noise")]
)
def test_prune_exports_a_smaller_network(tmp_path, criterion, data):
    keras.utils.set_random_seed(0)
    teacher = VGG11BN((28, 28, 1), width=4, mean=73, std=90)
    teacher.save(tmp_path / "teacher.keras")
    figures = example(
        "prune.py",
        f"--teacher={tmp_path / 'teacher.keras'}",
        f"--criterion={criterion}",
        f"--data={data}",
        "--rounds=1",
        "--steps=2",
        "--images=20",
        "--first_steps=2",
        "--synthesis_steps=1",
        "--batches=1",
        "--batch_size=8",
        "--latency_batch=2",
        f"--output={tmp_path}",
    )
    assert figures["saved_model_max_difference"] < 1e-4
    student = keras.models.load_model(tmp_path / "pruned.keras")
    images, labels = load_test_images()
    assert figures["test_accuracy"] == pytest.approx(
        accuracy(student, images, labels), abs=2e-3
    )
    assert figures["baseline_test_accuracy"] == pytest.approx(
        accuracy(teacher, images, labels), abs=2e-3
    )
    assert (tmp_path / "widths.png").read_bytes()[1:4] == b"PNG"
    if criterion == "magnitude":
        assert figures["flops_ratio"] == figures["parameters_ratio"] == 1
        assert figures["sparsity"] == pytest.approx(0.5, abs=1e-3)
    else:
        assert 0.45 < figures["flops_ratio"] <= 0.5
        ratio = student.count_params() / teacher.count_params()
        assert figures["parameters_ratio"] == ratio
        assert figures["flops_ratio"] == pytest.approx(
            flops_of_model(student) / flops_of_model(teacher)
        )
