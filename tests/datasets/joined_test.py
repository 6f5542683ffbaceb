"""Several arrays are read as the one that NumPy makes of them."""

import numpy as np
import pytest

from tf_deepinversion.datasets import Joined

WHOLE = np.random.default_rng(0).integers(0, 256, (9, 2, 3, 1), "uint8")


class Part:
    """Tells what is read of it."""

    def __init__(self, array):
        self.array, self.read = array, []

    def __len__(self):
        return len(self.array)

    def __getitem__(self, rows):
        self.read += list(rows)
        return self.array[rows]


def joined():
    return Joined(
        [Part(WHOLE[:4]), Part(WHOLE[4:4]), Part(WHOLE[4:])], (2, 3, 1), "uint8"
    )


@pytest.mark.parametrize(
    "key",
    [
        3,
        -1,
        np.int64(5),
        slice(None),
        slice(-2, None),
        slice(8, 2, -2),
        slice(5, 5),
        [7, 0, 7],
        np.array([-1, 2]),
        [],
        np.arange(9) % 2 == 0,
        ...,
        None,
        (slice(2, 6), 0, 0, 0),
        (3, 1),
        ([1, 5], slice(None), 2),
        (slice(None), ..., 0),
        ([1, 5], [1, 0]),
        (slice(2, 6), [1, 0]),
        ([0, 5], slice(None), np.array([2, 1])),
        np.array([[0, 3], [8, 1]]),
        WHOLE > 127,
    ],
    ids=lambda key: str(key)[:30],
)
def test_it_is_indexed_as_an_array(key):
    if isinstance(key, list) and not key:
        key = np.array([], int)
    found = joined()[key]
    np.testing.assert_array_equal(found, WHOLE[key], strict=True)


@pytest.mark.parametrize("key", [9, -10, [9], "a", 1.5])
def test_what_is_no_place_in_it_is_refused(key):
    with pytest.raises((IndexError, TypeError)):
        joined()[key]


def test_only_the_rows_that_are_asked_for_are_read():
    rows = joined()
    rows[[1, 4, 8]]
    assert [part.read for part in rows.parts] == [[1], [], [0, 4]]


def test_it_computes_as_an_array():
    rows = joined()
    assert len(rows) == 9 and rows.shape == WHOLE.shape and rows.ndim == 4
    assert rows.size == WHOLE.size and rows.dtype == "uint8"
    np.testing.assert_array_equal(rows / 255, WHOLE / 255)
    np.testing.assert_array_equal(255 - rows, 255 - WHOLE)
    assert (rows == WHOLE).all() and not (rows != rows).any()
    np.testing.assert_array_equal(np.concatenate([rows, rows])[9:], WHOLE)
    np.testing.assert_array_equal(list(rows), WHOLE)
    assert np.asarray(rows, "float32").dtype == "float32"


def test_nothing_at_all_has_a_shape():
    empty = Joined([], (2, 3), "int32")
    assert empty.shape == (0, 2, 3) == empty[:].shape and list(empty) == []
    assert np.asarray(empty).dtype == "int32"
