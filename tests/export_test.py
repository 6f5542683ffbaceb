"""What is exported takes pixels, and is what the network was."""

import numpy as np
import pytest
from tiny import CLASSES
from tiny import SHAPE
from tiny import tiny_teacher

from tf_deepinversion import Preprocessing
from tf_deepinversion.export import Served
from tf_deepinversion.export import export

IMAGES = np.random.default_rng(0).integers(0, 256, (7, *SHAPE), "uint8")


@pytest.mark.parametrize(
    ("pixel_range", "fed"),
    [
        ((0, 255), lambda x: x),
        ((-1, 1), lambda x: x / 127.5 - 1),
        ("normalised", lambda x: (x - 100) / 50),
    ],
)
def test_it_takes_pixels_and_gives_the_logits(tmp_path, pixel_range, fed):
    model = tiny_teacher()
    preprocessing = Preprocessing(100, 50, pixel_range)
    export(model, tmp_path / "served", preprocessing)
    served = Served(tmp_path / "served")
    expected = model(fed(IMAGES.astype("float32")), training=False)
    logits = served(IMAGES, batch_size=3)
    assert logits.shape == (7, CLASSES)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
    labels = logits.argmax(-1)
    labels[:2] = (labels[:2] + 1) % CLASSES
    assert served.accuracy(IMAGES, labels) == pytest.approx(5 / 7)


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    preprocessing = Preprocessing(100, 50)
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "old").write_text("old")
    export(tiny_teacher(), tmp_path / "served", preprocessing)
    assert not (tmp_path / "served" / "old").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["served"]
