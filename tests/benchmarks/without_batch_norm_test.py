"""benchmarks/without_batch_norm.py, tiny, from teachers to rows."""

import keras
import numpy as np
import pytest
from idx_files import write_split
from processes import end
from processes import start

import tf_deepinversion as di
from benchmarks import modern_networks
from tf_deepinversion.networks.layer_statistics import normalizations

SHAPE = (28, 28, 1)


@pytest.mark.parametrize("name", modern_networks.NETWORKS)
def test_every_network_is_what_it_says(name, tmp_path):
    model = modern_networks.NETWORKS[name](SHAPE, 10, 8, mean=70.0, std=90.0)
    assert (model.input_shape[1:], model.output_shape) == (SHAPE, (None, 10))
    kinds = {type(layer).__name__ for layer in normalizations(model)}
    norm = "BatchNorm" if "batch_norm" in name else "LayerNorm"
    assert kinds == {f"{norm}alization"}
    model.save(tmp_path / "model.keras")
    images = np.random.default_rng(0).integers(0, 256, (10, *SHAPE), "uint8")
    targets = di.FeatureTargets.measure(model, images)
    targets.require_network(keras.models.load_model(tmp_path / "model.keras"))
    # Of every normalization, and of a token's or a place's channels.
    assert len(targets.statistics) == len(normalizations(model))


@pytest.mark.slow  # a process of its own
def test_a_row_of_each_arm(tmp_path):
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (256, *SHAPE[:2]), "uint8")
    labels = (np.arange(256) % 10).astype("uint8")
    for stem in ("train", "t10k"):
        write_split(tmp_path, stem, images, labels)
    figures = end(
        start(
            "without_batch_norm.py",
            f"--idx_dir={tmp_path}",
            "--teachers=vit",
            "--epochs=1",
            "--width=8",
            "--images=10",
            "--steps=2",
            "--rounds=1",
            "--steps_per_round=2",
            f"--output={tmp_path / 'rows'}",
        )
    )
    arms = {row["arm"]: row for row in figures["rows"]}
    assert set(arms) == {"images", "weights", "none"}
    for arm, row in arms.items():
        assert ("feature_statistics" in row["terms"]) == (arm != "none")
        assert 0 <= row["student"] <= 1
