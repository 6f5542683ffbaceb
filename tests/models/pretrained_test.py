"""The networks and the images that ship."""

import pathlib
import runpy
import warnings

import keras
import numpy as np
import pytest
from keras import layers
from tiny import SHAPE
from tiny import with_head

import tf_deepinversion as di
from tf_deepinversion import Preprocessing
from tf_deepinversion import load_pretrained
from tf_deepinversion import models
from tf_deepinversion.datasets.real_images import load_test_images
from tf_deepinversion.metrics import recognition
from tf_deepinversion.models import pretrained


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(pretrained.PRETRAINED))
def test_network_recognizes_the_real_images_that_ship(name):
    # The first 500 of the 10,000 images that `test_accuracy` is over: within
    # three standard errors of it.
    network = load_pretrained(name)
    images, labels = (array[:500] for array in load_test_images())
    accuracy = recognition.accuracy(network, images, labels)
    stated = pretrained.PRETRAINED[name]["test_accuracy"]
    assert accuracy == pytest.approx(stated, abs=3 * (0.06 / 500) ** 0.5)
    images, labels = images[:200], labels[:200]
    plain = network.predict(images.astype("float32"), verbose=0).argmax(-1)
    assert np.mean(plain == labels) == recognition.accuracy(
        network, images, labels
    )


@pytest.mark.parametrize("name", sorted(pretrained.PRETRAINED))
def test_networks_are_loaded_without_a_warning(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_pretrained(name)


def test_networks_are_good_and_small_enough_to_ship():
    teacher = pretrained.PRETRAINED["fashion_mnist_resnet20"]
    verifier = pretrained.PRETRAINED["fashion_mnist_vgg11"]
    assert teacher["test_accuracy"] >= 0.935
    assert verifier["test_accuracy"] >= 0.925
    path = pretrained.FOLDER / "fashion_mnist_resnet20.keras"
    assert path.stat().st_size < 1_500_000


def test_keras_alone_loads_them_and_their_preprocessing_is_known():
    path = pretrained.FOLDER / "fashion_mnist_resnet20.keras"
    network = keras.models.load_model(path)
    preprocessing = Preprocessing.of(network)
    # Mean and deviation of Fashion-MNIST's training pixels.
    np.testing.assert_allclose(preprocessing.mean, [72.94], atol=0.01)
    np.testing.assert_allclose(preprocessing.std, [90.02], atol=0.01)
    assert preprocessing.pixel_range == (0, 255)


def test_unknown_and_damaged_networks_are_refused(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="`name` must be one of.*'resnet'"):
        load_pretrained("resnet")
    whole = (pretrained.FOLDER / "fashion_mnist_vgg11.keras").read_bytes()
    monkeypatch.setattr(pretrained, "FOLDER", tmp_path)
    (tmp_path / "fashion_mnist_vgg11.keras").write_bytes(whole[:-100])
    with pytest.raises(ValueError, match="not the file that ships"):
        load_pretrained("fashion_mnist_vgg11")


def test_a_network_by_its_name_or_by_its_file(tmp_path):
    own = models.VGG11BN((28, 28, 1), width=2, mean=73, std=90)
    own.save(tmp_path / "own.keras")
    found = pretrained.load_network(str(tmp_path / "own.keras"))
    for a, b in zip(own.get_weights(), found.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match=r"existing file.*\.h5.*nobody\.ker"):
        pretrained.load_network(tmp_path / "nobody.keras")
    shipped = pretrained.load_network("fashion_mnist_vgg11")
    expected = load_pretrained("fashion_mnist_vgg11").get_weights()
    for a, b in zip(shipped.get_weights(), expected, strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="must be one of"):
        pretrained.load_network("nobody")


@pytest.mark.parametrize("kind", [".h5", ".hdf5"])
def test_a_network_by_its_file_of_another_kind(kind, tmp_path):
    own = with_head(layers.Dense(3))
    images = np.random.default_rng(0).normal(size=(2, *SHAPE))
    own.save(tmp_path / f"own{kind}")
    own.save(tmp_path / "own.keras")
    (tmp_path / "own.keras").rename(tmp_path / "LOUD.KERAS")
    (tmp_path / f"own{kind}").rename(tmp_path / f"own{kind.upper()}")
    own.save(tmp_path / f"own{kind}")
    for path in sorted(tmp_path.iterdir()):
        found = pretrained.load_network(path)
        np.testing.assert_array_equal(found(images), own(images))


def test_another_backend_is_refused_before_anything_else(monkeypatch):
    first = next(
        line
        for line in pathlib.Path(di.__file__).read_text().splitlines()
        if "import" in line
    )
    assert first.startswith("from tf_deepinversion import backend")
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ImportError, match="KERAS_BACKEND=tensorf.*'jax'"):
        runpy.run_path(di.backend.__file__)
