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
from tf_deepinversion.quantization import LiteRT

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


def test_quantize_scores_the_files_it_writes(tmp_path):
    figures = example(
        "quantize.py",
        "--images=4",
        "--sets=1",
        "--steps=2",
        f"--output={tmp_path}",
    )
    assert figures["calibration_images"] == 4 and figures["sets"] == 1
    assert figures["test_images"] == 1996
    int8 = figures["int8_test_accuracies"]
    assert {name: len(v) for name, v in int8.items()} == {
        "noise": 1,
        "synthesised": 1,
        "real": 1,
    }
    images, labels = (part[4:] for part in load_test_images())
    contents = {
        name: (tmp_path / f"{name}.tflite").read_bytes()
        for name in ("int8", "float")
    }
    scored = LiteRT(contents["int8"]).accuracy(images, labels)
    assert scored == int8["synthesised"][0]
    assert figures["int8_test_accuracy"]["real"] > 0.9
    assert figures["size_ratio"] == len(contents["int8"]) / len(
        contents["float"]
    )
