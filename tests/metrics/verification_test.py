"""Who recognizes what, against the networks' own guesses."""

import keras
import numpy as np
import pytest
from inversions import NORMALIZED

from tf_deepinversion.metrics import verification
from tf_deepinversion.networks import reader


def test_resized_keeps_pixels():
    network = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.ReLU()])
    images = np.repeat(np.array([0, 100, 255], "uint8"), 64)
    images = images.reshape(3, 8, 8, 1)
    small = reader.resized(images, network)
    np.testing.assert_array_equal(small, images[:, :4, :4])
    assert reader.resized(small, network) is small


def linear_network():
    layers = [keras.layers.Flatten(), keras.layers.Dense(3)]
    return keras.Sequential([keras.Input((8, 8, 1)), *layers])


def test_verification_table_counts_each_and_all():
    networks = {name: linear_network() for name in "ab"}
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (20, 8, 8, 1), "uint8")
    z = NORMALIZED.normalize(images)
    guesses = {k: n(z).numpy().argmax(-1) for k, n in networks.items()}
    labels = np.where(np.arange(20) < 12, guesses["a"], guesses["b"])
    table = verification.verification_table(
        {"noise": (images, labels)}, networks, dict.fromkeys("ab", NORMALIZED)
    )
    right = np.stack([guesses[k] == labels for k in "ab"])
    assert table == {
        "noise": {
            "a": right[0].mean(),
            "b": right[1].mean(),
            "all": right.all(0).mean(),
            "images": 20,
        }
    }
    assert 0 < right.all(0).mean() < right.mean(1).min()


def test_what_a_table_cannot_tell_is_refused():
    images = np.zeros((2, 8, 8, 1), "uint8")
    for names, count, expected in (
        ("", 2, "one or more networks.*Received: \\[\\]"),
        (["all"], 2, "other than all and images"),
        ("a", 0, "at least one image.*\\(0, 8, 8, 1\\)"),
    ):
        networks = {name: linear_network() for name in names}
        with pytest.raises(ValueError, match=expected):
            verification.verification_table(
                {"few": (images[:count], [0] * count)},
                networks,
                dict.fromkeys(names, NORMALIZED),
            )


def test_a_preprocessing_of_no_network_is_refused():
    with pytest.raises(ValueError, match=r"\['other'\]. Received: \['anoth"):
        verification.verification_table({}, {"other": None}, {"another": None})
