"""TFDS alone reads what we write, to the bit."""

import pathlib

import numpy as np
import pytest
import tensorflow_datasets as tfds

from tf_deepinversion.datasets import tfrecords


def example(images=5, channels=3):
    random = np.random.default_rng(0)
    arrays = {
        "image": random.integers(0, 256, (images, 6, 4, channels), "uint8"),
        "label": random.integers(0, 9, images, "int32"),
        "requested": random.integers(0, 9, images, "int32"),
    }
    return arrays, tfrecords.make_features((6, 4, channels), 9)


def read_by_tfds(folder):
    """All examples, in the order of the shards."""
    dataset = tfds.builder_from_directory(str(folder)).as_dataset(
        split="train", read_config=tfds.ReadConfig(interleave_cycle_length=1)
    )
    examples = list(tfds.as_numpy(dataset))
    return {
        name: np.stack([example[name] for example in examples])
        for name in examples[0]
    }


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_shards_come_back_to_the_bit(tmp_path, channels):
    arrays, features = example(5, channels)
    paths = [tmp_path / tfrecords.shard_name(i) for i in range(2)]
    for path, part in zip(paths, (slice(3), slice(3, 5)), strict=True):
        shard = {name: array[part] for name, array in arrays.items()}
        path.write_bytes(tfrecords.shard_of(shard))
    tfrecords.write_metadata(
        tmp_path, features, {paths[0].name: 3, paths[1].name: 2}
    )
    assert_equal(read_by_tfds(tmp_path), arrays)


def test_equal_images_are_equal_bytes_in_any_process():
    """The order of the names in a record is not left to a process."""
    arrays, _ = example(2)
    content = tfrecords.shard_of(arrays)
    backwards = dict(reversed(arrays.items()))
    assert tfrecords.shard_of(backwards) == content
    names = [b"\x05image", b"\x05label", b"\trequested"]
    places = [content.index(name) for name in names]
    assert places == sorted(places)


def test_tfds_knows_what_it_reads(tmp_path):
    arrays, features = example()
    (tmp_path / tfrecords.shard_name(0)).write_bytes(tfrecords.shard_of(arrays))
    tfrecords.write_metadata(tmp_path, features, {tfrecords.shard_name(0): 5})
    moved = tmp_path.rename(tmp_path.with_name("moved"))
    info = tfds.builder_from_directory(str(moved)).info
    assert info.supervised_keys == ("image", "label")
    assert info.features["image"].shape == (6, 4, 3)
    assert info.features["label"].num_classes == 9
    assert info.features["requested"].num_classes == 9
    assert info.splits["train"].num_examples == 5
    size = (moved / tfrecords.shard_name(0)).stat().st_size
    assert info.splits["train"].num_bytes == size


def test_shards_may_be_missing_between_others(tmp_path):
    arrays, features = example(2)
    for i in (1, 3):
        (tmp_path / tfrecords.shard_name(i)).write_bytes(
            tfrecords.shard_of(arrays)
        )
    images = {tfrecords.shard_name(3): 2, tfrecords.shard_name(1): 2}
    tfrecords.write_metadata(tmp_path, features, images)
    twice = {name: np.concatenate([a, a]) for name, a in arrays.items()}
    assert_equal(read_by_tfds(tmp_path), twice)
    some = tfds.builder_from_directory(str(tmp_path)).as_dataset(
        split="train[1:3]", as_supervised=True, shuffle_files=True
    )
    labels = [int(label) for _, label in some]
    assert sorted(labels) == sorted(arrays["label"].tolist())


def test_names_are_those_of_tfds():
    template = tfds.core.ShardedFileTemplate(
        data_dir="folder",
        template=tfrecords.TEMPLATE,
        dataset_name="pool",
        split="train",
        filetype_suffix="tfrecord",
    )

    def name_of_tfds(index, shards):
        path = template.sharded_filepath(shard_index=index, num_shards=shards)
        return pathlib.Path(path).name

    last = tfrecords.MAX_SHARDS - 1
    for index in (0, 7, last):
        assert tfrecords.shard_name(index) == name_of_tfds(index, last + 1)
    # Why there is a last one: TFDS would look for other files.
    assert tfrecords.shard_name(0) != name_of_tfds(0, last + 2)
    with pytest.raises(ValueError, match="up to 99999 .*index=99999"):
        tfrecords.shard_name(last + 1)


@pytest.mark.parametrize("shape", [(6, 4), (6, 4, 2), (6, 4, 5), (1, 6, 4, 3)])
def test_images_that_are_no_png_are_refused(shape):
    with pytest.raises(ValueError, match="PNG.*Received: image_shape="):
        tfrecords.make_features(shape, 9)
