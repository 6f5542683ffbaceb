"""Which weights get masks, those of a user's own layers too."""

import warnings

import keras
import numpy as np
import pytest
from keras import layers

from tf_deepinversion.pruning import ConstantSparsity
from tf_deepinversion.pruning import masks_of
from tf_deepinversion.pruning import prune_low_magnitude

HALF = ConstantSparsity(0.5)


class Mixer(layers.Layer):
    """A layer of a user's own, with a weight that no list knows."""

    def build(self, shape):
        self.table = self.add_weight(
            shape=(shape[-1], 4), initializer="random_normal", name="table"
        )
        self.shift = self.add_weight(shape=(4,), name="shift")

    def call(self, x):
        return keras.ops.matmul(x, self.table) + self.shift


def network():
    return keras.Sequential(
        [
            keras.Input((8, 6)),
            layers.DepthwiseConv1D(3, padding="same"),
            Mixer(name="mixer"),
            layers.LSTM(4, name="lstm"),
            layers.Dense(3, name="head"),
        ]
    )


def masked(policy):
    model = network()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prune_low_magnitude(model, HALF, policy)
    return [
        (m.layer.name, m.variable.name)
        for m in masks_of(model)
        if m.layer.name != "lstm_cell"
    ]


OURS = [("mixer", "table")]


@pytest.mark.parametrize(
    "policy",
    [
        [("mixer", "table")],
        ("mixer", "table"),
        [(Mixer, "table")],
        "mixer/table",
        ["mixer/table", ("mixer", "table")],
        lambda layer: ["table"] if layer.name == "mixer" else False,
    ],
)
def test_a_weight_of_ones_own_layer_is_named(policy):
    assert masked(policy) == OURS


def test_beside_what_is_known():
    assert masked(["head", "mixer/table"]) == [*OURS, ("head", "kernel")]
    assert masked([("head", "kernel")]) == [("head", "kernel")]
    model = prune_low_magnitude(network(), HALF, [("lstm", "kernel")])
    assert [m.layer.name for m in masks_of(model)] == ["lstm_cell"]


def test_what_is_left_out_is_said():
    with pytest.warns(
        UserWarning, match="stay dense.*mixer/table'].*polic"
    ) as w:
        model = prune_low_magnitude(network(), HALF)
    assert w[-1].filename == __file__
    assert len(masks_of(model)) == 3
    assert masked(lambda layer: True) == [("head", "kernel")]


def test_a_mask_of_ones_own_layer_is_made_and_held():
    model = prune_low_magnitude(network(), HALF, "mixer/table")
    (mask,) = masks_of(model)
    mask.update(0.5)
    model.compile("sgd", "mse")
    model.train_on_batch(np.ones((2, 8, 6)), np.ones((2, 3)))
    table = keras.ops.convert_to_numpy(model.layers[1].table)
    assert (table == 0).sum() == 12 and model.layers[1].table is mask.variable


def test_what_is_not_there_is_refused():
    with pytest.raises(
        ValueError, match="'mixer'; the model has .*mixer/table"
    ):
        masked("mixer")
    for given in (("mixer", "head", "lstm"), [("mixer", layers.Dense)]):
        with pytest.raises(ValueError, match="names or classes as a list"):
            masked(given)
    with pytest.raises(ValueError, match="do not exist.*'chair'"):
        masked([("mixer", "chair")])
    with pytest.raises(ValueError, match=r"Blocks and m of n.*mixer/shift"):
        prune_low_magnitude(
            network(), HALF, "mixer/shift", sparsity_m_by_n=(2, 4)
        )
