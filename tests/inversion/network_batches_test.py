"""Workers invert a network: pixels, chains of a generator, and SIGTERM."""

import functools
import json
import os
import shutil
import signal

import numpy as np
import pytest
from batches import shards
from inversions import NORMALIZED
from tiny import CLASSES
from tiny import SHAPE
from tiny import learned_teacher

import tf_deepinversion as di
from tf_deepinversion.datasets import merge_batches
from tf_deepinversion.datasets.batch_folder import BatchFolder
from tf_deepinversion.inversion import batch_worker
from tf_deepinversion.inversion import batches_job
from tf_deepinversion.inversion.chain_states import ChainStates
from tf_deepinversion.models.generator import Generator


def made(folder, recipe="replay_pixels", **kwargs):
    return di.synthesize_batches(
        learned_teacher(),
        folder,
        preprocessing=NORMALIZED,
        recipe=recipe,
        **{"batches": 3, "images": 2, "steps": 2, "verbose": 0, **kwargs},
    )


def test_pixels_are_those_of_deep_inversion(tmp_path):
    made(tmp_path, worker=1, workers=2, micro_batch=1)
    pool = merge_batches(tmp_path)
    model = di.DeepInversion(
        learned_teacher(), NORMALIZED, recipe="replay_pixels"
    )
    for number, labels in enumerate(([0, 1], [2, 0], [1, 2])):
        assert pool.requested[2 * number :][:2].tolist() == labels
        model.fit(labels, 2, batch_index=number, verbose=0)
        mine = np.int32(pool.images[2 * number : 2 * number + 2])
        assert np.abs(mine - model.images).max() <= 1  # by micro-batches
    assert not list((tmp_path / "state").iterdir())


def test_micro_batches_that_do_not_fit_are_refused_before_any_work(tmp_path):
    with pytest.raises(ValueError, match="must divide the 6 images.* take 3"):
        made(tmp_path / "run", images=6, micro_batch=4)
    model = di.DeepInversion(learned_teacher(), NORMALIZED, recipe="ours")
    model.compile(micro_batch=4)
    with pytest.raises(ValueError, match="must divide the 6 images.* take 3"):
        model.check([0, 1, 2] * 2)
    assert not list(tmp_path.iterdir())


def test_what_a_synthesizer_was_compiled_with_stays(tmp_path):
    model = di.DeepInversion(learned_teacher(), NORMALIZED, recipe="ours")
    model.compile(loss=[di.CrossEntropy(3.0)])
    for call in (di.inversion.plan_batches, di.synthesize_batches):
        folder = [tmp_path] if call is di.synthesize_batches else []
        with pytest.raises(ValueError, match="Received: micro_batch beside"):
            call(model, *folder, batches=1, images=6, steps=2, micro_batch=3)
    assert [term.weight for term in model.terms] == [3.0]


def test_asked_to_end_it_ends_with_its_epoch_and_goes_on(tmp_path, monkeypatch):
    made(tmp_path / "whole", steps=[300], batches=2)
    ended, epochs = tmp_path / "ended", []

    def asked(self, epoch, logs=None):
        epochs.append(epoch)
        if len(epochs) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        self._worker.require_going_on()

    handler = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(batch_worker._EndOfEpoch, "on_epoch_begin", asked)
    status = made(ended, steps=[300], batches=2)
    assert status.stopped and status.done == 0 and epochs == [0, 1]
    assert signal.getsignal(signal.SIGTERM) is handler
    assert [p.name for p in (ended / "state").iterdir()] == ["00000.npz"]
    assert not made(ended, steps=[300], batches=2).stopped
    assert epochs == [0, 1, 1, 2, 0, 1, 2]  # from the second epoch on
    # The seconds of what was left of a batch are no measure of speed.
    told = [json.loads(p.read_text()) for p in sorted(ended.glob("done/*"))]
    assert told[0]["seconds"] is None and told[1]["seconds"] > 0
    assert shards(ended) == shards(tmp_path / "whole")


def one_generator(*_, **__):
    """Traced once for all; it starts as a new one does."""
    model = traced()
    first = Generator(SHAPE, CLASSES, seed=0)
    model.generator.set_weights(first.get_weights())
    return model


@functools.cache
def traced():
    return di.FastInversion(learned_teacher(), NORMALIZED)


def chained(folder, **kwargs):
    return made(
        folder,
        "generator",
        batches=5,
        chain=2,
        first_steps=2,
        steps=1,
        **kwargs,
    )


@pytest.mark.slow
def test_chains_go_on_from_batch_to_batch_and_are_independent(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(batches_job, "make_synthesizer", one_generator)
    chained(tmp_path / "whole")
    whole = shards(tmp_path / "whole")
    assert len(whole) == 5 and len(set(whole.values())) == 5
    # Killed before the second batch of a chain is published.
    killed = tmp_path / "killed"
    publish, count = BatchFolder.publish, []

    def die(self, *args):
        count.append(args)
        if len(count) == 2:
            raise KeyboardInterrupt
        publish(self, *args)

    monkeypatch.setattr(BatchFolder, "publish", die)
    with pytest.raises(KeyboardInterrupt):
        chained(killed, worker=1, workers=2)
    assert list(shards(killed)) == ["pool-train.tfrecord-00002"]
    shutil.copytree(killed, tmp_path / "removed")
    chained(killed)
    assert len(count) == 2 + 4 and shards(killed) == whole
    # What is removed is made again, from the start of its chain.
    (tmp_path / "removed" / "pool-train.tfrecord-00002").unlink()
    chained(tmp_path / "removed")
    assert shards(tmp_path / "removed") == whole
    model = one_generator()
    second = Generator(SHAPE, CLASSES, seed=1)  # of the second chain
    model.generator.set_weights(second.get_weights())
    images, _ = model.make([1, 2], 2, 2)
    mine = merge_batches(killed).images[4:6]
    np.testing.assert_array_equal(mine, images)
    assert not list((killed / "state").iterdir())


def test_a_damaged_state_of_a_chain_begins_the_chain_again(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(batches_job, "make_synthesizer", one_generator)
    one = {"recipe": "generator", "chain": 3, "steps": 1, "first_steps": 1}
    made(tmp_path / "whole", **one)
    damaged = tmp_path / "damaged"
    save = ChainStates.save

    def die(self, unit, number):
        save(self, unit, number)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(ChainStates, "save", die)
        made(damaged, **one)
    path = damaged / "state" / "chain-00000.npz"
    path.write_bytes(path.read_bytes()[:100])
    made(damaged, **one)
    assert shards(damaged) == shards(tmp_path / "whole")
