"""Workers share a folder of an object store, tested on fsspec's memory."""

import sys
import uuid

import fsspec
import numpy as np
import pytest
from batches import Numbered
from batches import shards

import tf_deepinversion as di
from tf_deepinversion.core import run_state
from tf_deepinversion.core.files import path_of
from tf_deepinversion.core.files import write_atomically
from tf_deepinversion.core.files import write_first
from tf_deepinversion.core.remote_path import RemotePath
from tf_deepinversion.datasets import merge_batches
from tf_deepinversion.datasets import status_of_batches
from tf_deepinversion.datasets.batch_folder import BatchFolder

BATCHES, IMAGES = 5, 4
PLAN = {"batches": BATCHES, "images": IMAGES, "verbose": 0}
MEMORY = fsspec.filesystem("memory")


@pytest.fixture
def url():
    folder = f"memory://test-{uuid.uuid4().hex}"
    yield f"{folder}/run"
    MEMORY.rm(folder, recursive=True)


def work(folder, maker=None, **kwargs):
    maker = maker or Numbered()
    return di.synthesize_batches(maker, folder, **{**PLAN, **kwargs})


def local(url, folder):
    """A copy on this machine of what is in the store."""
    MEMORY.get(url.removeprefix("memory://") + "/", str(folder), recursive=True)
    return folder


def test_the_files_are_those_of_a_local_folder(url, tmp_path):
    here, maker = tmp_path / "here", Numbered()
    work(here)
    for worker in (1, 0):
        status = work(url, maker, worker=worker, workers=2)
    assert sorted(maker.asked) == list(range(BATCHES))
    assert status[:3] == (BATCHES, BATCHES, BATCHES * IMAGES)
    assert status_of_batches(url).done == BATCHES
    mine, theirs = merge_batches(here), merge_batches(url)
    for pool in (theirs, di.Pool.open(url)):
        for name in ("images", "labels", "requested"):
            np.testing.assert_array_equal(
                getattr(pool, name), getattr(mine, name)
            )
        assert (pool.identity == mine.identity).all()
        pool.verify()
    steps = [
        next(iter(p.dataset(7, seed=2, first_step=3))) for p in (mine, pool)
    ]
    for found, expected in zip(*steps, strict=True):
        np.testing.assert_array_equal(found, expected)
    copied = local(url, tmp_path / "copied")
    assert shards(copied) == shards(here)
    names = "dataset_info.json", "features.json", "pool.json"
    for name in names:
        assert (copied / name).read_bytes() == (here / name).read_bytes()
    assert {x.relative_to(copied) for x in copied.rglob("*")} == {
        x.relative_to(here) for x in here.rglob("*")
    }


def test_the_first_wins_in_a_store_too(url):
    class Late(Numbered):
        def make(self, labels, batch_index, steps=None, verbose=0):
            work(url)
            return super().make(labels, batch_index)

    late = Late(shade=100)
    work(url, late)
    assert late.asked == [0]
    pool = merge_batches(url)
    assert sorted(set(pool.images[:, 0, 0, 0])) == [0, 1, 2, 3, 4]
    pool.verify()  # by the hash of what is there


def test_a_worker_may_die_between_its_shard_and_its_marker(url, monkeypatch):
    class Dead(BaseException):
        pass

    def die(*args):
        raise Dead

    with monkeypatch.context() as context:
        context.setattr(BatchFolder, "_mark", die)
        with pytest.raises(Dead):
            work(url)
    maker = Numbered(shade=100)
    work(url, maker)
    assert maker.asked == [1, 2, 3, 4]  # batch 0 is whole
    merge_batches(url).verify()


def test_a_damaged_shard_without_a_marker_is_made_again(url):
    work(url)
    folder = BatchFolder.existing(url)
    folder.marker(2).unlink()
    path = folder.shard(2)
    path.write(path.read_bytes()[:-7])
    maker = Numbered()
    work(url, maker)
    assert maker.asked == [2]
    path.write(path.read_bytes() + b"1")
    with pytest.raises(ValueError, match="memory://.*00002 is damaged"):
        merge_batches(url)


def test_failures_gaps_and_another_run(url):
    assert work(url, Numbered(fails=[1])).failed == [1]
    status = work(url, Numbered(fails=[1]))
    assert status.gaps == [1] and status.done == 4
    with pytest.raises(ValueError, match="differs in: images"):
        work(url, images=7)


def test_synthesize_works_in_a_store_and_goes_on(url):
    di.synthesize(Numbered(), folder=url, **{**PLAN, "batches": 2})
    maker = Numbered()
    pool = di.synthesize(maker, folder=url, **PLAN)
    assert maker.asked == [2, 3, 4] and len(pool) == BATCHES * IMAGES
    whole = di.synthesize(Numbered(), **PLAN)
    np.testing.assert_array_equal(pool.images, whole.images)


def test_other_images_are_read_one_by_one(url, tmp_path):
    """JPEG of a pool that was copied into the store."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (4, 8, 8, 3), "uint8")
    pool = di.Pool(
        9,
        (8, 8, 3),
        3,
        folder=tmp_path / "a",
        run="a",
        jpeg_quality=90,
    )
    pool.add(images, [0, 1, 2, 0])
    MEMORY.put(str(tmp_path / "a") + "/", url.removeprefix("memory://"), True)
    found = di.Pool.open(url)
    np.testing.assert_array_equal(found.images, pool.images)
    for path in path_of(url).iterdir():
        if "pool-train" in path.name:
            path.unlink()
    with pytest.raises(ValueError, match="is not there any more"):
        found.images[:1]


def test_a_writer_that_needs_a_lock_is_refused(url):
    work(url)
    merge_batches(url)
    with pytest.raises(ValueError, match="mount the store"):
        di.Pool(9, (2, 2, 1), 7, folder=url, run="a")
    with pytest.raises(ValueError, match="`join_pools` joins this pool"):
        di.Pool.open(url).add(np.zeros((1, 2, 2, 1), "uint8"), [0])


def test_a_path_is_used_as_that_of_a_file(url):
    folder = path_of(url)
    assert isinstance(folder, RemotePath) and path_of(folder) is folder
    path = folder / "a" / "b.json"
    assert str(path) == f"{url}/a/b.json" and path.name == "b.json"
    assert path == path_of(str(path)) and len({path, path_of(str(path))}) == 1
    assert path != folder and path.with_name("c") == folder / "a" / "c"
    # As `pathlib` writes it.
    assert path_of(str(path).replace("://", ":/")) == path
    assert not path.exists() and not path.is_file()
    path.unlink(missing_ok=True)
    for look in (path.unlink, path.read_bytes, path.stat):
        with pytest.raises(FileNotFoundError):
            look()
    with pytest.raises(FileNotFoundError):
        (folder / "none").iterdir()
    assert write_first(path, b"mine") and not write_first(path, b"yours")
    assert path.read_bytes() == b"mine" and path.stat().st_size == 4
    write_atomically(path, lambda file: file.write(b"other"))
    assert path.read_bytes() == b"other" and path.is_file()
    assert [x.name for x in folder.iterdir()] == ["a"]
    assert RemotePath.read_ranges([(path, 1, 3), (path, 4, 9)]) == [
        b"the",
        b"r",
    ]
    run_state.save(path, {"x": np.arange(3)}, "run")
    assert run_state.load(path, "run")["x"].tolist() == [0, 1, 2]
    assert run_state.load(folder / "no.npz", "run") is None


@pytest.mark.parametrize(
    "other", ["ftp://a/b", "hdfs://a", "file:///a", "hf://a"]
)
def test_a_store_that_cannot_create_a_name_once_is_refused(other):
    for door in (path_of, di.Pool.open, merge_batches, status_of_batches):
        with pytest.raises(ValueError, match="only once: gs://.*Mount"):
            door(other)
    with pytest.raises(ValueError, match="only once: gs://, s3://"):
        work(other)


def test_a_store_that_creates_a_name_twice_is_refused(url, monkeypatch):
    """As a server does that does not know the condition of S3."""
    create = RemotePath.create

    def careless(self, content):
        self.write(content)
        return True

    monkeypatch.setattr(RemotePath, "create", careless)
    with pytest.raises(ValueError, match="creates a file that exists"):
        work(url)
    monkeypatch.setattr(RemotePath, "create", create)
    assert not MEMORY.exists(url)
    MEMORY.touch(url + "/a")


@pytest.mark.parametrize("missing", ["fsspec", "gcsfs"])
def test_what_is_not_installed_is_named(monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    remote = f"{'memory' if missing == 'fsspec' else 'gs'}://bucket/run"
    expected = "pip install fsspec" if missing == "fsspec" else "gcsfs"
    for door in (path_of, work, di.Pool.open, status_of_batches):
        with pytest.raises(
            ImportError, match=f"{expected}.*Received: .*bucket"
        ):
            door(remote)
