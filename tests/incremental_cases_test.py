"""The data of the cases: who is in which task, and the digits enlarged."""

import sys
import types

import numpy as np
import pytest
from idx_files import write_split
from incremental_cases import joined
from incremental_cases import load_case
from incremental_cases import split_classes

from tf_deepinversion.datasets.real_images import load_digits

RANDOM = np.random.default_rng(0)
LABELS = np.arange(40) % 10
IMAGES = RANDOM.integers(1, 256, (40, 28, 28), "uint8")
DIGITS = RANDOM.integers(0, 17, (1797, 8, 8)).astype("float64")
DIGITS[0] = np.where(np.arange(8) < 4, 0, 16)


@pytest.fixture
def source(tmp_path):
    for stem in ("train", "t10k"):
        write_split(tmp_path, stem, IMAGES, LABELS.astype("uint8"))
    return tmp_path


@pytest.fixture
def sklearn(monkeypatch):
    digits = types.SimpleNamespace(images=DIGITS, target=np.arange(1797) % 10)
    module = types.SimpleNamespace(
        datasets=types.SimpleNamespace(load_digits=lambda: digits)
    )
    monkeypatch.setitem(sys.modules, "sklearn", module)


@pytest.mark.parametrize(
    ("name", "tasks"), [("fashion_5_5", 2), ("fashion_2x5", 5)]
)
def test_garments_in_tasks(source, name, tasks):
    case = load_case(name, idx_dir=source, train_images=30)
    assert len(case.train) == len(case.test) == len(case.names) == tasks
    size = 10 // tasks
    for task, (images, labels) in enumerate(case.train):
        own = range(task * size, (task + 1) * size)
        rows = np.isin(LABELS[:30], own)
        np.testing.assert_array_equal(images[..., 0], IMAGES[:30][rows])
        np.testing.assert_array_equal(labels, LABELS[:30][rows])
    images, labels = joined(case.test)
    assert len(images) == len(labels) == 40 and case.mirrored


def test_garments_and_then_digits(source, sklearn):
    case = load_case("fashion_plus_digits", idx_dir=source, train_images=20)
    (garments, labels), (digits, new) = case.train
    assert garments.shape == (20, 28, 28, 1) == digits.shape
    assert set(labels) == set(range(10)) and set(new) == set(range(10, 20))
    assert len(case.test[1][0]) == 500 and not case.mirrored


def test_letters_in_tasks(tmp_path):
    (tmp_path / "k_to_t").mkdir()
    letters = RANDOM.integers(0, 256, (40, 32, 32, 3), "uint8")
    for split in ("train", "test"):
        np.savez(
            tmp_path / "k_to_t" / f"{split}.npz", images=letters, labels=LABELS
        )
    case = load_case("letters_2x5", sets=tmp_path, train_images=20)
    assert len(case.train) == len(case.test) == 5 and not case.mirrored
    for task, (images, labels) in enumerate(case.train):
        rows = LABELS[:20] // 2 == task
        np.testing.assert_array_equal(images, letters[:20][rows])
        np.testing.assert_array_equal(labels, LABELS[:20][rows])
    assert len(joined(case.test)[0]) == 40
    with pytest.raises(ValueError, match="--sets. Received: sets=None"):
        load_case("letters_2x13")


def test_digits_keep_their_gray_levels_and_their_split(sklearn):
    images, labels = load_digits("train")
    assert images.shape == (1297, 28, 28, 1) and images.dtype == np.uint8
    assert (images[0, :, :12] == 0).all() and (images[0, :, 16:] == 255).all()
    np.testing.assert_array_equal(labels, np.arange(1297) % 10)
    same, _ = load_digits("test", size=8)
    expected = np.rint(DIGITS[1297:] * 255 / 16)
    np.testing.assert_array_equal(same[..., 0], expected)
    with pytest.raises(ValueError, match="split='all'"):
        load_digits("all")


def test_without_scikit_learn_its_name_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ImportError, match="pip install scikit-learn"):
        load_digits("test")


def test_unknown_cases_and_uneven_tasks_are_refused():
    with pytest.raises(ValueError, match="one of .*name='mnist'"):
        load_case("mnist")
    with pytest.raises(ValueError, match="divide the 10 classes.*classes=3"):
        split_classes(IMAGES, LABELS, 3)
