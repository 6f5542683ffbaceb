"""N devices do what one does: two of this process, and four of another."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import on_replicas
import pytest
import tensorflow as tf
from deep_inversion_test import two_replicas

from tf_deepinversion import replicas
from tf_deepinversion import transforms


@pytest.mark.parametrize("check", on_replicas.CHECKS)
def test_two_replicas_do_what_one_device_does(check):
    check(two_replicas())


def test_four_replicas_do_what_one_device_does():
    """In a process of its own: two strategies mix up their collectives."""
    root = str(pathlib.Path(__file__).parent.parent)
    result = subprocess.run(
        [sys.executable, on_replicas.__file__, "4"],
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    done = [check.__name__ for check in on_replicas.CHECKS]
    assert result.stdout.split() == done


def test_alone_everything_is_as_it_is():
    places, count = replicas.own_rows(3, tf.constant(2))
    assert count == 5 and places.numpy().tolist() == [0, 1, 2, 3, 4]
    for one, own in zip(
        transforms.draw(on_replicas.DRAWN, [0, 1], 2, 5),
        transforms.draw_own(on_replicas.DRAWN, [0, 1], 2, 3, 2),
        strict=True,
    ):
        np.testing.assert_array_equal(one, own)
    data = tf.data.Dataset.range(3)
    assert replicas.spread(data, tf.distribute.get_strategy()) is data
    assert replicas.spread([1], two_replicas()) == [1]
