"""What is said of networks that cannot learn, or not with all layers."""

import keras
import pytest
from keras import layers

from tf_deepinversion.networks.require_trainable import require_trainable


def test_frozen_layers_are_told_once():
    base = keras.Sequential(
        [keras.Input((4, 4, 1)), layers.Conv2D(2, 3), layers.Conv2D(2, 1)]
    )
    model = keras.Sequential(
        [base, layers.GlobalAveragePooling2D(), layers.Dense(3)]
    )
    other = keras.Sequential([keras.Input((2,)), layers.Dense(1)])
    require_trainable(model, other)  # a warning would fail
    base.trainable = False
    with pytest.warns(UserWarning, match="^2 of the 3 layers with a kernel"):
        require_trainable(model, other)
    require_trainable(model, other)


@pytest.fixture(autouse=True)
def warnings_fail(recwarn):
    yield
    assert not recwarn.list
