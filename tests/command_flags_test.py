"""What the command `tf-deepinversion` says of flags and files it refuses."""

import json
import pathlib

import keras
import numpy as np
import pytest
from tiny import CLASSES
from tiny import SHAPE
from tiny import with_head

import tf_deepinversion as di
import tf_deepinversion_command as command
from tf_deepinversion.commands.values import pixels_of
from tf_deepinversion.datasets import load_images
from tf_deepinversion.models.pretrained import load_network
from tf_deepinversion.networks import copy_of
from tf_deepinversion.networks.copies import of_size
from tf_deepinversion.quantization import LiteRT

FEEDING = ("--mean=127.5", "--std=50", "--pixel_range=normalized")
IMAGES = np.random.default_rng(0).integers(0, 256, (12, *SHAPE), "uint8")


@pytest.fixture
def network(tmp_path, monkeypatch):
    """A tiny network, also in mine.keras of the working folder."""
    monkeypatch.chdir(tmp_path)
    network = with_head(keras.layers.Dense(CLASSES))
    network.save("mine.keras")
    return network


def said(monkeypatch, *flags) -> str:
    """Runs a command that fails; returns the one line that it prints."""
    line = ["tf-deepinversion", flags[0], "mine.keras", *flags[1:]]
    monkeypatch.setattr("sys.argv", line)
    with pytest.raises(SystemExit) as end:
        command.main()
    return str(end.value)


@pytest.mark.parametrize(
    ("flags", "expected", "received"),
    [
        (("--labels=a", *FEEDING), "whole numbers", "--labels=a"),
        (("--labels=1,,2", *FEEDING), "whole numbers", "--labels=1,,2"),
        (("--mean=a", "--std=50"), "numbers", "--mean=a"),
        (("--mean=1", "--std=1;2"), "numbers", "--std=1;2"),
        (
            ("--mean=1", "--std=9", "--pixel_range=b"),
            "numbers",
            "--pixel_range=b",
        ),
    ],
)
def test_numbers_are_asked_for_in_one_line(
    network, monkeypatch, flags, expected, received
):
    line = said(monkeypatch, "invert", *flags)
    assert line.startswith("tf-deepinversion: error: Expected")
    assert expected in line and f"Received: {received}" in line


@pytest.mark.parametrize(
    ("flags", "received"),
    [
        (("invert", "--pixel_range=0,1"), "--pixel_range=0,1 alone"),
        (("prune", "--channel_order=bgr"), "--channel_order=bgr alone"),
        (("synthesize", "--worker=3", *FEEDING), "--worker=3 alone"),
        (
            ("distill", "--share=0.5", "--student=a.keras", *FEEDING),
            "--share=0.5 and --student=a.keras",
        ),
        (
            ("quantize", "--training_steps=9", "--scheme=int16x8", *FEEDING),
            "--scheme=int16x8 and --dense=per_channel",
        ),
        (
            ("quantize", "--training_steps=9", "--dense=per_tensor", *FEEDING),
            "--scheme=int8 and --dense=per_tensor",
        ),
    ],
)
def test_flags_that_would_be_passed_over_are_refused_first(
    network, monkeypatch, flags, received
):
    line = said(monkeypatch, *flags)
    assert line.startswith("tf-deepinversion: error: --")
    assert f"Received: {received}" in line
    # Before any image is made.
    assert not pathlib.Path("output").exists()


def test_images_to_calibrate_on_are_of_all_parts_of_a_file():
    images = np.arange(1000).reshape(-1, 1, 1, 1) // 100  # sorted by class
    found = pixels_of((images, None), 200)
    np.testing.assert_array_equal(np.bincount(found.ravel()), 20)
    assert len(pixels_of((images, None))) == 1000
    assert len(pixels_of((images[:30], None), 200)) == 30


def test_quantize_needs_no_labels(network, capsys):
    np.savez("unlabeled.npz", images=IMAGES)
    images = "--images=unlabeled.npz"
    command.run(["quantize", "mine.keras", *FEEDING, images])
    figures = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    with open(figures["model"], "rb") as file:
        found = LiteRT(file.read())(IMAGES)
    exact = network((IMAGES / 255.0 - 0.5) * 5.1)  # (pixel - 127.5) / 50
    assert np.corrcoef(found.ravel(), np.ravel(exact))[0, 1] > 0.95


def test_invert_shows_the_classes_in_turn_as_its_help_says(
    network, capsys, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        command.run(["invert", "--help"])
    words = "default: in turn, as many as the recipe's images"
    assert words in capsys.readouterr().out
    command.run(["invert", "mine.keras", *FEEDING, "--steps=1"])
    _, labels = load_images("output/invert/images")
    count = di.RECIPES["ours"].batch_size
    expected = np.bincount(np.arange(count) % CLASSES)
    assert np.bincount(labels).tolist() == expected.tolist()


def test_a_missing_array_is_named(network, monkeypatch):
    np.savez("labels.npz", labels=np.zeros(12, int))
    line = said(monkeypatch, "measure", *FEEDING, "--images=labels.npz")
    assert "an array `images`" in line and "['labels']" in line
    np.savez("unlabeled.npz", images=IMAGES)
    with pytest.raises(ValueError, match="`labels`.*unlabeled.*'images'"):
        load_images("unlabeled.npz")
    np.savez("named.npz", x_train=IMAGES, labels=np.zeros(12, int))
    with pytest.raises(ValueError, match="`images`.*'x_train', 'labels'"):
        load_images("named.npz")


def test_a_flag_fixes_an_open_image_size(network, monkeypatch):
    open_sized = copy_of(network, None, lambda *_: (None, None, None, 1))
    open_sized.save("open.keras")
    flags = (*FEEDING, "--labels=0,1,2", "--steps=2", "--seed=3")
    command.run(["invert", "mine.keras", *flags, "--output=fixed"])
    size = "--image_size=8,8"
    command.run(["invert", "open.keras", *flags, size, "--output=open"])
    (one, _), (other, _) = (
        load_images(f"{folder}/images") for folder in ("fixed", "open")
    )
    np.testing.assert_array_equal(one, other)
    for wrong in ("8", "8,8,1", "0,8", "a,8"):
        line = said(monkeypatch, "invert", f"--image_size={wrong}")
        assert f"Received: --image_size={wrong}" in line
    line = said(monkeypatch, "invert", "--image_size=9,8", *flags)
    assert "takes images of shape (8, 8, 1)" in line and "(9, 8, 1)" in line
    pathlib.Path("open.keras").rename("mine.keras")
    assert "--image_size=H,W" in said(monkeypatch, "invert", *flags)


def test_an_inner_network_of_open_size_stays_open(tmp_path):
    """Its images are features, whose size is another."""
    shape = (None, None, 1)
    body = keras.Sequential([keras.Input(shape), keras.layers.Conv2D(2, 3)])
    pixels = keras.Input(shape)
    x = body(keras.layers.MaxPooling2D(2)(pixels))
    keras.Model(pixels, x).save(tmp_path / "nested.keras")
    nested = load_network(tmp_path / "nested.keras", (12, 8))
    assert nested.input_shape == (None, 12, 8, 1)
    assert nested.output_shape == (None, 4, 2, 2)
    assert nested.layers[-1].input_shape == (None, None, None, 1)


class Doubled(keras.Model):
    """A graph of layers that its own `call` changes."""

    def call(self, *args, **kwargs):
        return 2 * super().call(*args, **kwargs)


def test_a_network_that_is_no_graph_of_layers_gets_a_size():
    pixels = keras.Input((None, None, 1))
    network = Doubled(pixels, keras.layers.Conv2D(2, 3)(pixels))
    found = of_size(network, (8, 6))
    assert found.input_shape == (None, 8, 6, 1)
    images = IMAGES[:2, :, :6].astype("float32")
    np.testing.assert_array_equal(found(images), network(images))


def test_a_network_without_fixed_channels_or_too_deep_gets_no_size():
    x = keras.Input((3, None, None))
    first = keras.Model(x, keras.layers.Permute((2, 3, 1))(x))
    with pytest.raises(ValueError, match=r"Permute.*\(None, 3, None, None\)"):
        of_size(first, (8, 8))
    y = keras.Input((None, None, 1))
    deep = keras.layers.Conv2D(1, 5)(keras.layers.MaxPooling2D(4)(y))
    with pytest.raises(ValueError, match=r"images of shape \(8, 8, 1\)"):
        of_size(keras.Model(y, deep), (8, 8))


def test_a_head_of_sums_takes_images_of_its_size(network, monkeypatch):
    for name, size in (("one", 8), ("two", 12)):
        images = np.zeros((8, size, size, 1), "uint8")
        np.savez(f"{name}.npz", images=images, labels=np.arange(8) % 2)
    flags = ("--method=analytic", *FEEDING)
    line = said(monkeypatch, "learn", *flags, "--data=two.npz")
    assert "(8, 8, 1)" in line and "Received: (12, 12, 1)" in line
    command.run(["learn", "mine.keras", *flags, "--data=one.npz"])
    pathlib.Path("output/learn/head.npz").rename("head.npz")
    monkeypatch.setattr(
        "sys.argv",
        ["tf-deepinversion", "learn", "head.npz", *flags, "--image_size=8,8"],
    )
    with pytest.raises(SystemExit, match="leave them out.*--image_size=8,8"):
        command.main()


def test_other_images_beside_a_begun_training_are_refused(
    network, monkeypatch, tmp_path
):
    flags = ("prune", *FEEDING, "--batches=3", "--output=out")
    pool = tmp_path / "out" / "pool" / "pool.json"
    pool.parent.mkdir(parents=True)
    pool.write_text(json.dumps({"shards": [{}, {}]}))
    (tmp_path / "out" / "prune.npz").touch()
    line = said(monkeypatch, *flags)
    assert "begun with 2 batches" in line and "--batches=3" in line
    assert len(list(pool.parent.iterdir())) == 1


def test_replayed_images_are_part_of_what_learn_resumes(monkeypatch, network):
    """Each flag of the images makes another `run`."""
    runs = set()

    class Stop(Exception):
        pass

    def told(*_, run, **kwargs):
        runs.add(run)
        raise Stop

    monkeypatch.setattr(di, "learn_tasks", told)
    np.savez("new.npz", images=IMAGES, labels=np.full(12, CLASSES))
    changes = "--batches=3", "--images_per_batch=7", "--steps_of_images=5"
    for flag in ("--seed=0", *changes, "--recipe=ours", "--method=replay"):
        line = ["learn", "mine.keras", "--data=new.npz", *FEEDING, flag]
        monkeypatch.setattr("sys.argv", ["tf-deepinversion", *line])
        with pytest.raises(Stop):
            command.main()
    assert len(runs) == 6
