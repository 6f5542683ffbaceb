"""N devices do what one does: two of this process, and four of another."""

import contextlib
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import on_replicas
import pytest
import tensorflow as tf
from inversions import two_replicas
from keras import layers
from on_replicas import NORMALIZED
from tiny import CLASSES
from tiny import SHAPE
from tiny import learned_teacher
from tiny import tiny_teacher
from tiny import with_head

from tf_deepinversion import Distillation
from tf_deepinversion import distill
from tf_deepinversion.networks import replica_checks
from tf_deepinversion.networks import replicas
from tf_deepinversion.networks import split_batches
from tf_deepinversion.networks.split_batches import convolves_nothing_wrongly
from tf_deepinversion.transforms import base


@pytest.mark.parametrize(
    "check",
    [
        # Distillation on replicas is within `distill` on replicas.
        pytest.param(check, marks=pytest.mark.slow)
        if check is on_replicas.check_distillation
        else check
        for check in (*on_replicas.CHECKS, on_replicas.check_distill)
    ],
)
def test_two_replicas_do_what_one_device_does(check):
    check(two_replicas())


@pytest.mark.slow  # a process of its own
def test_four_replicas_do_what_one_device_does():
    """In a process of its own: two strategies mix up their collectives."""
    root = str(pathlib.Path(__file__).parents[2])
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
        base.draw(on_replicas.DRAWN, [0, 1], 2, 5),
        base.draw_own(on_replicas.DRAWN, [0, 1], 2, 3, 2),
        strict=True,
    ):
        np.testing.assert_array_equal(one, own)
    data = tf.data.Dataset.range(3)
    assert split_batches.spread(data, tf.distribute.get_strategy()) is data
    assert split_batches.spread([1], two_replicas()) == [1]


def test_all_replicas_trace_a_graph_of_any_number_of_rows():
    """Synchronized sums must be in all graphs, or in none."""
    seen = []

    def step(rows):
        seen.append(replicas.of_any_size([rows])[0].shape.as_list())
        return rows

    found = on_replicas.run(two_replicas(), step, np.ones((4, 3)))
    assert seen == [[None, 3], [None, 3]]
    np.testing.assert_array_equal(found, np.ones((2, 2, 3)))
    alone = tf.ones((2, 3))
    assert replicas.of_any_size(alone) is alone


def sizes_of(count, strategy):
    data = tf.data.Dataset.from_tensors((tf.zeros((count, 2)), tf.zeros(count)))
    (found,) = split_batches.spread(data, strategy)
    return [
        [len(x) for x in strategy.experimental_local_results(part)]
        for part in found
    ]


def test_batches_are_split_evenly():
    assert sizes_of(5, two_replicas()) == [[2, 3], [2, 3]]
    assert sizes_of(2, two_replicas()) == [[1, 1], [1, 1]]


@pytest.mark.parametrize("wrong", [False, True])
def test_a_replica_without_images_only_where_convolutions_bear_it(
    wrong, monkeypatch
):
    """With oneDNN, TensorFlow 2.21 gives no image the shape of the input."""
    monkeypatch.setattr(
        split_batches, "convolves_nothing_wrongly", lambda strategy: wrong
    )
    if not wrong:
        assert sizes_of(1, two_replicas()) == [[0, 1], [0, 1]]
        return
    with pytest.raises(tf.errors.InvalidArgumentError, match="at least one"):
        sizes_of(1, two_replicas())


def test_what_convolves_nothing_wrongly_is_seen(monkeypatch):
    right = [(0, 2, 2, 2), (0, 2, 2, 1)]
    monkeypatch.setattr(tf.nn, "conv2d", lambda *args: tf.zeros(right.pop(0)))
    found = [convolves_nothing_wrongly(two_replicas()) for _ in "ab"]
    assert found == [False, True]


def refused(match, student=None, scope=True, **compiled):
    strategy = two_replicas()
    with strategy.scope() if scope else contextlib.nullcontext():
        student = (student or on_replicas.student)()
    with strategy.scope():
        model = Distillation(
            learned_teacher(), student, NORMALIZED, transforms=[]
        )
        with pytest.raises(ValueError, match=match):
            model.compile(**{"optimizer": "sgd", **compiled})
            model.fit(np.zeros((4, *SHAPE), "uint8"), verbose=0)
    return model


def with_dropout():
    return with_head(layers.Dropout(0.5), layers.Dense(CLASSES))


def test_what_one_device_would_do_otherwise_is_refused():
    refused("synchronized = True.*Received.*bn0.*2 replicas", tiny_teacher)
    refused("draw the same.*Received.*dropout", with_dropout)
    refused(r"`with strategy.scope\(\):`. Received.*tiny", scope=False)
    refused("jit_compile=True", jit_compile=True)
    refused("steps_per_execution=2", steps_per_execution=2)
    clipping = keras.optimizers.SGD(global_clipnorm=1.0)
    model = refused("global_clipnorm=1.0", optimizer=clipping)
    averaging = keras.optimizers.SGD(use_ema=True, ema_overwrite_frequency=2)
    refused("ema_overwrite_frequency=2 on 2 replicas", optimizer=averaging)
    with pytest.raises(
        ValueError, match="`fit` with several.*Received: 2 replicas"
    ):
        model.train_on_batch(np.zeros((4, *SHAPE), "uint8"))


def test_frozen_statistics_need_not_be_synchronized():
    def frozen():
        network = tiny_teacher(1)
        for layer in network.layers:
            layer.trainable = isinstance(layer, layers.Dense)
        return network

    with two_replicas().scope():
        replica_checks.require_training(compiled(), frozen(), two_replicas())


def compiled():
    model = keras.Model()
    model.compile()
    return model


def test_distill_refuses_before_it_writes(tmp_path):
    with two_replicas().scope():
        with pytest.raises(ValueError, match="synchronized = True"):
            distill(
                learned_teacher(),
                tiny_teacher(1),
                rounds=1,
                steps_per_teacher_call=1,
                preprocessing=NORMALIZED,
                folder=tmp_path / "run",
            )
    assert not (tmp_path / "run").exists()
