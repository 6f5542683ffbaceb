"""What is exported takes pixels, and is what the network was."""

import os
import pathlib
import shutil

import keras
import numpy as np
import pytest
from tiny import CLASSES
from tiny import SHAPE
from tiny import tiny_teacher

from tf_deepinversion import Preprocessing
from tf_deepinversion.core.files import save_network
from tf_deepinversion.serving import Served
from tf_deepinversion.serving import export

IMAGES = np.random.default_rng(0).integers(0, 256, (7, *SHAPE), "uint8")


@pytest.mark.parametrize(
    ("pixel_range", "fed"),
    [
        ((0, 255), lambda x: x),
        ((-1, 1), lambda x: x / 127.5 - 1),
        ("normalized", lambda x: (x - 100) / 50),
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


def test_a_saved_model_is_replaced_as_a_whole(tmp_path, monkeypatch):
    preprocessing = Preprocessing(100, 50)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "served").mkdir()
    export(tiny_teacher(), "served", preprocessing)
    first = Served("served")(IMAGES)
    (tmp_path / "served" / "assets" / "old").write_text("old")
    (tmp_path / "served" / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="which has thesis.txt"):
        export(tiny_teacher(), "served", preprocessing)
    (tmp_path / "served" / "thesis.txt").unlink()
    export(tiny_teacher(seed=1), "served", preprocessing)
    assert not (tmp_path / "served" / "assets" / "old").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["served"]
    assert np.abs(Served("served")(IMAGES) - first).max() > 0.1


def test_a_kill_while_the_old_model_goes_leaves_the_new_one(
    tmp_path, monkeypatch
):
    folder, remove = tmp_path / "served", shutil.rmtree
    export(tiny_teacher(), folder, Preprocessing(100, 50))

    def killed(path, **kwargs):
        (pathlib.Path(path) / "saved_model.pb").unlink(missing_ok=True)
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            export(tiny_teacher(seed=1), folder, Preprocessing(100, 50))
    expected = tiny_teacher(seed=1)(Preprocessing(100, 50).fed(IMAGES))
    np.testing.assert_allclose(Served(folder)(IMAGES), expected, atol=1e-5)
    assert shutil.rmtree is remove
    export(tiny_teacher(), folder, Preprocessing(100, 50))


@pytest.mark.parametrize("folder", ["thesis", "."])
def test_nothing_else_is_deleted(tmp_path, monkeypatch, folder):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.txt").write_text("mine")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="of its own.*which has thesis"):
        export(tiny_teacher(), folder, Preprocessing(100, 50))
    assert (tmp_path / "thesis" / "thesis.txt").read_text() == "mine"


def test_a_subclassed_model_needs_to_be_told_its_images(tmp_path):
    inner = tiny_teacher()

    class Mine(keras.Model):
        def __init__(self):
            super().__init__()
            self.inner = inner

        def call(self, x, training=None):
            return self.inner(x, training=training)

    preprocessing = Preprocessing(100, 50, "normalized")
    with pytest.raises(ValueError, match="pass image_shape="):
        export(Mine(), tmp_path / "served", preprocessing)
    export(Mine(), tmp_path / "served", preprocessing, SHAPE)
    expected = inner((IMAGES - np.float32(100)) / 50, training=False)
    np.testing.assert_allclose(
        Served(tmp_path / "served")(IMAGES), expected, rtol=1e-4, atol=1e-4
    )


def test_random_layers_are_exported_as_what_they_do_in_inference(tmp_path):
    """Their seeds are variables, and the SavedModel must hold them."""
    inputs = keras.Input(SHAPE)
    nested = keras.Sequential([keras.layers.RandomRotation(0.1)])
    x = nested(keras.layers.RandomFlip()(inputs))
    model = keras.Model(inputs, tiny_teacher()(x))
    export(model, tmp_path / "served", Preprocessing(100, 50))
    np.testing.assert_allclose(
        Served(tmp_path / "served")(IMAGES),
        tiny_teacher()(IMAGES.astype("float32"), training=False),
        rtol=1e-4,
        atol=1e-4,
    )


def test_an_export_that_fails_at_the_last_step_leaves_the_old_model(
    tmp_path, monkeypatch
):
    folder, replace = tmp_path / "served", os.replace
    export(tiny_teacher(), folder, Preprocessing(127.5, 50.0))
    before = sorted(folder.rglob("*"))
    calls = []

    def fail_once(source, target):
        calls.append(target)
        if len(calls) == 2:
            raise PermissionError("in use")
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail_once)
    with pytest.raises(PermissionError):
        export(tiny_teacher(1), folder, Preprocessing(127.5, 50.0))
    assert sorted(folder.rglob("*")) == before
    assert os.listdir(tmp_path) == ["served"]


def test_a_link_stays_a_link_to_the_new_model(tmp_path):
    model = tiny_teacher()
    (tmp_path / "large").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "large")
    for _ in range(2):
        export(model, tmp_path / "link", Preprocessing(100, 50))
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "large" / "saved_model.pb").exists()
        assert {path.name for path in tmp_path.iterdir()} == {"large", "link"}
    save_network(tmp_path / "large" / "mine.keras", model)
    (tmp_path / "mine.keras").symlink_to(tmp_path / "large" / "mine.keras")
    before = (tmp_path / "large" / "mine.keras").stat().st_ino
    save_network(tmp_path / "mine.keras", model)
    assert (tmp_path / "mine.keras").is_symlink()
    assert (tmp_path / "large" / "mine.keras").stat().st_ino != before
