"""New classes are learned on 2 and 4 devices as on one."""

import os
import pathlib
import subprocess
import sys

import incremental_replicas
import pytest
from inversions import two_replicas


@pytest.mark.parametrize(
    "check",
    [
        pytest.param(incremental_replicas.check_abd, marks=pytest.mark.slow),
        pytest.param(incremental_replicas.check_tasks, marks=pytest.mark.slow),
        incremental_replicas.check_refusals,
    ],
)
def test_two_replicas_learn_what_one_device_does(check):
    check(two_replicas())


@pytest.mark.slow  # a process of its own
def test_four_replicas_learn_what_one_device_does():
    """In a process of its own: two strategies mix up their collectives."""
    root = str(pathlib.Path(__file__).parents[2])
    result = subprocess.run(
        [sys.executable, incremental_replicas.__file__, "4"],
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
