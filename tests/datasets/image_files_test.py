"""Images from the files that this library writes."""

import json
import struct
import zlib

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from tf_deepinversion import Pool
from tf_deepinversion.core.pictures import save_folders
from tf_deepinversion.datasets import load_images


def some(channels):
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (6, 5, 4, channels), "uint8")
    return images, np.array([2, 0, 11, 0, 1, 2], "int32")


@pytest.mark.parametrize("channels", [1, 3])
def test_what_was_written_is_read(tmp_path, channels):
    images, labels = some(channels)
    np.savez(tmp_path / "some.npz", images=images, labels=labels)
    save_folders(tmp_path / "folders", images, labels)
    pool = Pool(9, (5, 4, channels), 12, folder=tmp_path / "pool", run="a")
    pool.add(images, labels)
    pool.close()
    for name in ("some.npz", "folders", "pool"):
        found, of = load_images(tmp_path / name)
        assert found.dtype == np.uint8 and of.dtype == np.int32
        # Folders are read class by class.
        order = np.argsort(labels, kind="stable")
        if name == "folders":
            np.testing.assert_array_equal(found, images[order])
            np.testing.assert_array_equal(of, labels[order])
            continue
        by_content = sorted(zip(map(bytes, images), labels, strict=True))
        assert sorted(zip(map(bytes, found), of, strict=True)) == by_content


def test_pictures_are_read_as_gray_or_colors(tmp_path):
    images, labels = some(1)
    save_folders(tmp_path, images, labels, [f"c{i}" for i in range(12)])
    found, _ = load_images(tmp_path, channels=3)
    order = np.argsort(labels, kind="stable")
    np.testing.assert_array_equal(found, images[order].repeat(3, -1))
    assert load_images(tmp_path, channels=1)[0].shape == images.shape


def test_other_files_are_refused(tmp_path):
    images, labels = some(1)
    with pytest.raises(FileNotFoundError, match="the folder of a pool.*Receiv"):
        load_images(tmp_path)
    save_folders(tmp_path / "mixed", images, labels)
    save_folders(tmp_path / "other", images[:1, :3], [7])
    (tmp_path / "other" / "7").rename(tmp_path / "mixed" / "7")
    with pytest.raises(ValueError, match="of one size"):
        load_images(tmp_path / "mixed")
    (tmp_path / "named").mkdir()
    (tmp_path / "mixed" / "7").rename(tmp_path / "named" / "seven")
    with pytest.raises(FileNotFoundError, match="by class"):
        load_images(tmp_path / "named")


def test_what_would_be_read_otherwise_is_refused(tmp_path):
    images, labels = some(1)
    (tmp_path / "deep" / "0").mkdir(parents=True)
    deep = Image.fromarray(np.full((5, 4), 40_000, "uint16"))
    deep.save(tmp_path / "deep" / "0" / "a.png")
    for channels in (None, 1, 3):
        with pytest.raises(ValueError, match="8 bits.*a.png with 16 bits"):
            load_images(tmp_path / "deep", channels)
    save_folders(tmp_path / "plain", images, labels)
    with pytest.raises(ValueError, match="npz file. Received: channels=4"):
        load_images(tmp_path / "plain", channels=4)
    for low, high in ((-1, 1), (0, 2**31)):
        np.savez(tmp_path / "wide.npz", images=images[:2], labels=[low, high])
        with pytest.raises(ValueError, match="labels from 0 to 2147483647"):
            load_images(tmp_path / "wide.npz")
    for wrong in (labels / 2, labels[:-1], np.eye(12)[labels]):
        np.savez(tmp_path / "wrong.npz", images=images, labels=wrong)
        with pytest.raises(ValueError, match="a whole number as the label"):
            load_images(tmp_path / "wrong.npz")


def chunk(kind, content):
    whole = kind + content
    size, check = len(content), zlib.crc32(whole)
    return struct.pack(">I", size) + whole + struct.pack(">I", check)


def test_colors_of_16_bits_are_refused(tmp_path):
    """Pillow reads 300 as 1."""
    header = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    row = b"\0" + struct.pack(">HHH", 300, 300, 300)
    file = tmp_path / "0" / "a.png"
    file.parent.mkdir()
    file.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(row))
        + chunk(b"IEND", b"")
    )
    assert np.asarray(Image.open(file)).max() == 1
    with pytest.raises(ValueError, match="a.png with 16 bits"):
        load_images(tmp_path)


def test_black_and_white_is_gray(tmp_path):
    (tmp_path / "3").mkdir()
    dots = np.array([[True, False], [False, True]])
    Image.fromarray(dots).save(tmp_path / "3" / "a.PNG")
    images, labels = load_images(tmp_path)
    np.testing.assert_array_equal(images[0, :, :, 0], 255 * dots)
    assert labels.tolist() == [3]


def test_a_picture_that_cannot_be_read_is_named(tmp_path):
    images, labels = some(1)
    save_folders(tmp_path, images, labels)
    first, *_ = sorted(tmp_path.glob("*/*.png"))
    content = first.read_bytes()
    for damaged in (content[: len(content) // 2], b"none", b""):
        first.write_bytes(damaged)
        with pytest.raises(ValueError, match=f"PNG file.*{first.name}"):
            load_images(tmp_path)
    first.write_bytes(content)
    Image.fromarray(images[0, :, :, 0]).save(first.with_suffix(".jpg"))
    with pytest.warns(UserWarning, match="1 other pictures.*jpg"):
        np.testing.assert_array_equal(load_images(tmp_path)[1], sorted(labels))


def test_a_damaged_array_is_named(tmp_path):
    images, labels = some(1)
    path = tmp_path / "some.npz"
    np.savez(path, images=images, labels=labels)
    content = bytearray(path.read_bytes())
    content[content.index(images.tobytes())] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="an .npz file of numbers.*some"):
        load_images(path)
    np.savez(path, images=np.array([None]), labels=labels)
    with pytest.raises(ValueError, match="an .npz file of numbers.*some"):
        load_images(path)


def test_a_data_set_needs_no_supervised_pair(tmp_path):
    images, labels = some(3)
    pool = Pool(9, (5, 4, 3), 12, folder=tmp_path, run="a")
    pool.add(images, labels)
    pool.close()
    path = tmp_path / "dataset_info.json"
    told = json.loads(path.read_text())
    del told["supervisedKeys"]
    path.write_text(json.dumps(told))
    np.testing.assert_array_equal(load_images(tmp_path)[0], images)


def test_a_data_set_says_what_its_labels_are_called(tmp_path):
    images, labels = some(1)

    class Digits(tfds.core.GeneratorBasedBuilder):
        """A data set of a user's."""

        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {
                "image": tfds.features.Image(shape=images.shape[1:]),
                "digit": tfds.features.ClassLabel(num_classes=12),
                "label": tfds.features.Scalar(np.int64),
            }
            return tfds.core.DatasetInfo(
                builder=self,
                features=tfds.features.FeaturesDict(features),
                supervised_keys=("image", "digit"),
            )

        def _split_generators(self, manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for i, (image, label) in enumerate(
                zip(images, labels, strict=True)
            ):
                yield i, {"image": image, "digit": int(label), "label": 7}

    builder = Digits(data_dir=tmp_path)
    builder.download_and_prepare()
    found, digits = load_images(builder.data_dir)
    pairs = sorted(zip(map(bytes, images), labels, strict=True))
    assert sorted(zip(map(bytes, found), digits, strict=True)) == pairs
