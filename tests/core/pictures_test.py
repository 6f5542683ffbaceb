"""Images as files."""

import io

import keras
import numpy as np
import pytest
from PIL import Image

from tf_deepinversion.core import pictures


def some_images(n, channels=1):
    random = np.random.default_rng(0)
    return random.integers(0, 256, (n, 4, 3, channels), "uint8")


@pytest.mark.parametrize("channels", [1, 3])
def test_grid_places_every_image(channels):
    images = some_images(5, channels)
    canvas = pictures.grid(images, columns=2, scale=3, gap=2)
    assert canvas.shape == (3 * 14 - 2, 2 * 11 - 2, channels)
    for i, image in enumerate(images):
        top, left = i // 2 * 14, i % 2 * 11
        block = canvas[top : top + 12, left : left + 9]
        np.testing.assert_array_equal(block[::3, ::3], image)
        np.testing.assert_array_equal(block[2::3, 1::3], image)
    assert (canvas[12:14] == 255).all() and (canvas[:, 9:11] == 255).all()
    assert (canvas[28:, 11:] == 255).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_png_holds_the_pixels(channels):
    image = some_images(1, channels)[0]
    read = np.asarray(Image.open(io.BytesIO(pictures.png(image))))
    np.testing.assert_array_equal(read.reshape(image.shape), image)


def test_folders_are_what_keras_reads(tmp_path):
    images, labels = some_images(12), np.arange(12)
    names = [f"Kind/{i} a" for i in range(12)]
    pictures.save_folders(tmp_path, images, labels, names)
    data = keras.utils.image_dataset_from_directory(
        tmp_path,
        color_mode="grayscale",
        image_size=(4, 3),
        shuffle=False,
        batch_size=12,
        verbose=0,
    )
    read, read_labels = next(iter(data))
    np.testing.assert_array_equal(read, images)
    np.testing.assert_array_equal(read_labels, labels)
    assert data.class_names[10] == "10_kind_10_a"


def test_folders_hold_the_pictures_of_the_last_call_alone(tmp_path):
    own = tmp_path / "0_mine" / "000007.png"
    own.parent.mkdir(parents=True)
    Image.fromarray(some_images(1)[0, ..., 0]).save(own)
    names = [f"kind {i}" for i in range(12)]
    pictures.save_folders(tmp_path, some_images(12), np.arange(12), names)
    (tmp_path / "03_kind_3" / "notes.txt").write_text("mine")
    pictures.save_folders(tmp_path, some_images(2), [5, 4], names)
    left = {str(p.relative_to(tmp_path)) for p in tmp_path.glob("*/*")}
    assert left == {
        "04_kind_4/000001.png",
        "05_kind_5/000000.png",
        "03_kind_3/notes.txt",
        "0_mine/000007.png",
    }
    assert len(list(tmp_path.iterdir())) == 4  # no folder without a file


def test_names_are_of_any_kind_and_of_all_classes(tmp_path):
    images = some_images(3)
    for i, names in enumerate((np.array(["a", "b", "c"]), [1, 2, 3])):
        folder = tmp_path / str(i)
        pictures.save_folders(folder, images, [0, 1, 2], names)
        found = sorted(path.name for path in folder.iterdir())
        assert found == [f"{k}_{name}" for k, name in enumerate(names)]
    with pytest.raises(ValueError, match="all 3 classes.*2 names"):
        pictures.save_folders(tmp_path / "none", images, [0, 1, 2], ["a", "b"])
    assert not (tmp_path / "none").exists()


def test_no_picture_has_five_channels(tmp_path):
    images = np.zeros((1, 2, 2, 5), "uint8")
    with pytest.raises(ValueError, match="1 to 4 channels.*shape .2, 2, 5"):
        pictures.save_folders(tmp_path / "none", images, [0])
    with pytest.raises(ValueError, match="1 to 4 channels.*shape .2, 2, 5"):
        pictures.png(images[0])


def test_a_damaged_picture_of_another_stays(tmp_path):
    damaged = tmp_path / "0_mine" / "000007.png"
    damaged.parent.mkdir()
    damaged.write_bytes(b"no picture")
    pictures.save_folders(tmp_path, some_images(1), [0])
    assert damaged.read_bytes() == b"no picture"


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1], r"3 images, and labels of shape \(2,\)"),
        ([0, 1, -1], "from -1 to 1"),
        ([0.0, 0.7, 1.0], "must be integers"),
    ],
)
def test_labels_of_folders_are_checked_before_a_file_is_written(
    tmp_path, labels, message
):
    with pytest.raises((TypeError, ValueError), match=message):
        pictures.save_folders(tmp_path, some_images(3), labels)
    assert not list(tmp_path.iterdir())


def test_small_integers_name_their_folders(tmp_path):
    names = [f"kind {i}" for i in range(256)]
    labels = np.array([255, 0, 127], "uint8")
    pictures.save_folders(tmp_path, some_images(3), labels, names)
    found = sorted(path.name for path in tmp_path.iterdir())
    assert found == ["000_kind_0", "127_kind_127", "255_kind_255"]
    with pytest.raises(ValueError, match="must name all 256 classes"):
        pictures.save_folders(tmp_path, some_images(3), labels, names[:100])


def test_what_a_grid_refuses():
    with pytest.raises(ValueError, match="at least one image"):
        pictures.grid(some_images(0))
    with pytest.raises(ValueError, match="`columns` must be"):
        pictures.grid(some_images(2), columns=0)
