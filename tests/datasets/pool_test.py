"""A pool keeps what is newest, shows it at once, and loses nothing."""

import errno
import hashlib
import itertools
import json
import os
import pathlib
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from tf_deepinversion.datasets import image_bytes
from tf_deepinversion.datasets import png
from tf_deepinversion.datasets import stored
from tf_deepinversion.datasets._join_pools import join_pools
from tf_deepinversion.datasets.joined import Joined
from tf_deepinversion.datasets.pool import Pool
from tf_deepinversion.datasets.shard_index import index_name
from tf_deepinversion.datasets.stored import ShardFile
from tf_deepinversion.inversion.synthesizer import Synthesizer

SHAPE, CLASSES = (3, 2, 1), 7


def batch_of(number, images=2):
    """Batch `number` of any run here: no two have an image in common."""
    random = np.random.default_rng(number)
    return [
        random.integers(0, 256, (images, *SHAPE), "uint8"),
        random.integers(0, CLASSES, images),
    ]


def make(folder=None, capacity=4, run="run", **kwargs):
    return Pool(capacity, SHAPE, CLASSES, folder=folder, run=run, **kwargs)


def arrays_of(pool):
    return [pool.images, pool.labels]


def assert_holds(pool, batches):
    """Whether the pool holds these batches, in this order."""
    expected = [np.concatenate(parts) for parts in zip(*batches, strict=True)]
    assert len(pool) == len(expected[0])
    for found, array in zip(arrays_of(pool), expected, strict=True):
        np.testing.assert_array_equal(found, array)


def read_by_tfds(folder):
    """Each example that TFDS finds, as bytes, sorted."""
    dataset = tfds.builder_from_directory(str(folder)).as_dataset("train")
    return sorted(
        b"".join(value.tobytes() for _, value in sorted(example.items()))
        for example in tfds.as_numpy(dataset)
    )


def as_tfds(pool):
    """What `read_by_tfds` is to find."""
    arrays = {
        "image": pool.images,
        "label": pool.labels.astype("int64"),
        "requested": pool.requested.astype("int64"),
    }
    assert list(arrays) == sorted(arrays)
    return sorted(
        b"".join(value.tobytes() for value in example)
        for example in zip(*arrays.values(), strict=True)
    )


@pytest.mark.parametrize("on_disk", [False, True])
def test_the_oldest_batches_go(tmp_path, on_disk):
    folder = tmp_path / "a" / "pool" if on_disk else None
    pool = make(folder, 10)
    assert len(pool) == pool.batches == 0
    batches = []
    for number, images in enumerate([4, 4, 4, 3, 3, 10, 1, 9]):
        batches.append(batch_of(number, images))
        pool.add(*batches[-1])
        while sum(len(batch[0]) for batch in batches) > 10:
            batches.pop(0)
        assert_holds(pool, batches)
        assert pool.batches == number + 1
        if on_disk:
            assert read_by_tfds(folder) == as_tfds(pool)
            shards = list(folder.glob("pool-train*"))
            assert len(shards) == len(batches)
            pool.close()
            pool = make(folder, 10)
            assert_holds(pool, batches)
            assert pool.batches == number + 1
    dtypes = [array.dtype for array in arrays_of(pool)]
    assert dtypes == ["uint8", "int32"]


@pytest.mark.parametrize("on_disk", [False, True])
def test_what_was_asked_for_is_kept_beside_the_label(tmp_path, on_disk):
    folder = tmp_path if on_disk else None
    pool = make(folder)
    (images, _), shown, requested = GOOD, [3, 5], [3, 4]
    pool.add(images, shown, requested=requested)
    pool.add(images, [6, 1])  # by hand they are the same
    if on_disk:
        assert read_by_tfds(folder) == as_tfds(pool)
        pool.close()
        pool = make(folder)
    assert pool.labels.tolist() == [*shown, 6, 1]
    assert pool.requested.tolist() == [*requested, 6, 1]
    drawn = next(iter(pool.dataset(4)))  # nobody learns by what was asked for
    assert [x.dtype for x in drawn] == ["uint8", "int32"]
    assert sorted(drawn[1].numpy()) == [1, 3, 5, 6]
    for wrong in ([0], [0, CLASSES], None):
        with pytest.raises(ValueError, match="Received"):
            pool.add(images, wrong or [0, -1], requested=wrong or shown)
    assert pool.batches == 2


def test_a_pool_whose_labels_were_what_was_asked_for_is_refused(tmp_path):
    make(tmp_path).close()
    listed = tmp_path / "pool.json"
    content = listed.read_text().replace("pool 2", "pool 1")
    listed.write_text(content)
    with pytest.raises(ValueError, match="earlier version.*requested class"):
        make(tmp_path)
    assert listed.read_text() == content


def test_what_was_read_stays(tmp_path):
    pool = make()
    pool.add(*batch_of(0))
    images = pool.images
    pool.add(*batch_of(1, 4))
    np.testing.assert_array_equal(images, batch_of(0)[0])


GOOD = batch_of(0)


@pytest.mark.parametrize(
    "position,value,error",
    [
        (0, GOOD[0].astype("float32"), TypeError),
        (0, GOOD[0][..., 0], ValueError),
        (0, GOOD[0][:1], ValueError),
        (0, GOOD[0][:, :2], ValueError),
        (1, GOOD[1].astype("float32"), TypeError),
        (1, [0, CLASSES], ValueError),
        (1, [-1, 0], ValueError),
        (1, [0], ValueError),
        (1, [[0], [0]], ValueError),
        (1, None, ValueError),
    ],
)
def test_what_does_not_fit_is_refused(position, value, error):
    pool = make()
    batch = list(GOOD)
    batch[position] = value
    with pytest.raises(error, match="Received"):
        pool.add(*batch)
    assert len(pool) == pool.batches == 0


def test_labels_that_int32_cannot_hold_are_refused():
    with pytest.raises(ValueError, match="2147483647.*to 4294967296"):
        Pool.of(GOOD[0], [0, 2**32])


def test_other_misuse_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds 4 .*Received: 5 at once"):
        make().add(*batch_of(0, 5))
    for capacity in (0, 1.5):
        with pytest.raises(ValueError, match="Received: capacity="):
            make(capacity=capacity)
    with pytest.raises(ValueError, match="needs `run`"):
        make(tmp_path / "pool", run=None)
    with pytest.raises(ValueError, match="PNG"):
        Pool(4, (2, 2, 2), 7, folder=tmp_path / "pool", run="run")
    assert not (tmp_path / "pool").exists()


def test_draws_are_a_function_of_seed_and_step():
    pool = make(capacity=20)
    pool.add(*batch_of(0, 20))

    def draws(first_step=0, **kwargs):
        dataset = pool.dataset(5, first_step=first_step, **kwargs)
        return [
            (images.numpy(), labels.numpy())
            for images, labels in dataset.take(4 - first_step)
        ]

    first = draws()
    for found in (draws(), first[:2] + draws(2)):
        for pair, expected in zip(found, first, strict=True):
            for array, other in zip(pair, expected, strict=True):
                np.testing.assert_array_equal(array, other)
    number_of = {image.tobytes(): i for i, image in enumerate(pool.images)}
    chosen = [[number_of[i.tobytes()] for i in images] for images, _ in first]
    for numbers, (_, labels) in zip(chosen, first, strict=True):
        np.testing.assert_array_equal(labels, pool.labels[numbers])
        assert len(set(numbers)) == 5
    assert len({tuple(numbers) for numbers in chosen}) == 4
    other = draws(seed=1)
    assert any((a[0] != b[0]).any() for a, b in zip(first, other, strict=True))


def test_draws_are_uniform():
    pool = make(capacity=6)
    pool.add(np.zeros((6, *SHAPE), "uint8"), np.arange(6))
    drawn = [labels.numpy() for _, labels in pool.dataset(2).take(600)]
    counts = np.bincount(np.ravel(drawn))
    np.testing.assert_allclose(counts, 200, atol=50)  # 4 standard deviations


def test_a_small_pool_draws_with_replacement():
    pool = make()
    pool.add(*batch_of(0, 2))
    (element,) = pool.dataset(5).take(1)
    spec = pool.dataset(5).element_spec
    assert [t.shape for t in spec] == [(5, *SHAPE), (5,)]
    for tensor, expected, array in zip(
        element, spec, arrays_of(pool), strict=True
    ):
        assert tensor.shape == expected.shape
        assert tensor.dtype == expected.dtype == array.dtype
    label_of = {
        image.tobytes(): label
        for image, label in zip(pool.images, pool.labels, strict=True)
    }
    for image, label in zip(*(x.numpy() for x in element), strict=True):
        assert label_of[image.tobytes()] == label


def test_nothing_is_drawn_from_nothing():
    pool = make()
    drawn = iter(pool.dataset(2))
    with pytest.raises(Exception, match="The pool is empty"):
        next(drawn)


class Student(keras.Sequential):
    """Tells which is the newest batch that a step has seen."""

    def train_step(self, data):
        newest = keras.ops.cast(keras.ops.max(data[1]), "float32")
        return super().train_step(data) | {"newest": newest}


class Grow(keras.callbacks.Callback):
    """Replaces all that is in the pool after every third step."""

    def __init__(self, pool):
        super().__init__()
        self.pool, self.seen = pool, []

    def on_train_batch_end(self, batch, logs):
        self.seen.append(int(logs["newest"]))
        if len(self.seen) % 3 == 0:
            renew(self.pool)


def renew(pool):
    images = np.zeros((pool.capacity, *SHAPE), "uint8")
    pool.add(images, [pool.batches] * pool.capacity)


@pytest.mark.parametrize("mapped", [False, True])
def test_fit_sees_new_images_at_the_very_next_step(tmp_path, mapped):
    pool = make(tmp_path)
    renew(pool)
    student = Student([keras.layers.Flatten(), keras.layers.Dense(CLASSES)])
    student.compile("sgd", "sparse_categorical_crossentropy")
    dataset = pool.dataset(2)
    if mapped:
        dataset = dataset.map(lambda images, labels: (images / 255, labels))
    callback = Grow(pool)
    student.fit(
        dataset,
        epochs=2,
        steps_per_epoch=6,
        callbacks=[callback],
        shuffle=False,
        verbose=0,
    )
    assert callback.seen == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]


@pytest.mark.parametrize(
    "other",
    [
        {"run": "another"},
        {"classes": 8},
        {"image_shape": (2, 3, 1)},
    ],
)
def test_another_pool_is_refused(tmp_path, other):
    filled(tmp_path)
    (name,) = other
    arguments = {"image_shape": SHAPE, "classes": CLASSES, "run": "run"}
    with pytest.raises(ValueError, match=f"expected {name}=") as error:
        Pool(4, folder=tmp_path, **{**arguments, **other})
    assert str(tmp_path / "pool.json") in str(error.value)
    assert_holds(make(tmp_path), [batch_of(0), batch_of(1)])


def test_a_folder_with_anything_else_is_refused(tmp_path):
    (tmp_path / "pool-train.tfrecord-00000").write_text("precious")
    with pytest.raises(ValueError, match="a folder of its own.*tfrecord-00000"):
        make(tmp_path)
    assert (tmp_path / "pool-train.tfrecord-00000").read_text() == "precious"


def test_on_disk_it_holds_no_images(tmp_path):
    filled(tmp_path)
    for pool in (make(tmp_path), Pool.open(tmp_path)):
        assert isinstance(pool.images, Joined)
        assert {type(part) for part in pool.images.parts} == {ShardFile}
        assert_holds(pool, [batch_of(0), batch_of(1)])


def test_the_same_is_drawn_on_disk_and_in_memory(tmp_path):
    pools = [make(f, 9) for f in (None, tmp_path)]
    for pool in pools:
        for number, images in enumerate((3, 1, 5)):
            pool.add(*batch_of(number, images))
    pools.append(Pool.open(tmp_path))
    memory, *stored = ([*p.dataset(4, 7, 2).take(5)] for p in pools)
    for drawn in stored:
        for batch, expected in zip(drawn, memory, strict=True):
            for array, other in zip(batch, expected, strict=True):
                np.testing.assert_array_equal(array, other)


def test_adding_copies_the_batch_alone():
    pool = make(capacity=9)
    batches = [batch_of(0), batch_of(1)]
    pool.add(*batches[0])
    (first,) = pool._rows.parts
    image, given = first["image"], batches[0][0].copy()
    pool.add(*batches[1])
    assert pool._rows.parts[0]["image"] is image
    batches[0][0][:] = 0  # the pool's are its own
    np.testing.assert_array_equal(pool.images[:2], given)


def test_few_files_are_open_and_none_that_was_dropped(tmp_path, monkeypatch):
    monkeypatch.setattr(stored, "MOST_OPEN", 2)
    pool = make(tmp_path, capacity=6)
    for number in range(3):
        pool.add(*batch_of(number))
    assert_holds(pool, [batch_of(number) for number in range(3)])
    here = [path for path, _ in stored._OPEN if path.parent == tmp_path]
    assert [path.name[-1] for path in here] == ["1", "2"]
    pool.add(*batch_of(3, 4))
    here = [path for path, _ in stored._OPEN if path.parent == tmp_path]
    assert [path.name[-1] for path in here] == ["2"]
    assert_holds(pool, [batch_of(2), batch_of(3, 4)])


def test_an_opened_pool_is_for_reading(tmp_path):
    writer = make(tmp_path)
    with pytest.raises(FileNotFoundError, match="pool.json. Received: folder="):
        Pool.open(tmp_path / "none")
    assert len(Pool.open(tmp_path)) == 0
    writer.add(*batch_of(0))
    pool = Pool.open(tmp_path)  # no lock is needed
    with pytest.raises(ValueError, match="`Pool.open` is for reading alone"):
        pool.add(*batch_of(1))
    writer.add(*batch_of(1, 4))
    # No later shard takes the name that the reader knows, not even at the end.
    writer.add(*batch_of(2, 4))
    writer.close()
    writer = make(tmp_path)
    for number in range(3, 6):
        writer.add(*batch_of(number, 4))
        with pytest.raises(ValueError, match="00000 is not there any more"):
            pool.images[0]
    (tmp_path / "pool.json").write_text("[]")
    with pytest.raises(ValueError, match="pool.json is damaged.*Restore"):
        Pool.open(tmp_path)


def as_an_earlier_version(folder):
    """Deflates the images of all shards, and removes what is beside them."""
    listed = json.loads((folder / "pool.json").read_text())
    for shard in listed["shards"]:
        path, index = folder / shard["file"], index_name(shard["file"])
        records = []
        for record in tf.data.TFRecordDataset(str(path)):
            example = tf.train.Example.FromString(record.numpy())
            (value,) = example.features.feature["image"].bytes_list.value
            image = image_bytes.decoded(value, SHAPE)
            deflated = tf.io.encode_png(image).numpy()
            example.features.feature["image"].bytes_list.value[0] = deflated
            records.append(example.SerializeToString())
        with tf.io.TFRecordWriter(str(path)) as writer:
            list(map(writer.write, records))
        (folder / index).unlink()
        shard["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / "pool.json").write_text(json.dumps(listed))


def test_the_folder_of_an_earlier_version_is_read(tmp_path):
    filled(tmp_path)
    before = (tmp_path / "pool-train.tfrecord-00000").read_bytes()
    as_an_earlier_version(tmp_path)
    assert (tmp_path / "pool-train.tfrecord-00000").read_bytes() != before
    assert_holds(Pool.open(tmp_path), [batch_of(0), batch_of(1)])
    assert not list(tmp_path.glob("index-*"))  # who reads writes nothing
    pool = make(tmp_path)
    assert len(list(tmp_path.glob("index-*"))) == 2
    pool.add(*batch_of(2))
    assert_holds(pool, [batch_of(1), batch_of(2)])
    assert len(list(tmp_path.glob("index-*"))) == 2


@pytest.mark.parametrize("bits", [0x01, 0x80, None])
def test_a_damaged_index_is_made_anew(tmp_path, bits):
    filled(tmp_path)
    path = tmp_path / "index-00001"
    content = path.read_bytes()
    for i in range(0, len(content), 5):
        damaged = bytearray(content)
        if bits:
            damaged[i] ^= bits
        else:
            del damaged[i:]
        path.write_bytes(damaged)
        pool = Pool.open(tmp_path)
        assert_holds(pool, [batch_of(0), batch_of(1)])


def filled(folder):
    pool = make(folder)
    pool.add(*batch_of(0))
    pool.add(*batch_of(1))
    pool.close()


def test_a_file_of_the_user_beside_the_shards_is_left_alone(tmp_path):
    filled(tmp_path)
    for name in ("pool-train.tfrecord-00001", "index-00001"):
        (tmp_path / f"{name}.bak").write_bytes((tmp_path / name).read_bytes())
    pool = make(tmp_path)
    pool.add(*batch_of(2))
    assert_holds(pool, [batch_of(1), batch_of(2)])
    assert len(list(tmp_path.glob("*.bak"))) == 2
    assert not (tmp_path / "pool-train.tfrecord-00000").exists()


def test_a_pool_stays_where_it_is_locked(tmp_path, monkeypatch):
    """Another working directory has another pool under the same name."""
    for place in ("other", "mine"):
        (tmp_path / place).mkdir()
        monkeypatch.chdir(tmp_path / place)
        pool = make("pool", run=place)
        pool.add(*batch_of(len(place)))
    monkeypatch.chdir(tmp_path / "other")
    pool.add(*batch_of(1))
    assert_holds(pool, [batch_of(4), batch_of(1)])
    assert_holds(Pool.open("pool"), [batch_of(5)])
    assert_holds(
        Pool.open(tmp_path / "mine" / "pool"), [batch_of(4), batch_of(1)]
    )


@pytest.mark.parametrize(
    "numbers",
    [
        {"capacity": 0},
        {"classes": 2.7},
        {"classes": 0},
        {"image_shape": (2.5, 2, 1)},
        {"image_shape": (0, 2, 1)},
    ],
)
def test_a_pool_has_whole_sizes(numbers):
    sizes = {"capacity": 4, "image_shape": SHAPE, "classes": CLASSES, **numbers}
    with pytest.raises(ValueError, match="must be a whole number, 1 or more"):
        Pool(**sizes)


def test_batches_have_whole_numbers():
    with pytest.raises(ValueError, match="next batch is number 0.*number=3.7"):
        make().add(*batch_of(0), number=3.7)


@pytest.mark.parametrize("bits", [0x01, 0x80, None])
def test_a_damaged_shard_is_refused_by_name(tmp_path, bits):
    """Of another size, at once; of another content, once that is compared."""
    filled(tmp_path)
    path = tmp_path / "pool-train.tfrecord-00001"
    content = path.read_bytes()
    for i in range(0, len(content), 9):
        damaged = bytearray(content)
        if bits:
            damaged[i] ^= bits
        else:
            del damaged[i:]
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="damaged.*SHA-256") as error:
            Pool.open(tmp_path).verify()
        assert str(path) in str(error.value)
        if bits is None:
            with pytest.raises(ValueError, match="damaged.*SHA-256"):
                make(tmp_path)
    path.write_bytes(content)
    pool = make(tmp_path)
    pool.verify()
    assert_holds(pool, [batch_of(0), batch_of(1)])


def test_what_is_no_image_any_more_is_refused_by_name(tmp_path):
    filled(tmp_path)
    path = tmp_path / "pool-train.tfrecord-00001"
    content = bytearray(path.read_bytes())
    content[content.index(png.SIGNATURE)] ^= 4
    path.write_bytes(content)
    pool = Pool.open(tmp_path)
    with pytest.raises(ValueError, match="00001 is damaged .*`verify`"):
        pool.images[2]
    np.testing.assert_array_equal(pool.images[3], batch_of(1)[0][1])


def test_a_missing_shard_can_be_done_without(tmp_path):
    filled(tmp_path)
    (tmp_path / "pool-train.tfrecord-00000").unlink()
    with pytest.raises(ValueError, match="00000 is damaged.*no file.*2 images"):
        make(tmp_path)
    # The way out that the message tells.
    listed = json.loads((tmp_path / "pool.json").read_text())
    del listed["shards"][0]
    (tmp_path / "pool.json").write_text(json.dumps(listed))
    pool = make(tmp_path)
    assert_holds(pool, [batch_of(1)])
    assert pool.batches == 2
    assert read_by_tfds(tmp_path) == as_tfds(pool)


def test_a_batch_may_have_a_later_number(tmp_path):
    pool = make(tmp_path)
    pool.add(*batch_of(0), number=2)
    assert pool.batches == 3
    with pytest.raises(ValueError, match="number 3 or a later.*number=2"):
        pool.add(*batch_of(1), number=2)
    pool.add(*batch_of(1))
    pool.close()
    again = make(tmp_path)
    assert_holds(again, [batch_of(0), batch_of(1)])
    assert again.batches == 4


@pytest.mark.parametrize("bits", [0x01, 0x10, None])
def test_a_damaged_list_is_refused_or_harmless(tmp_path, bits):
    filled(tmp_path)
    path = tmp_path / "pool.json"
    content = path.read_bytes()
    accepted = 0
    for i in range(0, len(content), 2):
        damaged = bytearray(content)
        if bits:
            damaged[i] ^= bits
        else:
            del damaged[i:]
        path.write_bytes(damaged)
        try:
            pool = make(tmp_path)
        except ValueError as e:
            assert str(tmp_path) in str(e)
        else:
            assert_holds(pool, [batch_of(0), batch_of(1)])
            pool.close()
            accepted += 1
    assert accepted <= 1  # of all that is there, the number of a batch


def test_a_system_without_flock_has_no_pool_on_disk(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "fcntl", None)  # as on Windows
    with pytest.raises(RuntimeError, match="Windows.*leave `folder` out"):
        make(tmp_path / "pool")
    assert not list(tmp_path.iterdir())
    make().add(*batch_of(0))


def test_one_at_a_time(tmp_path):
    pool = make(tmp_path)
    pool.add(*batch_of(0))
    with pytest.raises(RuntimeError, match="is in use.*another folder"):
        make(tmp_path)
    pool.close()
    other = make(tmp_path)
    assert_holds(pool, [batch_of(0)])
    with pytest.raises(ValueError, match="closed: open it again"):
        pool.add(*batch_of(1))
    other.add(*batch_of(1))
    assert_holds(other, [batch_of(0), batch_of(1)])


def test_another_capacity_holds_from_the_next_batch_on(tmp_path):
    filled(tmp_path)
    pool = make(tmp_path, capacity=3)
    assert_holds(pool, [batch_of(0), batch_of(1)])
    pool.add(*batch_of(2, 1))
    assert_holds(pool, [batch_of(1), batch_of(2, 1)])


@pytest.mark.parametrize(
    "name,error", [("fsync", errno.ENOSPC), ("replace", errno.EROFS)]
)
def test_a_disk_that_fails_loses_nothing(tmp_path, monkeypatch, name, error):
    filled(tmp_path)
    works = getattr(os, name)
    # A batch is three files of ours, and then two for TFDS.
    for failing, batches in ((0, 2), (1, 2), (2, 2), (3, 3), (4, 4)):
        pool = make(tmp_path)
        calls = itertools.count()

        def fail(*args, calls=calls, failing=failing):
            if next(calls) == failing:
                raise OSError(error, os.strerror(error))
            return works(*args)

        with monkeypatch.context() as context:
            context.setattr(os, name, fail)
            with pytest.raises(OSError, match="cannot be written") as e:
                pool.add(*batch_of(pool.batches))
        assert e.value.errno == error
        assert str(tmp_path) in str(e.value)
        assert os.strerror(error) in str(e.value)
        expected = [batch_of(batches - 2), batch_of(batches - 1)]
        assert_holds(pool, expected)
        pool.close()
        pool = make(tmp_path)
        assert_holds(pool, expected)
        assert read_by_tfds(tmp_path) == as_tfds(pool)
        pool.close()


def test_a_full_disk_can_be_gone_on_with(tmp_path, monkeypatch):
    filled(tmp_path)
    pool = make(tmp_path)

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as context:
        context.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left.*are safe"):
            pool.add(*batch_of(2))
    pool.add(*batch_of(2))
    assert_holds(pool, [batch_of(1), batch_of(2)])
    assert read_by_tfds(tmp_path) == as_tfds(pool)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "pool"):
        with pytest.raises(OSError, match="file.* cannot be written"):
            make(folder)


@pytest.fixture(scope="module")
def another_process(tmp_path_factory):
    """Of `main`, below: the process, its folder and how often it was killed."""
    folder = tmp_path_factory.mktemp("other")
    root = pathlib.Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, __file__, folder],
        env={**os.environ, "PYTHONPATH": str(root)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        yield process, folder, int(process.stdout.readline())
        process.kill()


def test_no_kill_loses_what_was_finished(another_process):
    _, folder, moments = another_process
    assert moments == 3 + 5 + 7  # to make it, to add, to add and remove
    sides = set()
    for moment in range(moments):
        path = folder / str(moment)
        finished = len(list(folder.glob(f"{moment}.finished.*")))
        seen = read_by_tfds(path) if finished else None
        pool = make(path, capacity=2)
        assert pool.batches in (finished, finished + 1)
        sides.add((finished, pool.batches))
        if pool.batches:
            assert_holds(pool, [batch_of(pool.batches - 1)])
            assert read_by_tfds(path) == as_tfds(pool)
        if finished:
            # TFDS alone saw whole batches too: these, or those before.
            before = make(capacity=2)
            before.add(*batch_of(finished - 1))
            assert seen in (as_tfds(before), as_tfds(pool))
        assert not list(path.glob(".*.part"))
        pool.add(*batch_of(pool.batches))
        assert_holds(pool, [batch_of(pool.batches - 1)])
        assert len(list(path.glob("pool-train*"))) == 1
    # Kills came on both sides of the moment that decides.
    assert sides == {(0, 0), (0, 1), (1, 1), (1, 2)}


def test_a_lock_ends_with_its_process(another_process):
    process, folder, _ = another_process
    with pytest.raises(RuntimeError, match="in use by another process"):
        make(folder / "held")
    process.kill()
    process.wait()
    assert_holds(make(folder / "held"), [batch_of(0)])


def dying(function, calls, moment):
    def call(*args, **kwargs):
        # What is removed only if it is there is a leftover: no such moment.
        if "missing_ok" not in kwargs and next(calls) == moment:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)

    return call


def add_two_and_die(folder, moment):
    """Is killed before file number `moment` would be replaced or removed."""
    calls = itertools.count()
    os.replace = dying(os.replace, calls, moment)
    pathlib.Path.unlink = dying(pathlib.Path.unlink, calls, moment)
    pool = make(folder / str(moment), capacity=2)
    for number in range(2):
        pool.add(*batch_of(number))
        (folder / f"{moment}.finished.{number}").touch()


def main(folder):
    # TensorFlow is imported once, and first computes in the children.
    for moment in itertools.count():
        child = os.fork()
        if not child:
            try:
                add_two_and_die(folder, moment)
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            break
    pool = make(folder / "held")
    pool.add(*batch_of(0))
    print(moment, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))


class Numbered(Synthesizer):
    """Two images a label, as bright as their batch's number and half of it."""

    classes, image_shape, images_per_label = 10, (2, 2, 1), 2

    def __init__(self):
        self.asked = []

    def make(self, labels, batch_index, steps=None, verbose=0):
        self.asked.append((batch_index, list(labels), steps))
        self.logs = {"loss": float(batch_index)}
        shades = [batch_index] * len(labels) + [batch_index + 100] * len(labels)
        images = np.tile(np.uint8(shades)[:, None, None, None], (2, 2, 1))
        return images, np.tile(labels[::-1], 2)


@pytest.mark.parametrize(
    ("right", "meant", "told"),
    [(1, True, True), (2, True, False), (1, False, False)],
)
def test_it_says_so_where_less_than_half_is_what_was_asked_for(
    recwarn, right, meant, told
):
    class Wrong(Synthesizer):
        classes, image_shape, means_labels = 10, (2, 2, 1), meant

        def make(self, labels, batch_index, steps=None, verbose=0):
            shown = np.where(np.arange(len(labels)) < right, labels, 9)
            return np.zeros((len(labels), 2, 2, 1), "uint8"), shown

    pool = Pool(100, (2, 2, 1), 10)
    pool.fill(Wrong(), batches=2, images=4, verbose=0)
    found = [str(w.message) for w in recwarn]
    assert [text[:38] for text in found] == told * [
        "The teacher recognizes 25% of the image"[:38]
    ]


def test_filled_it_has_as_many_batches_as_were_asked_for(capsys):
    pool, made = Pool(100, (2, 2, 1), 10), Numbered()
    plan = {"images": 3, "steps": 5, "first_steps": 9, "classes": [7, 8, 9, 4]}
    pool.fill(made, batches=1, verbose=0, **plan)
    assert capsys.readouterr().out == ""
    seen = []
    pool.fill(made, batches=3, after_batch=seen.append, verbose=2, **plan)
    assert made.asked == [
        (0, [7, 8, 9], 9),
        (1, [4, 7, 8], 5),
        (2, [9, 4, 7], 5),
    ]
    assert seen == [1, 2]
    assert capsys.readouterr().out.splitlines() == [
        "Images: batch 1/2 - loss: 1",
        "Images: batch 2/2 - loss: 2",
    ]
    assert pool.requested.tolist() == [7, 8, 9] * 2 + [4, 7, 8] * 2 + [
        *[9, 4, 7] * 2
    ]
    assert pool.labels[:6].tolist() == [9, 8, 7] * 2
    shades = pool.images[:, 0, 0, 0].tolist()
    assert shades[6:12] == [1] * 3 + [101] * 3
    pool.fill(made, batches=3, verbose=0, **plan)  # all are there
    assert len(made.asked) == 3 and len(pool) == 18
    # What has a state makes them once more, and they are not added again.
    pool.fill(made, batches=4, made=2, verbose=0, **plan)
    assert [number for number, _, _ in made.asked[3:]] == [2, 3]
    assert len(pool) == 24 and pool.batches == 4


def test_what_does_not_fit_a_pool_is_not_filled_into_it():
    made = Numbered()
    with pytest.raises(ValueError, match="hold the 12 images.*capacity=11"):
        Pool(11, (2, 2, 1), 10).fill(made, batches=1, images=6)
    with pytest.raises(ValueError, match="of 9 classes, like the pool"):
        Pool(99, (2, 2, 1), 9).fill(made, batches=1)
    with pytest.raises(ValueError, match="`batches` must be.*batches=0"):
        Pool(99, (2, 2, 1), 10).fill(made, batches=0, images=6)
    assert not made.asked
    made.images_per_label = 3
    with pytest.raises(ValueError, match="Expected 18 images of 6 labels"):
        Pool(99, (2, 2, 1), 10).fill(made, batches=1, images=6)


def test_joined_pools_keep_what_each_image_was_requested_for():
    pools = [Pool(2, (2, 2, 1), classes) for classes in (3, 5, 4)]
    for number, pool in enumerate(pools[:2]):
        images = np.full((2, 2, 2, 1), number, "uint8")
        pool.add(images, [1, 2], requested=[0, 2])
    whole = join_pools(pools)
    assert whole.classes == 5
    np.testing.assert_array_equal(whole.images[:, 0, 0, 0], [0, 0, 1, 1])
    assert whole.labels.tolist() == [1, 2, 1, 2]
    assert whole.requested.tolist() == [0, 2, 0, 2]
    with pytest.raises(ValueError, match="one pool or more"):
        join_pools([])


def test_a_pool_of_labels_as_keras_datasets_has_them():
    images, labels = np.zeros((3, 2, 2, 1), "uint8"), np.array([0, 4, 1])
    found = Pool.of(images, labels.astype("uint8"))
    assert found.classes == 5 and found.labels.tolist() == [0, 4, 1]
    with pytest.raises(ValueError, match="at least one image"):
        Pool.of(images[:0], labels[:0])
    with pytest.raises(ValueError, match=r"\(height, width, channels\)"):
        Pool(3, (2, 2), 3)
