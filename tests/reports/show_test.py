"""Pictures for a notebook."""

import numpy as np
import pytest

import tf_deepinversion as di


def test_each_image_is_where_its_caption_is():
    images = np.stack([np.full((32, 32, 3), 40 * i, "uint8") for i in range(5)])
    picture = np.asarray(di.show(images, range(5), columns=3))
    # Two rows of tiles of 64 pixels, 12 for the caption, and a line between.
    assert picture.shape == (2 * (64 + 12) + 1, 3 * 64 + 2, 3)
    for i in range(5):
        row, column = divmod(i, 3)
        top, left = row * 77, column * 65
        tile = picture[top : top + 64, left : left + 64]
        assert (tile == 40 * i).all()
        caption = picture[top + 64 : top + 76, left : left + 64]
        assert caption.min() < 128 < caption.max()


def test_gray_images_without_captions_stay_gray():
    picture = di.show(np.full((2, 8, 8, 1), 7, "uint8"))
    assert picture.mode == "L" and picture.size == (2 * 64 + 1, 64)
    assert np.asarray(picture)[0, 0] == 7


def test_names_are_those_of_the_labels():
    images = np.zeros((2, 64, 64, 1), "uint8")
    by_name = di.show(images, [1, 0], ["shoe", "bag"])
    assert (
        by_name.tobytes() == di.show(images, [0, 1], ["bag", "shoe"]).tobytes()
    )
    assert (
        by_name.tobytes() != di.show(images, [0, 1], ["shoe", "bag"]).tobytes()
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((0, 8, 8, 1), "uint8"),), "at least one image"),
        ((np.zeros((2, 8, 8, 1), "uint8"), [0]), "one label for each of 2"),
        (
            (np.zeros((1, 8, 8, 1), "uint8"), [2], ["a", "b"]),
            r"labels in \[0, 2\)",
        ),
    ],
)
def test_what_cannot_be_shown_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        di.show(*arguments)
