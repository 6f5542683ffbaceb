"""Images come back from the folders that hold them."""

import numpy as np
import pytest

from tf_deepinversion import Pool
from tf_deepinversion.core.pictures import save_folders
from tf_deepinversion.datasets import load_images

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_by_class(tmp_path, channels):
    images = RANDOM.integers(0, 256, (5, 4, 6, channels), "uint8")
    save_folders(tmp_path, images, [2, 0, 1, 0, 2], names=["a", "b", "c"])
    found, labels = load_images(tmp_path, channels)
    assert labels.tolist() == [0, 0, 1, 2, 2]
    np.testing.assert_array_equal(found, images[[1, 3, 2, 0, 4]])


def test_a_pool(tmp_path):
    images = RANDOM.integers(0, 256, (5, 4, 6, 1), "uint8")
    pool = Pool(5, (4, 6, 1), 3, folder=tmp_path / "pool", run="any")
    pool.add(images, [2, 0, 1, 0, 2])
    pool.close()
    found, labels = load_images(tmp_path / "pool")
    order = np.lexsort(found.reshape(5, -1).T)
    expected = np.lexsort(images.reshape(5, -1).T)
    np.testing.assert_array_equal(found[order], images[expected])
    assert (
        labels[order].tolist() == np.array([2, 0, 1, 0, 2])[expected].tolist()
    )


def test_a_folder_of_neither_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="the folder of a pool.*Receiv"):
        load_images(tmp_path)
