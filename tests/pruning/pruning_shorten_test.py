"""Residual blocks are left out, as if the network was built without them."""

import keras
import numpy as np
import pytest
from keras import layers

from tf_deepinversion import Preprocessing
from tf_deepinversion.pruning import narrow
from tf_deepinversion.pruning import shorten
from tf_deepinversion.pruning._shorten import residual_sums

FED = Preprocessing(127.5, 50.0, (0, 1))
IMAGES = np.random.default_rng(0).integers(0, 256, (24, 8, 8, 1), "uint8")
PAIR = IMAGES, np.zeros(24, "int32")


def network(branches, operator=False, seed=0):
    """A network of blocks x + scale x conv(x), by names and scales."""
    keras.utils.set_random_seed(seed)
    x = inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(4, 3, padding="same", name="stem")(x)
    for name, scale in branches.items():
        y = layers.Conv2D(4, 3, padding="same", name=f"conv_{name}")(x)
        y = layers.Rescaling(scale, name=f"scale_{name}")(y)
        x = x + y if operator else layers.Add(name=f"add_{name}")([y, x])
        x = layers.ReLU(name=f"relu_{name}")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(3, name="head")(x), name="mine")


@pytest.mark.parametrize("operator", [False, True])
def test_the_blocks_that_change_least_are_left_out(operator):
    whole = network({"a": 1.0, "b": 0.01, "c": 1.0, "d": 0.1}, operator)
    found = shorten(
        whole, PAIR, 2, preprocessing=FED, batch_size=12, ranking_batches=2
    )
    names = [layer.name for layer in found.layers]
    assert "conv_a" in names and "conv_c" in names
    assert not {"conv_b", "scale_b", "conv_d", "scale_d"} & set(names)
    # The same network, built without the two.
    expected = network({"a": 1.0, "c": 1.0}, operator, seed=1)
    for layer in expected.layers:
        if layer.weights:
            layer.set_weights(whole.get_layer(layer.name).get_weights())
    inputs = np.random.default_rng(1).random((5, 8, 8, 1), "float32")
    # The activations of the blocks that are left out stay; a ReLU of a ReLU's
    # outputs changes nothing.
    np.testing.assert_allclose(found(inputs), expected(inputs), atol=1e-6)
    assert whole.get_layer("conv_b") is not None


def test_it_can_be_made_narrower_and_saved(tmp_path):
    whole = network({"a": 1.0, "b": 0.5})
    found = shorten(whole, PAIR, preprocessing=FED, batch_size=12)
    found = narrow(found, PAIR, 0.5, preprocessing=FED, criterion="filter_norm")
    assert found.get_layer("stem").filters == 2
    found.save(tmp_path / "network.keras")
    again = keras.models.load_model(tmp_path / "network.keras")
    inputs = np.random.default_rng(1).random((5, 8, 8, 1), "float32")
    np.testing.assert_array_equal(again(inputs), found(inputs))


def test_which_sums_are_of_residual_blocks():
    x = inputs = keras.Input((8, 8, 3))
    a = layers.Conv2D(3, 1, name="a")(x)
    b = layers.Conv2D(3, 1, name="b")(x)
    beside = layers.Add(name="beside")([a, b])  # neither depends on the other
    shared = layers.Add(name="shared")
    y = shared([beside, layers.ReLU()(beside)])
    y = shared([y, layers.ReLU()(y)])
    one = layers.Add(name="one")([y, layers.Conv2D(3, 1)(y)])
    small = layers.Conv2D(1, 1)(one)
    wide = layers.Add(name="wide")([one, small])  # of two shapes
    model = keras.Model(inputs, layers.GlobalAveragePooling2D()(wide))
    assert {k.name: v for k, v in residual_sums(model).items()} == {"one": 0}


def test_a_block_within_one_that_is_left_out_counts_no_more():
    x = inputs = keras.Input((8, 8, 1))
    x = stem = layers.Conv2D(4, 3, padding="same")(x)

    def block(x, name, scale):
        y = layers.Conv2D(4, 3, padding="same")(x)
        y = layers.Rescaling(scale)(y)
        return layers.Add(name=name)([x, y])

    inner = block(block(x, "first", 1.0), "second", 1.0)
    x = layers.Add(name="long")([stem, layers.Rescaling(1e-3)(inner)])
    x = layers.GlobalAveragePooling2D()(block(x, "last", 1.0))
    whole = keras.Model(inputs, layers.Dense(3)(x), name="mine")

    def left(blocks):
        found = shorten(whole, PAIR, blocks, preprocessing=FED, batch_size=12)
        return [x.name for x in found.layers if isinstance(x, layers.Add)]

    assert left(1) == ["last"]
    assert left(2) == []
    with pytest.raises(ValueError, match="blocks after 2,.*blocks=3"):
        left(3)


@pytest.mark.parametrize(
    ("blocks", "message"),
    [(3, "2 residual blocks.*blocks=3"), (0, "blocks=0")],
)
def test_more_blocks_than_there_are(blocks, message):
    with pytest.raises(ValueError, match=message):
        shorten(network({"a": 1, "b": 1}), PAIR, blocks, preprocessing=FED)
