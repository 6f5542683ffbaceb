"""Images from the files that this library writes."""

import numpy as np
import pytest
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
        with pytest.raises(ValueError, match="8 bits.*a.png with more"):
            load_images(tmp_path / "deep", channels)
    save_folders(tmp_path / "plain", images, labels)
    with pytest.raises(ValueError, match="npz file. Received: channels=4"):
        load_images(tmp_path / "plain", channels=4)
    for wrong in (labels / 2, labels[:-1], np.eye(12)[labels]):
        np.savez(tmp_path / "wrong.npz", images=images, labels=wrong)
        with pytest.raises(ValueError, match="a whole number as the label"):
            load_images(tmp_path / "wrong.npz")
