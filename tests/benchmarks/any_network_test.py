"""benchmarks/any_network.py and its teachers, tiny, from fonts to a table."""

import json

import glyph_networks
import keras
import numpy as np
import pytest
from PIL import ImageFont
from processes import end
from processes import kill_when_there
from processes import start

import tf_deepinversion as di
from benchmarks import letters
from tf_deepinversion.core.labels import balanced_labels

NAME = "k_to_t_vgg"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a set of letters and a teacher that was killed once."""
    folder = tmp_path_factory.mktemp("any_network")
    font = folder / "font.ttf"
    font.write_bytes(ImageFont.load_default(20).path.getvalue())
    fonts = letters.read_fonts(folder)
    counts = {"train": 256, "held_out": 20, "test": 30}
    path = folder / "sets" / "k_to_t"
    letters.make_set("k_to_t", (fonts, fonts), counts, 0, path)
    arguments = (
        "train_glyph_teachers.py",
        f"--sets={folder / 'sets'}",
        f"--teachers={NAME}",
        "--epochs=3",
        "--width=4",
    )
    output = folder / "teachers"
    state = output / f"{NAME}.training.keras"
    kill_when_there(start(*arguments, f"--output={output}"), state)
    figures = end(start(*arguments, f"--output={output}"))
    whole = end(start(*arguments, f"--output={folder / 'whole'}"))
    assert not state.exists()
    return folder, figures["teachers"], whole["teachers"]


@pytest.mark.parametrize("name", glyph_networks.FAMILIES)
def test_every_family_is_what_it_says(name):
    """Of 32x32x3 to classes, and the library reads it."""
    family = glyph_networks.FAMILIES[name]
    model = family.build(26, 4)
    assert (model.input_shape, model.output_shape) == (
        (None, 32, 32, 3),
        (None, 26),
    )
    softmax = model.layers[-1].activation is keras.activations.softmax
    assert softmax == (name in ("resnet_swish", "mobilenet"))
    kinds = {type(layer).__name__ for layer in model.layers}
    stores = name not in ("convnext", "convnext_tiny", "vit")
    norm = "BatchNormalization" if stores else "LayerNormalization"
    assert norm in kinds
    own = {
        "DepthwiseConv2D": ("mobilenet", "convnext", "convnext_batch_norm"),
        "Concatenate": ("densenet",),
        "MultiHeadAttention": ("vit",),
    }
    for kind, names in own.items():
        assert (kind in kinds) == (name in names)
    rescales = "Normalization" if name == "convnext_tiny" else "Rescaling"
    assert (rescales in kinds) == (family.pixel_range is None)
    feeding = None
    if family.pixel_range is not None:
        feeding = di.Preprocessing(127, 60, family.pixel_range)
    targets = None
    if not stores:
        images = np.random.default_rng(0).integers(0, 256, (10, 32, 32, 3))
        targets = di.FeatureTargets.measure(model, images.astype("uint8"))
    assert di.DeepInversion(model, feeding, targets=targets).classes == 26


@pytest.mark.slow
def test_a_killed_training_ends_with_the_same_teacher(folder):
    folder, figures, whole = folder
    one, other = (
        keras.models.load_model(folder / part / f"{NAME}.keras")
        for part in ("teachers", "whole")
    )
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert figures[NAME]["test_accuracy"] == whole[NAME]["test_accuracy"]
    with np.load(folder / "sets" / "k_to_t" / "test.npz") as file:
        answers = one.predict(file["images"].astype("float32"), verbose=0)
        right = (answers.argmax(-1) == file["labels"]).mean()
    assert figures[NAME]["test_accuracy"] == pytest.approx(right)


@pytest.mark.slow
def test_a_row_says_what_a_recipe_makes(tmp_path):
    keras.utils.set_random_seed(0)
    teacher = glyph_networks.FAMILIES["vgg"].build(10, 2)
    teacher.save(tmp_path / f"{NAME}.keras")
    feeding = di.Preprocessing(120.0, 60.0)
    told = {"preprocessing": feeding.get_config()}
    (tmp_path / f"{NAME}.json").write_text(json.dumps(told))
    figures = end(
        start(
            "any_network.py",
            f"--teachers={tmp_path}",
            f"--names={NAME}",
            "--recipes=replay_pixels,replay",
            "--images=12",
            "--steps=2",
            "--first_steps=2",
            f"--output={tmp_path / 'rows'}",
        )
    )
    pixels, generated = figures["rows"]
    model = di.DeepInversion(teacher, feeding, recipe="replay_pixels")
    labels = balanced_labels(10, 12)
    # The weighted terms before the first step add up to its loss.
    history = model.fit(labels, 1, verbose=0).history
    assert sum(
        term["weight"] * term["value"] for term in pixels["start"].values()
    ) == pytest.approx(history["loss"][0], rel=1e-4)
    last = model.fit(labels, 2, batch_index=1, verbose=0).history
    right = (model.classes_of(model.images) == labels).mean()
    assert pixels["recognized"] == pytest.approx(right)
    for name, term in pixels["start"].items():
        weighted = term["weight"] * pixels["terms"][name]
        assert weighted == pytest.approx(last[name][-1], rel=1e-3)
    assert set(generated["terms"]) == set(generated["start"])
    assert set(generated["terms"]) == {"cross_entropy", "feature_statistics"}
    for row in figures["rows"]:
        assert all(term["gradient"] > 0 for term in row["start"].values())
    table = (tmp_path / "rows" / "any_network.md").read_text()
    assert table.count(f"| {NAME} |") == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "flag"),
    [
        ("random", "--start=random"),
        ("narrow", "--start=narrow"),
        ("pruned", "--start=pruned"),
        ("resnet20_1", "--resnet20=1"),
        ("random_real", "--real"),
        ("random_12_unlabeled", "--unlabeled=12"),
        ("random_priors_only", "--priors_only"),
    ],
)
def test_a_student_is_scored_on_the_fonts_of_no_training(folder, kind, flag):
    folder, _, _ = folder
    figures = end(
        start(
            "glyph_students.py",
            f"--teacher={folder / 'teachers' / NAME}",
            f"--sets={folder / 'sets'}",
            flag,
            "--rounds=1",
            "--images=20",
            "--steps=2",
            "--student_steps=3",
            f"--output={folder / 'students'}",
        )
    )
    with np.load(folder / "sets" / "k_to_t" / "test.npz") as file:
        pixels, labels = file["images"].astype("float32"), file["labels"]
    accuracy, weights = {}, {}
    student = folder / "students" / f"{NAME}_{kind}_0" / "student.keras"
    for name, path in (
        ("teacher", folder / "teachers" / f"{NAME}.keras"),
        ("student", student),
    ):
        network = keras.models.load_model(path, compile=False)
        answers = network.predict(pixels, verbose=0)
        accuracy[name] = (answers.argmax(-1) == labels).mean()
        weights[name] = sum(x.size for x in network.get_weights())
        assert figures[f"{name}_accuracy"] == pytest.approx(accuracy[name])
    assert figures["weights"] == weights["student"] / weights["teacher"]
    assert kind != "pruned" or figures["weights"] <= 0.25
    assert figures["points_below_teacher"] == pytest.approx(
        100 * (accuracy["teacher"] - accuracy["student"])
    )
