"""Files in the idx format, and the augmentation of real images."""

import gzip
import sys
import types

import numpy as np
import pytest
import tensorflow as tf
from idx_files import idx
from idx_files import write_split

from tf_deepinversion.datasets import real_images
from tf_deepinversion.datasets.elements import image_and_label
from tf_deepinversion.datasets.elements import in_pairs
from tf_deepinversion.datasets.elements import of_pixels


def make_images(count=12, height=5, width=4, channels=1, seed=0):
    # From 1, so that no pixel looks like the black that moves in.
    shape = (count, height, width, channels)
    random = np.random.default_rng(seed)
    return random.integers(1, 256, shape).astype("uint8")


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 300, 2), (0, 4)])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_read_idx(tmp_path, shape, suffix):
    random = np.random.default_rng(0)
    array = random.integers(0, 256, shape).astype("uint8")
    path = tmp_path / f"file{suffix}"
    compress = gzip.compress if suffix else bytes
    path.write_bytes(compress(idx(array)))
    found = real_images.read_idx(str(path))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, array)
    assert found.shape == shape


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_truncated_file_is_refused(tmp_path, suffix):
    content = idx(make_images(2)[..., 0])
    if suffix:
        content = gzip.compress(content)
    path = tmp_path / f"file{suffix}"
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=str(path)):
            real_images.read_idx(path)


def test_a_file_that_is_too_long_is_refused(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(idx(np.zeros((2, 3), "uint8")) + b"\0")
    message = r"states 6 values of shape \(2, 3\)\. Received: 7 values"
    with pytest.raises(ValueError, match=message):
        real_images.read_idx(path)


@pytest.mark.parametrize(
    "content,received",
    [
        pytest.param(b"\x89PNG\r\n", "89 50 4e 47", id="png"),
        pytest.param(
            b"\x00\x00\x0d\x01\x00\x00\x00\x00", "00 00 0d 01", id="floats"
        ),
        pytest.param(
            gzip.compress(idx(np.zeros(3, "uint8"))),
            "1f 8b 08",
            id="gzip without its suffix",
        ),
    ],
)
def test_a_file_of_another_format_is_refused(tmp_path, content, received):
    path = tmp_path / "file"
    path.write_bytes(content)
    message = f"Received: {path} starting with {received}"
    with pytest.raises(ValueError, match=message):
        real_images.read_idx(path)


def test_a_gz_file_that_is_none_is_refused(tmp_path):
    path = tmp_path / "file.gz"
    path.write_bytes(idx(np.zeros(3, "uint8")))
    with pytest.raises(ValueError, match=str(path)):
        real_images.read_idx(path)


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("split,stem", [("train", "train"), ("test", "t10k")])
def test_load_idx(tmp_path, suffix, split, stem):
    images, labels = make_images()[..., 0], np.arange(12, dtype="uint8")
    write_split(tmp_path, stem, images, labels, suffix)
    for load in (
        lambda: real_images.load_idx(tmp_path, split),
        lambda: real_images.load_split("any", split, idx_dir=tmp_path),
    ):
        found_images, found_labels = load()
        np.testing.assert_array_equal(found_images, images[..., None])
        np.testing.assert_array_equal(found_labels, labels)
        assert found_images.shape == (12, 5, 4, 1)
        assert found_images.dtype == np.uint8
        assert found_labels.dtype == np.int32


def test_mismatched_counts_are_refused(tmp_path):
    images, labels = make_images()[..., 0], np.arange(11, dtype="uint8")
    write_split(tmp_path, "train", images, labels)
    message = f"12 images and 11 labels in {tmp_path}"
    with pytest.raises(ValueError, match=message):
        real_images.load_idx(tmp_path, "train")


def test_a_missing_file_and_a_bad_split(tmp_path):
    with pytest.raises(FileNotFoundError, match="Neither t10k-images-idx3"):
        real_images.load_idx(tmp_path, "test")
    with pytest.raises(ValueError, match="Received: split='validation'"):
        real_images.load_idx(tmp_path, "validation")


def test_load_split_asks_tfds(monkeypatch):
    images, labels = make_images(), np.arange(12, dtype="int64")

    def load(name, **kwargs):
        assert (name, kwargs["split"]) == ("cifar10", "test")
        assert kwargs["data_dir"] == "/data"
        assert kwargs["as_supervised"] and kwargs["batch_size"] == -1
        return images, labels

    fake = types.SimpleNamespace(load=load, as_numpy=lambda pair: pair)
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", fake)
    found = real_images.load_split("cifar10", "test", tfds_dir="/data")
    np.testing.assert_array_equal(found[0], images)
    np.testing.assert_array_equal(found[1], labels)
    assert found[1].dtype == np.int32


def epoch_of(images, *, batch_size=4, seed=0, epoch=0, padding=2):
    """An epoch, its batches joined. The labels tell the images apart."""
    batches = list(
        real_images.augmented_epoch(
            images,
            np.arange(len(images), dtype="int32"),
            batch_size=batch_size,
            seed=seed,
            epoch=epoch,
            padding=padding,
        )
    )
    assert {len(labels) for _, labels in batches} == {batch_size}
    return tuple(np.concatenate(parts) for parts in zip(*batches, strict=True))


def placements(image, padding):
    """Every crop of the padded image, plain and mirrored, by its place."""
    height, width, _ = image.shape
    padded = np.pad(image, [(padding, padding)] * 2 + [(0, 0)])
    for down in range(2 * padding + 1):
        for right in range(2 * padding + 1):
            crop = padded[down : down + height, right : right + width]
            yield (down, right, False), crop
            yield (down, right, True), crop[:, ::-1]


@pytest.mark.parametrize("padding,channels", [(0, 1), (1, 3), (2, 1)], ids=str)
def test_each_image_once_shifted_and_flipped(padding, channels):
    images = make_images(channels=channels)
    found, labels = epoch_of(images, padding=padding)
    assert sorted(labels) == list(range(12))
    assert found.dtype == np.float32 and labels.dtype == np.int32
    for image, label in zip(found, labels, strict=True):
        assert any(
            np.array_equal(image, placed)
            for _, placed in placements(images[label], padding)
        )


def test_shifts_and_flips_are_independent_and_uniform():
    images = make_images(2500, 3, 3)
    counts = np.zeros((3, 3, 2))
    found, labels = epoch_of(images, batch_size=500, padding=1)
    for image, label in zip(found, labels, strict=True):
        (place,) = [
            place
            for place, placed in placements(images[label], 1)
            if np.array_equal(image, placed)
        ]
        counts[tuple(map(int, place))] += 1
    # Chi squared over 18 places: above 55 with a probability below 1e-5.
    expected = 2500 / 18
    assert ((counts - expected) ** 2 / expected).sum() < 55


def test_an_epoch_is_a_function_of_seed_and_number():
    images = make_images(32)
    first = epoch_of(images)
    for again in (epoch_of(images), epoch_of(images, batch_size=8)):
        for ours, theirs in zip(again, first, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    for other in (epoch_of(images, epoch=1), epoch_of(images, seed=1)):
        assert (other[1] != first[1]).any()
        # The images differ, and not by their order alone.
        by_label = other[0][np.argsort(other[1])]
        assert (by_label != first[0][np.argsort(first[1])]).any()


def test_an_incomplete_batch_is_dropped():
    images = make_images(11)
    found, labels = epoch_of(images, batch_size=4)
    assert len(found) == len(set(labels)) == 8


def test_test_data_of_a_file_or_those_that_ship(tmp_path):
    images, labels = np.ones((2, 4, 4, 1), "uint8"), np.array([3, 1])
    np.savez(tmp_path / "test.npz", images=images, labels=labels)
    found = real_images.load_test_data((4, 4, 1), path=tmp_path / "test.npz")
    np.testing.assert_array_equal(found[0], images)
    np.testing.assert_array_equal(found[1], labels)
    shipped = real_images.load_test_data((28, 28, 1), shipped=True)
    np.testing.assert_array_equal(shipped[0], real_images.load_test_images()[0])
    # That a network takes images of that shape does not make it know garments.
    assert real_images.load_test_data((28, 28, 1)) is None


def test_test_data_of_tfds(monkeypatch):
    given = np.ones((2, 4, 4, 3), "uint8"), np.array([3, 1], "int64")

    def load(name, *, split, data_dir, **_):
        assert (name, split, data_dir) == ("cifar10", "test", "/data")
        return given

    fake = types.SimpleNamespace(load=load, as_numpy=lambda pair: pair)
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", fake)
    source = {"tfds_dir": "/data", "name": "cifar10"}
    images, labels = real_images.load_test_data((4, 4, 3), **source)
    np.testing.assert_array_equal(images, given[0])
    np.testing.assert_array_equal(labels, given[1])
    with pytest.raises(ValueError, match="shape .28, 28, 1.. Received: .4, 4"):
        real_images.load_test_data((28, 28, 1), **source)


def test_dictionaries_of_tfds_are_pairs():
    images, labels = make_images(6), np.arange(6)
    elements = {"id": np.arange(6) + 9, "image": images, "label": labels}
    found = in_pairs(tf.data.Dataset.from_tensor_slices(elements).batch(4))
    for start, (image, label) in zip((0, 4), found, strict=True):
        np.testing.assert_array_equal(image, images[start : start + 4])
        np.testing.assert_array_equal(label, labels[start : start + 4])
    pairs = tf.data.Dataset.from_tensors((images, labels))
    assert in_pairs(pairs) is pairs
    assert in_pairs(images) is images
    with pytest.raises(ValueError, match=r"keys \['photo'\]"):
        image_and_label({"photo": images})


LABELED = np.arange(24, dtype="uint8").reshape(2, 2, 2, 3), np.array([1, 0])


def batch_of(element):
    return tf.data.Dataset.from_tensors(element)


def test_pairs_of_pixels_stay_the_very_data_set():
    for element in (LABELED, (*LABELED, np.zeros(2))):
        dataset = batch_of(element)
        assert of_pixels(dataset) is dataset


def test_whole_numbers_become_pixels_or_are_refused():
    images, labels = LABELED
    wide = images.astype("int64")
    for element in ((wide, labels), {"label": labels, "image": wide}):
        (found,) = of_pixels(batch_of(element))
        assert found[0].dtype == "uint8"
        np.testing.assert_array_equal(found[0], images)
        np.testing.assert_array_equal(found[1], labels)
    for wrong in (-1, 256):
        wide[0, 0, 0, 0] = wrong
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"\[0, 255\]"):
            list(of_pixels(batch_of((wide, labels))))


def test_what_is_no_data_set_of_pixels_is_refused():
    images, labels = LABELED
    for element in (
        (images / 255, labels),
        {"image": images / np.float32(255), "label": labels},
    ):
        with pytest.raises(TypeError, match="uint8 pixels.*float"):
            of_pixels(batch_of(element))
    for element in (images, (images,), ((images, images), labels)):
        with pytest.raises(ValueError, match='"label". Received'):
            of_pixels(batch_of(element))
