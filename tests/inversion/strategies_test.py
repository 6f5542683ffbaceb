"""More replicas than two, and several workers: processes of their own."""

import json
import pathlib
import subprocess
import sys

import pytest

SCRIPT = pathlib.Path(__file__).parents[2] / "benchmarks" / "strategies.py"
# Two numbers of four and six channels, and how many, each float32; the sums
# and counts of the cross-entropy and of the recognized images; four sums of the
# total variation; and whether all is finite.
MOMENTS = 4 * (2 * 4 + 1) + 4 * (2 * 6 + 1)


@pytest.mark.parametrize(
    ("case", "jit", "replicas"),
    [
        pytest.param("4x1", "false", 4, marks=pytest.mark.slow),
        pytest.param("1x2", "true", 2, marks=pytest.mark.slow),
    ],
)
def test_replicas_do_what_one_device_does(case, jit, replicas):
    result = subprocess.run(
        [
            sys.executable,
            str(SCRIPT),
            "--network=tiny",
            f"--cases={case}",
            f"--jit={jit}",
            "--images=4",
            "--points=3",
        ],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    figures = json.loads(result.stdout.splitlines()[-1])
    assert figures["replicas"] == replicas
    assert figures["max_gradient_difference"] < 1e-5
    assert figures["max_image_difference_float64"] < 1e-6
    assert figures["max_loss_difference"] < 0.01
    assert figures["bytes_reduced_per_step"] == MOMENTS + 4 * (2 + 2 + 4 + 1)
