"""The wheel, installed alone, does the main job."""

import json
import os
import pathlib
import subprocess
import sys
import zipfile

import pytest

ROOT = pathlib.Path(__file__).parent.parent


@pytest.mark.slow
def test_wheel_alone_runs_the_demo(tmp_path):
    pip = [sys.executable, "-m", "pip", "--quiet"]
    subprocess.run(
        [*pip, "wheel", "--no-deps", "-w", tmp_path, ROOT], check=True
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for shipped in (
        "datasets/assets/fashion_mnist_test_2000.npz",
        "datasets/assets/LICENSE.fashion-mnist",
        "models/pretrained/fashion_mnist_resnet20.keras",
        "models/pretrained/fashion_mnist_vgg11.keras",
    ):
        assert f"tf_deepinversion/{shipped}" in names
    alone = tmp_path / "alone"
    subprocess.run(
        [*pip, "install", "--no-deps", "--target", alone, wheel], check=True
    )
    result = subprocess.run(
        [sys.executable, "-m", "tf_deepinversion.demo"]
        + ["--images=20", "--steps=2", "--rounds=1"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(alone)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    figures = json.loads(result.stdout.strip().splitlines()[-1])
    assert figures["images"] == 20
    assert (tmp_path / "output/demo/report.html").exists()
