"""What several tests share with ladder_test.py."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import keras
import numpy as np

from tf_deepinversion.models import VGG11BN

ROOT = pathlib.Path(__file__).resolve().parents[2]


def start(script, *arguments):
    paths = [str(ROOT), os.environ.get("PYTHONPATH")]
    return subprocess.Popen(
        [sys.executable, str(ROOT / "benchmarks" / script), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
    )


def end(process):
    """The last line of a benchmark, read."""
    output = process.communicate()[0]
    assert process.returncode == 0, output[-2000:]
    return json.loads(output.splitlines()[-1])


def kill_when_there(process, path):
    """Kills a benchmark as soon as it has written a file."""
    while not path.exists():
        assert process.poll() is None, process.communicate()[0][-2000:]
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()


def save_teacher(folder):
    keras.utils.set_random_seed(0)
    teacher = VGG11BN((28, 28, 1), width=4, mean=73, std=90)
    teacher.save(folder / "teacher.keras")
    return f"--teacher={folder / 'teacher.keras'}"


def past(path):
    """The history in the checkpoint of a batch."""
    with np.load(path) as file:
        return json.loads(str(file["past"]))[1]
