"""Many workers fill one folder, however often they are killed."""

import errno
import json
import os
import shutil
import types

import pytest
import tensorflow_datasets as tfds
from batches import Numbered
from batches import shards
from inversions import NORMALIZED
from tiny import learned_teacher

import tf_deepinversion as di
from tf_deepinversion.datasets import merge_batches
from tf_deepinversion.datasets import status_of_batches
from tf_deepinversion.datasets import tfrecords
from tf_deepinversion.datasets.batch_folder import BatchFolder

BATCHES, IMAGES = 5, 4


def work(folder, maker=None, worker=0, workers=1, **kwargs):
    return di.synthesize_batches(
        maker or Numbered(),
        folder,
        worker=worker,
        workers=workers,
        **{"batches": BATCHES, "images": IMAGES, "verbose": 0, **kwargs},
    )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    work(folder)
    return shards(folder)


def test_the_labels_are_the_classes_in_turn_over_all_batches(tmp_path):
    status = work(tmp_path)
    assert status[:3] == (BATCHES, BATCHES, BATCHES * IMAGES)
    assert not status.failed and not status.gaps and not status.stopped
    pool = merge_batches(tmp_path)
    count = BATCHES * IMAGES
    assert pool.requested.tolist() == [i % 7 for i in range(count)]
    assert pool.images[:, 0, 0, 0].tolist() == [i // 4 for i in range(count)]
    pool.verify()
    found = tfds.builder_from_directory(str(tmp_path)).as_dataset("train")
    assert sorted(int(x["image"][0, 0, 0]) for x in found) == sorted(
        [0, 1, 2, 3, 4] * IMAGES
    )


def test_each_worker_does_its_own_and_then_what_is_missing(tmp_path):
    makers = Numbered(), Numbered(), Numbered()
    killed = OSError(errno.EIO, "killed")

    class Killed(Numbered):
        def make(self, labels, batch_index, steps=None, verbose=0):
            if batch_index == 3:
                raise killed
            return super().make(labels, batch_index)

    first = Killed()
    with pytest.raises(OSError, match="killed"):
        work(tmp_path, first, worker=0, workers=3)
    assert first.asked == [0]
    work(tmp_path, makers[2], worker=2, workers=3)
    # Its own 2; then, from its place in what is missing, 1, 3 and 4.
    assert makers[2].asked == [2, 4, 3, 1]
    work(tmp_path, makers[1], worker=1, workers=3)
    assert not makers[1].asked


def test_workers_keep_jpeg_images_alike(tmp_path):
    work(tmp_path, worker=1, workers=2, jpeg_quality=50)
    assert merge_batches(tmp_path).jpeg_quality == 50
    content = (tmp_path / "pool-train.tfrecord-00000").read_bytes()
    assert content.count(b"\xff\xd8\xff") == IMAGES
    with pytest.raises(ValueError, match="differs in: jpeg_quality"):
        work(tmp_path, jpeg_quality=51)
    with pytest.raises(ValueError, match="differs in: jpeg_quality"):
        work(tmp_path)
    plan = di.inversion.plan_batches(
        Numbered(), batches=BATCHES, images=IMAGES, jpeg_quality=50
    )
    assert plan.bytes == BATCHES * len(content)


class Timed(Numbered):
    """Takes a second for each step, by a clock of its own."""

    def __init__(self, clock):
        super().__init__()
        self._clock = clock

    def make(self, labels, batch_index, steps=None, verbose=0):
        self._clock[0] += steps
        return super().make(labels, batch_index)


@pytest.mark.parametrize(
    ("chained", "batches", "first"),
    [(False, 5, 1), (True, 5, 1), (True, 1, 1), (True, 25, 3)],
)
def test_a_plan_counts_the_batches_that_begin_a_chain(
    chained, batches, first, monkeypatch
):
    clock, plan = [0.0], di.inversion.plan_batches
    job_of = plan.__globals__["job_of"]

    def job(*args, **kwargs):
        # A synthesizer with a state cannot be passed as such.
        found = job_of(*args, **kwargs)
        if chained:
            found.synthesizer.state_variables = [None]
            found = found._replace(chain=10)
        return found

    time = types.SimpleNamespace(monotonic=lambda: clock[0])
    monkeypatch.setitem(plan.__globals__, "time", time)
    monkeypatch.setitem(plan.__globals__, "job_of", job)
    found = plan(
        Timed(clock),
        batches=batches,
        images=7,
        first_steps=300,
        steps=30,
        chain=10,
    )
    seconds = first * 300 + (batches - first) * 30
    assert found.device_hours == pytest.approx(seconds / 3600)


@pytest.mark.parametrize("workers", [2, 5, 9])
def test_any_number_of_workers_makes_the_same(tmp_path, workers, undisturbed):
    for worker in reversed(range(workers)):
        work(tmp_path, worker=worker, workers=workers)
    assert shards(tmp_path) == undisturbed


def test_the_first_wins(tmp_path, undisturbed):
    """Of two workers with one number the second finds its batch there."""

    class Late(Numbered):
        def make(self, labels, batch_index, steps=None, verbose=0):
            work(tmp_path)
            return super().make(labels, batch_index)

    late = Late(shade=100)
    work(tmp_path, late)
    assert late.asked == [0] and shards(tmp_path) == undisturbed
    merge_batches(tmp_path).verify()  # by the hash of what is there
    assert not list(tmp_path.rglob(".*.part"))


def test_a_worker_may_die_between_its_shard_and_its_marker(
    tmp_path, undisturbed, monkeypatch
):
    class Dead(BaseException):
        pass

    def die(*args):
        raise Dead

    with monkeypatch.context() as context:
        context.setattr(BatchFolder, "_mark", die)
        with pytest.raises(Dead):
            work(tmp_path)
    assert len(shards(tmp_path)) == 1 and not status_of_batches(tmp_path).done
    maker = Numbered(shade=100)
    work(tmp_path, maker)
    assert maker.asked == [1, 2, 3, 4]  # batch 0 is whole
    name = "pool-train.tfrecord-00000"
    assert shards(tmp_path)[name] == undisturbed[name]


def test_a_shard_without_a_marker_counts_if_it_is_whole(tmp_path, undisturbed):
    work(tmp_path)
    path = tmp_path / "pool-train.tfrecord-00002"
    shutil.rmtree(tmp_path / "done")
    path.write_bytes(path.read_bytes()[:-7])
    maker = Numbered()
    work(tmp_path, maker)
    assert maker.asked == [2] and shards(tmp_path) == undisturbed


def test_a_marker_without_its_shard_does_not_count(tmp_path, undisturbed):
    work(tmp_path)
    (tmp_path / "pool-train.tfrecord-00002").unlink()
    assert status_of_batches(tmp_path).done == BATCHES - 1
    assert len(merge_batches(tmp_path)) == (BATCHES - 1) * IMAGES
    other = Numbered(shade=100)  # of another device, say
    work(tmp_path, other)
    assert other.asked == [2]
    merge_batches(tmp_path).verify()


def test_a_damaged_shard_or_marker_is_named(tmp_path):
    work(tmp_path)
    path, marker = tmp_path / "pool-train.tfrecord-00001", "done/00001.json"
    content = path.read_bytes()
    path.write_bytes(content + b"1")
    for look in (merge_batches, status_of_batches):
        with pytest.raises(ValueError, match="00001 is damaged.*start a"):
            look(tmp_path)
    path.write_bytes(content[:-1] + b"1")
    with pytest.raises(ValueError, match="00001 is damaged.*SHA-256"):
        merge_batches(tmp_path).verify()
    # The way out that the message tells.
    path.unlink()
    (tmp_path / marker).write_text("[]")
    work(tmp_path)
    assert path.read_bytes() == content
    merge_batches(tmp_path).verify()
    told = json.loads((tmp_path / marker).read_text())
    del told["images"]
    for damaged in ("{", json.dumps(told)):
        (tmp_path / marker).write_text(damaged)
        for look in (merge_batches, status_of_batches):
            with pytest.raises(ValueError, match="00001.json is damaged"):
                look(tmp_path)


def test_what_fails_twice_stays_a_gap(tmp_path):
    status = work(tmp_path, Numbered(fails=[1, 3]))
    assert status.failed == [1, 3] and status.done == 3 and not status.gaps
    told = json.loads((tmp_path / "failed" / "00003.json").read_text())
    assert told["error"] == "FloatingPointError: not finite"
    assert status_of_batches(tmp_path).failed == [1, 3]
    status = work(tmp_path, Numbered(fails=[3]))
    assert status.failed == status.gaps == [3] and status.done == 4
    maker = Numbered()
    status = work(tmp_path, maker)
    assert not maker.asked and not status.failed and status.gaps == [3]
    assert "failed twice, left out: [3]" in str(status)
    pool = merge_batches(tmp_path)
    assert sorted(set(pool.images[:, 0, 0, 0])) == [0, 1, 2, 4]
    read = tfds.builder_from_directory(str(tmp_path)).as_dataset("train")
    assert len(read) == len(pool) == 4 * IMAGES


def test_a_damaged_note_of_a_failure_counts_once(tmp_path):
    work(tmp_path, Numbered(fails=[1]))
    (tmp_path / "failed" / "00001.json").write_text("{")
    assert status_of_batches(tmp_path).failed == [1]
    maker = Numbered()
    work(tmp_path, maker)
    assert maker.asked == [1] and not list((tmp_path / "failed").iterdir())


def test_the_bar_is_of_all_workers_together(tmp_path, capsys):
    class Beside(Numbered):
        def make(self, labels, batch_index, steps=None, verbose=0):
            if batch_index == 1:  # another makes this one and two more
                work(tmp_path / "run", Numbered(fails=[4]))
            return super().make(labels, batch_index)

    work(tmp_path / "run", Beside(fails=[4]), verbose=2)
    assert capsys.readouterr().out.splitlines() == [
        "Images: batch 1/5 - loss: 0",
        "Images: batch 4/5 - loss: 1",
        "Batch 4 failed, FloatingPointError: not finite",
    ]


def test_another_run_is_refused_by_what_differs(tmp_path):
    work(tmp_path)
    before = shards(tmp_path)
    for batches in (BATCHES - 1, BATCHES + 1):
        with pytest.raises(ValueError, match=f"5 batches.*batches={batches}"):
            work(tmp_path, batches=batches)
    with pytest.raises(ValueError, match="differs in: classes, images"):
        work(tmp_path, classes=[1], images=3)
    run = tmp_path / "run.json"
    content = run.read_text()
    run.write_text(content.replace("batches 2", "batches 1"))
    with pytest.raises(ValueError, match="another version.*batches 1"):
        work(tmp_path)
    run.write_text(content[:-9])
    with pytest.raises(ValueError, match="run.json is damaged"):
        work(tmp_path)
    run.unlink()  # the way out that the message tells
    with pytest.raises(ValueError, match="of another run: .* classes, images"):
        work(tmp_path, classes=[1], images=3)
    maker = Numbered()
    work(tmp_path, maker)
    assert not maker.asked and shards(tmp_path) == before
    merge_batches(tmp_path)
    run.unlink()
    work(tmp_path, maker)
    assert not maker.asked and shards(tmp_path) == before


def test_fewer_batches_than_there_are_are_refused(tmp_path):
    """Whether run.json tells their number, or was deleted as damaged."""
    work(tmp_path)
    with pytest.raises(ValueError, match="is for 5 batches"):
        work(tmp_path, batches=4)
    (tmp_path / "run.json").unlink()
    with pytest.raises(ValueError, match="has 5 batches.*Received: batches=4"):
        work(tmp_path, batches=4)
    assert work(tmp_path).done == 5


def test_a_pool_does_not_write_where_workers_do(tmp_path):
    work(tmp_path)
    with pytest.raises(ValueError, match="would remove their batches"):
        di.Pool(9, (2, 2, 1), 7, folder=tmp_path, run="run")
    pool = merge_batches(tmp_path)
    with pytest.raises(ValueError, match="`join_pools` joins this pool"):
        pool.add(pool.images[:1], [0])
    assert len(shards(tmp_path)) == BATCHES
    other = tmp_path / "other"
    di.Pool(9, (2, 2, 1), 7, folder=other, run="run").close()
    with pytest.raises(ValueError, match="no workers have made.*`Pool.open`"):
        work(other)
    (other / "pool.json").unlink()
    with pytest.raises(ValueError, match="a folder of their own.*has dataset_"):
        work(other)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"worker": 2, "workers": 2}, "counts from 0.*worker=2, workers=2"),
        ({"workers": 0}, "`workers` must be .* 1 or more"),
        ({"worker": -1}, "`worker` must be .* 0 or more"),
        ({"batches": 0}, "`batches` must be"),
        ({"batches": 100_000}, "up to 99999 batches"),
        ({"images": 1}, "leave out some of the 7 classes"),
        ({"chain": 0}, "`chain` must be"),
        ({"micro_batch": 2}, "A synthesizer has its own.*micro_batch"),
        ({"recipe": "ours"}, "A synthesizer has its own"),
        ({"jpeg_quality": 101}, "must lie in .1, 100.. Received: jpeg_qual"),
    ],
)
def test_what_does_not_fit_is_refused_before_any_work(tmp_path, wrong, message):
    with pytest.raises(ValueError, match=message):
        work(tmp_path / "run", **wrong)
    assert not list(tmp_path.iterdir())


def test_no_run_is_no_status(tmp_path):
    for look in (merge_batches, status_of_batches):
        with pytest.raises(FileNotFoundError, match="with a run.json. Rec"):
            look(tmp_path)
    BatchFolder.claim(
        tmp_path,
        {"run": "{}", "batches": 2, "images": 1, "classes": 7}
        | {"image_shape": [2, 2, 1], "jpeg_quality": None},
    )
    with pytest.raises(ValueError, match="No batch is done yet"):
        merge_batches(tmp_path)
    assert status_of_batches(tmp_path).seconds_left is None


def test_workers_may_begin_a_folder_at_the_same_moment(tmp_path, monkeypatch):
    plan = {"run": "{}", "batches": 2, "images": 1, "classes": 7}
    plan |= {"image_shape": [2, 2, 1], "jpeg_quality": None}
    look, begun = BatchFolder._require_empty, []

    def overtaken(folder):
        if not begun:
            begun.append(folder)
            BatchFolder.claim(tmp_path, plan)
        look(folder)

    monkeypatch.setattr(BatchFolder, "_require_empty", overtaken)
    assert BatchFolder.claim(tmp_path, plan).plan == plan
    begun.clear()
    (tmp_path / "run.json").unlink()
    with pytest.raises(ValueError, match="is of another run"):
        BatchFolder.claim(tmp_path, {**plan, "run": '{"seed": "1"}'})


@pytest.mark.parametrize(
    ("name", "error"), [("fsync", errno.ENOSPC), ("link", errno.EROFS)]
)
def test_a_full_disk_ends_the_worker_and_loses_nothing(
    tmp_path, monkeypatch, undisturbed, name, error
):
    works, calls = getattr(os, name), []

    def fail(*args):
        calls.append(args)
        if len(calls) == 6:
            raise OSError(error, os.strerror(error))
        return works(*args)

    with monkeypatch.context() as context:
        context.setattr(os, name, fail)
        message = f"{os.strerror(error)}.*start the worker"
        with pytest.raises(OSError, match=message) as told:
            work(tmp_path)
    assert told.value.errno == error
    assert 0 < status_of_batches(tmp_path).done < BATCHES
    assert not status_of_batches(tmp_path).failed
    work(tmp_path)
    assert shards(tmp_path) == undisturbed


def test_a_merge_may_be_killed_and_go_on_while_workers_do(
    tmp_path, monkeypatch
):
    with pytest.raises(KeyboardInterrupt):
        work(tmp_path, Interrupted())
    with monkeypatch.context() as context:
        context.setattr(tfrecords, "write_metadata", interrupt)
        with pytest.raises(KeyboardInterrupt):
            merge_batches(tmp_path)
    assert len(di.Pool.open(tmp_path)) == 2 * IMAGES
    assert len(merge_batches(tmp_path)) == 2 * IMAGES
    work(tmp_path)
    assert len(merge_batches(tmp_path)) == BATCHES * IMAGES
    read = tfds.builder_from_directory(str(tmp_path)).as_dataset("train")
    assert len(read) == BATCHES * IMAGES


def interrupt(*_):
    raise KeyboardInterrupt


class Interrupted(Numbered):
    def make(self, labels, batch_index, steps=None, verbose=0):
        if batch_index == 2:
            interrupt()
        return super().make(labels, batch_index)


def test_clocks_that_differ_do_not_matter(tmp_path):
    work(tmp_path)
    before = status_of_batches(tmp_path)
    for number, path in enumerate(tmp_path.rglob("*0*")):
        os.utime(path, (number % 2 * 4e9,) * 2)  # 1970, or 2096
    assert status_of_batches(tmp_path) == before
    maker = Numbered()
    work(tmp_path, maker)
    assert not maker.asked


@pytest.mark.parametrize("error", [errno.EPERM, errno.ENOTSUP])
def test_a_system_without_links_will_do(
    tmp_path, monkeypatch, error, undisturbed
):
    def no_link(*args):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "link", no_link)
    work(tmp_path)
    work(tmp_path, Numbered(shade=100))
    assert shards(tmp_path) == undisturbed


def test_speed_is_that_of_the_workers_of_each_host(tmp_path):
    work(tmp_path)
    rows = [("a", 0, 2.0), ("a", 0, 6.0), ("a", 1, 2.0), ("b", 2, 1.0)]
    for number, (host, worker, seconds) in enumerate(rows):
        path = tmp_path / "done" / f"{number:05d}.json"
        told = json.loads(path.read_text())
        told |= {"host": host, "worker": worker, "seconds": seconds}
        path.write_text(json.dumps(told))
    (tmp_path / "done" / "00004.json").unlink()
    status = status_of_batches(tmp_path)
    # Two workers of a: 8 images in 8 seconds, and 4 in 2.
    assert status.speed == {"a": 3.0, "b": 4.0}
    assert status.seconds_left == pytest.approx(4 / 7)
    assert str(status).startswith("4 of 5 batches - 16 images - 100.0% rec")


def test_a_synthesizer_with_a_state_is_refused(tmp_path):
    with pytest.raises(ValueError, match="pass the network and `recipe`"):
        work(
            tmp_path, di.FastInversion(learned_teacher(), NORMALIZED), images=9
        )
