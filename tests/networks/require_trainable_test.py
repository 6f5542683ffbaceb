"""What is said of networks that cannot learn, or not with all layers."""

import keras
import numpy as np
import pytest
from keras import layers

import tf_deepinversion as di
from tf_deepinversion.incremental.check_tasks import check_pair
from tf_deepinversion.networks.require_trainable import warn_of_frozen


@pytest.mark.usefixtures("warnings_fail")
def test_frozen_layers_are_told_once():
    base = keras.Sequential(
        [keras.Input((4, 4, 1)), layers.Conv2D(2, 3), layers.Conv2D(2, 1)]
    )
    model = keras.Sequential(
        [base, layers.GlobalAveragePooling2D(), layers.Dense(3)]
    )
    warn_of_frozen(model)  # a warning would fail
    base.trainable = False
    with pytest.warns(UserWarning, match="^2 of the 3 layers with a kernel"):
        warn_of_frozen(model)
    warn_of_frozen(model)


def partly_frozen(classes):
    base = keras.Sequential([keras.Input((4, 4, 1)), layers.Conv2D(2, 3)])
    base.trainable = False
    return keras.Sequential(
        [base, layers.GlobalAveragePooling2D(), layers.Dense(classes)]
    )


def test_a_student_and_a_network_that_learns_are_told_of():
    images = np.random.default_rng(0).integers(0, 256, (8, 4, 4, 1), "uint8")
    with pytest.warns(UserWarning, match="^1 of the 2 layers with a kernel"):
        di.distill(
            partly_frozen(3),
            partly_frozen(3),
            (images, np.zeros(8, int)),
            rounds=1,
            steps_per_round=1,
            batch_size=4,
            preprocessing=di.Preprocessing(127, 70, (-1, 1)),
            verbose=0,
        )
    with pytest.warns(UserWarning, match="^1 of the 2 layers with a kernel"):
        check_pair(partly_frozen(3), partly_frozen(5), 3, 5)


@pytest.fixture
def warnings_fail(recwarn):
    yield
    assert not recwarn.list
