"""How much is done and left: by a clock that the tests set."""

import io
import re
import sys

import keras
import numpy as np
import pytest
from terminals import Terminal
from terminals import set_clock
from terminals import shown

from tf_deepinversion.callbacks.fit_resumable import fit_resumable
from tf_deepinversion.core import progress
from tf_deepinversion.core.progress import Progress
from tf_deepinversion.core.progress import TrainingProgress
from tf_deepinversion.core.progress import verbosity


@pytest.fixture
def clock(monkeypatch):
    return set_clock(monkeypatch, progress)


def test_auto_is_a_bar_only_where_a_line_can_be_written_over(monkeypatch):
    assert [verbosity(v) for v in (0, 1, 2)] == [0, 1, 2]
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert verbosity("auto") == 2
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert verbosity("auto") == 1
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    monkeypatch.setitem(sys.modules, "ipykernel", None)
    assert verbosity("auto") == 1


def test_lines_of_a_file_say_what_is_left_of_the_whole_job(clock, capsys):
    job = Progress("Images", 20, "batch")
    for seconds in (300, 4000):
        clock.seconds += seconds
        job.advance({"loss": 1.23456}, units=2)
    clock.seconds += 5
    job.advance(units=15)
    job.advance(line=False)
    printed = capsys.readouterr().out
    assert printed.splitlines() == [
        "Images: batch 2/20 - loss: 1.235 - 45:00 left",
        "Images: batch 4/20 - loss: 1.235 - 4:46:40 left",
        "Images: batch 19/20 - 3:46 left",
    ]
    assert "\r" not in printed and "\x08" not in printed


def test_a_first_unit_may_take_longer(clock, capsys):
    job = Progress("Images", 6, "batch", verbose=2, first=10)
    for seconds in (100, 14):
        clock.seconds += seconds
        job.advance()
    assert capsys.readouterr().out.splitlines() == [
        "Images: batch 1/6 - 50s left",  # a tenth for each of the others
        "Images: batch 2/6 - 41s left",
    ]


def test_less_than_ten_seconds_are_not_worth_a_word(clock, capsys):
    job = Progress("Images", 3, "batch", verbose=2)
    clock.seconds += 4.9
    job.advance()
    clock.seconds += 10.1
    job.advance()
    assert capsys.readouterr().out.splitlines() == [
        "Images: batch 1/3",
        "Images: batch 2/3",
    ]


def test_a_bar_has_the_time_left_of_the_whole_job(clock, monkeypatch):
    monkeypatch.setattr(sys, "stdout", Terminal())
    job = Progress("Images", 4, "batch")
    clock.seconds += 100
    job.advance({"loss": 2.0})
    clock.seconds += 100
    job.advance({"loss": 1.0})
    title, bar = shown(sys.stdout.getvalue())
    assert title == "Images:"
    assert bar.startswith("2/4 ") and "3:20" in bar and "loss: 1.0000" in bar
    job.pause()  # another one may print now
    clock.seconds += 100
    job.advance(units=2)
    *_, bar = shown(sys.stdout.getvalue())
    assert bar.startswith("4/4 ") and "300s" in bar
    assert sys.stdout.getvalue().endswith("\n")


@pytest.mark.parametrize("verbose", [0, 1, 2])
def test_nothing_is_said_of_nothing(verbose, capsys):
    Progress("Images", 0, "batch", verbose)
    Progress("Images", 3, "batch", 0).advance()
    assert capsys.readouterr().out == ""


def train(epochs, callbacks=(), verbose="auto", **kwargs):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    import tensorflow as tf

    data = tf.data.Dataset.from_tensors((np.ones((2, 1)), np.ones((2, 1))))
    return fit_resumable(
        model,
        lambda step: data.repeat(),
        network=model,
        epochs=epochs,
        steps_per_epoch=3,
        callbacks=list(callbacks),
        verbose=verbose,
        **kwargs,
    )


class Waits(keras.callbacks.Callback):
    def __init__(self, clock):
        super().__init__()
        self.clock = clock

    def on_train_batch_end(self, batch, logs=None):
        self.clock.seconds += 10


def counts(text):
    """Of each line the count, and what is left."""
    return [
        re.sub(r" - (?!\S+ left).*?(?= - \S+ left|$)", "", line)
        for line in text.splitlines()
    ]


def test_one_training_has_a_line_an_epoch_of_all_epochs(clock, capsys):
    history = train(3, [Waits(clock)])
    printed = capsys.readouterr().out
    assert counts(printed) == [
        "Training: step 3/9 - 1:00 left",
        "Training: step 6/9 - 30s left",
        "Training: step 9/9",
    ]
    assert f"loss: {history['loss'][-1]:.4g}" in printed.splitlines()[-1]


def test_what_was_done_before_is_said_and_not_counted(clock, capsys, tmp_path):
    keras.utils.set_random_seed(0)

    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(3, [Stop()], path=tmp_path / "state.npz")
    capsys.readouterr()
    train(3, [Waits(clock)], path=tmp_path / "state.npz")
    assert counts(capsys.readouterr().out) == [
        "Training: 1 of 3 epochs done before",
        "Training: step 3/6 - 30s left",
        "Training: step 6/6",
    ]


def test_a_job_can_go_on_amid_a_training(clock, capsys, tmp_path):
    train(1, path=tmp_path / "state.npz")
    capsys.readouterr()
    job = TrainingProgress("Tasks", 9)
    train(3, [job, Waits(clock)], path=tmp_path / "state.npz")
    assert counts(capsys.readouterr().out) == [
        "Training: 1 of 3 epochs done before",
        "Tasks: step 3/6 - 30s left",
        "Tasks: step 6/6",
    ]


def test_several_trainings_are_one_job(clock, capsys):
    job = TrainingProgress("Tasks", 12)
    job.skip(3)
    train(1, [job, Waits(clock)])
    clock.seconds += 60  # what else the job does takes time too
    train(2, [job, Waits(clock)])
    assert counts(capsys.readouterr().out) == [
        "Tasks: step 3/9 - 1:00 left",
        "Tasks: step 6/9 - 1:00 left",
        "Tasks: step 9/9",
    ]


def test_a_bar_of_several_trainings_is_one(clock, monkeypatch):
    monkeypatch.setattr(sys, "stdout", Terminal())
    job = TrainingProgress("Pruning", 6)
    train(1, [job, Waits(clock)])
    print("between")
    train(1, [job, Waits(clock)])
    title, first, between, last = shown(sys.stdout.getvalue())
    assert (title, between) == ("Pruning:", "between")
    assert first.startswith("3/6 ") and last.startswith("6/6 ")


def test_a_training_can_be_silent(capsys):
    train(1, verbose=0)
    train(1, [TrainingProgress("Tasks", 3)], verbose=0)
    assert capsys.readouterr().out == ""
