"""A run that is killed at any moment goes on to the same images, to the bit."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
from inversions import LABELS
from inversions import inversion
from tiny import tiny_teacher

from tf_deepinversion import L2
from tf_deepinversion.core import run_state

SCRIPT = """
import sys
import time
import keras
import numpy as np
from inversions import LABELS, inversion

state, result = sys.argv[1:]
model = inversion()
slow = keras.callbacks.LambdaCallback(
    on_epoch_begin=lambda e, logs: print("epoch", e, flush=True),
    on_train_batch_end=lambda b, logs: time.sleep(0.02),
)
model.compile(steps_per_execution=1)
model.fit(LABELS, steps=60, steps_per_epoch=3, verbose=0, keep="best",
          checkpoint=state, callbacks=[slow])
np.save(result, model.step.images.numpy())
np.save(result.replace("images", "best"), model.step.best_images.numpy())
"""


def start(state, result):
    here = pathlib.Path(__file__).parent
    path = os.pathsep.join([str(here), str(here.parent), *sys.path])
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(state), str(result)],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def kill_in_epoch(process, epoch, delay):
    """Kills the process somewhere in an epoch; the first one it starts with.

    Returns:
        The number of the first epoch that it did.
    """
    first = None
    for line in process.stdout:
        number = int(line.split()[1])
        first = number if first is None else first
        if number >= epoch:
            break
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return first


@pytest.mark.slow
def test_killed_three_times_the_images_are_the_same(tmp_path):
    whole = start(tmp_path / "whole.npz", tmp_path / "images_whole.npy")
    state, result = tmp_path / "state.npz", tmp_path / "images.npy"
    starts = []
    for epoch, delay in ((2, 0.0), (7, 0.03), (13, 0.055)):
        starts.append(kill_in_epoch(start(state, result), epoch, delay))
    assert starts[0] == 0 and 0 < starts[1] <= 3 and starts[1] < starts[2]
    assert not result.exists()
    for process in (whole, start(state, result)):
        process.communicate()
        assert process.returncode == 0
    for name in ("images", "best"):
        np.testing.assert_array_equal(
            np.load(tmp_path / f"{name}_whole.npy"),
            np.load(tmp_path / f"{name}.npy"),
        )


def test_a_finished_run_is_not_done_again(tmp_path):
    state = tmp_path / "state.npz"
    model = inversion()
    first = model.fit(
        LABELS, steps=5, steps_per_epoch=2, verbose=0, checkpoint=state
    )
    images = model.images
    again = inversion()
    history = again.fit(
        LABELS, steps=5, steps_per_epoch=2, verbose=0, checkpoint=state
    )
    assert history.epoch == [0, 1, 2]
    assert history.history == first.history
    np.testing.assert_array_equal(again.images, images)


class Early(keras.callbacks.Callback):
    """Ends the run, and puts back what it calls the best."""

    def __init__(self, batch_end):
        super().__init__()
        self.batch_end = batch_end

    def on_train_batch_end(self, batch, logs=None):
        self.model.stop_training = self.batch_end

    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training |= epoch == 1

    def on_train_end(self, logs=None):
        self.model.set_weights([w / 2 for w in self.model.get_weights()])


def test_a_run_that_is_killed_as_it_ends_stays_ended(tmp_path, eagerly):
    class Killed(Early):
        def on_train_end(self, logs=None):
            raise KeyboardInterrupt

    def run(callbacks):
        model = inversion()
        return model.fit(
            LABELS,
            steps=3,
            steps_per_epoch=1,
            verbose=0,
            checkpoint=tmp_path / "state.npz",
            callbacks=callbacks,
        )

    with pytest.raises(KeyboardInterrupt):
        run([Killed(False)])
    assert len(run([]).epoch) == 2


@pytest.mark.parametrize("batch_end", [False, True])
def test_a_run_that_a_callback_has_ended_stays_ended(
    tmp_path, batch_end, eagerly
):
    def run(callbacks):
        model = inversion()
        history = model.fit(
            LABELS,
            steps=8,
            steps_per_epoch=2,
            verbose=0,
            checkpoint=tmp_path / "state.npz",
            callbacks=callbacks,
        )
        return history.history["loss"], model.get_weights()[0]

    loss, z = run([Early(batch_end)])
    assert len(loss) == (1 if batch_end else 2)
    for _ in range(2):
        again, same = run([])
        assert again == loss
        np.testing.assert_array_equal(same, z)


def test_averages_that_are_swapped_in_go_on_to_the_same_images(tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    def run(checkpoint, *callbacks):
        model = inversion(transforms=[])
        model.compile(
            keras.optimizers.SGD(0.3, use_ema=True, ema_momentum=0.7),
            [L2(5.0)],
        )
        swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
        model.fit(
            LABELS,
            steps=4,
            steps_per_epoch=1,
            verbose=0,
            checkpoint=checkpoint,
            callbacks=[swap, *callbacks],
        )
        return model.step.images.numpy()

    state = tmp_path / "state.npz"
    with pytest.raises(KeyboardInterrupt):
        run(state, Stop())
    np.testing.assert_array_equal(run(state), run(None))


@pytest.mark.parametrize("restored", [False, True])
def test_a_run_that_ends_early_ends_with_its_averages(tmp_path, restored):
    """After epoch 1; the images of epoch 0 are put back, or not."""

    def run(checkpoint=None):
        model, seen = inversion(transforms=[]), []
        model.compile(
            keras.optimizers.SGD(0.5, use_ema=True, ema_momentum=0.75),
            [L2()],
            steps_per_execution=1,
        )
        each = keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda batch, logs: seen.append(
                model.step.images.numpy()
            )
        )
        swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
        early = keras.callbacks.EarlyStopping(
            "loss", mode="max", patience=1, restore_best_weights=restored
        )
        model.fit(
            LABELS,
            steps=4,
            steps_per_epoch=1,
            verbose=0,
            checkpoint=checkpoint,
            callbacks=[swap, each, early],
        )
        return model.step.images.numpy(), seen

    found, (first, second) = run()
    average = first if restored else 0.75 * first + 0.25 * second
    np.testing.assert_allclose(found, average, rtol=1e-5)
    assert np.abs(found - second).max() > 1e-3
    for _ in range(2):  # the second time nothing is left to do
        again, _ = run(tmp_path / "state.npz")
        np.testing.assert_array_equal(again, found)


@pytest.mark.parametrize(
    "change",
    [
        "teacher",
        "seed",
        "keep",
        "loss",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("architecture", "labels", "steps", "batch")
        ),
    ],
)
def test_the_state_of_another_run_is_refused(tmp_path, change, eagerly):
    state = tmp_path / "state.npz"
    inversion().fit(LABELS, steps=2, verbose=0, checkpoint=state)
    model = inversion(
        tiny_teacher(1 if change == "teacher" else 0),
        seed=1 if change == "seed" else 0,
    )
    if change == "architecture":
        model.teacher.layers[-2].data_format = "channels_first"
    if change == "loss":
        model.compile(loss=[L2()])
    with pytest.raises(ValueError, match="belongs to another run"):
        model.fit(
            [1, 1, 1, 1] if change == "labels" else LABELS,
            steps=3 if change == "steps" else 2,
            batch_index=1 if change == "batch" else 0,
            keep="best" if change == "keep" else "last",
            verbose=0,
            checkpoint=state,
        )


def test_a_damaged_state_is_refused(tmp_path, eagerly):
    state = tmp_path / "state.npz"
    inversion().fit(LABELS, steps=2, verbose=0, checkpoint=state)
    content = state.read_bytes()
    state.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="state.npz is damaged"):
        inversion().fit(LABELS, steps=2, verbose=0, checkpoint=state)
    assert run_state.load(tmp_path / "none.npz", "run") is None
