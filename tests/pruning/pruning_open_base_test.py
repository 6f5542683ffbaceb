"""Bases of open image size, in a model that fixes the size of its images."""

import keras
import numpy as np
import pytest
from keras import layers
from pruned import POOL
from pruned import chain
from pruned import conv
from pruned import pooled_head
from pruned import random_keep
from pruned import randomized

from tf_deepinversion import Preprocessing
from tf_deepinversion.pruning import ChannelGraph
from tf_deepinversion.pruning import LatencyTable
from tf_deepinversion.pruning import flops_of_model
from tf_deepinversion.pruning import mask_channels
from tf_deepinversion.pruning import narrow
from tf_deepinversion.pruning import prune
from tf_deepinversion.pruning import shrink
from tf_deepinversion.pruning.channels.cost import flops

OPEN = (None, None)


def squeezed(x):
    """As in EfficientNet: the means of channels weigh the channels."""
    y = layers.GlobalAveragePooling2D()(x)
    y = layers.Reshape((1, 1, x.shape[-1]))(y)
    y = conv(x.shape[-1], 1, activation="sigmoid")(y)
    return layers.Multiply()([x, y])


def base(channels=2):
    x = inputs = keras.Input((*OPEN, channels))
    x = layers.BatchNormalization()(conv(6, strides=2)(x))
    x = squeezed(layers.ReLU()(x))
    x = x + conv(6)(layers.DepthwiseConv2D(3, padding="same")(x))
    x = layers.Conv2DTranspose(5, 3, strides=2)(x)
    return keras.Model(inputs, x, name="base")


def alone():
    return chain(base(), *pooled_head())


def within_a_base():
    """The base in a sequential model, both of open size."""
    middle = keras.Sequential(
        [keras.Input((*OPEN, 2)), conv(2), base(), conv(4)], name="middle"
    )
    return chain(conv(2, strides=2), middle, *pooled_head())


def called_at_two_sizes():
    inputs = keras.Input((8, 8, 2))
    shared, pool = base(), layers.GlobalAveragePooling2D()
    x = shared(inputs), shared(layers.AveragePooling2D(2)(inputs))
    x = layers.Concatenate()([pool(each) for each in x])
    return keras.Model(inputs, layers.Dense(3)(x))


def size(call):
    return float(call().size)


@pytest.mark.parametrize("build", [alone, within_a_base, called_at_two_sizes])
def test_costs_are_those_of_the_traced_network(build):
    model = randomized(build())
    graph = ChannelGraph(model)
    assert flops(graph) == flops_of_model(model)
    keep = random_keep(graph)
    smaller = shrink(model, keep)
    assert flops(graph, keep) == flops_of_model(smaller)
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 2))
    masked = mask_channels(model, keep)
    np.testing.assert_allclose(smaller(images), masked(images), atol=1e-5)


def test_layers_are_measured_at_the_sizes_of_their_calls():
    graph = ChannelGraph(called_at_two_sizes())
    table = LatencyTable.measure(graph, timer=size)
    # Of 4 x 4 and 2 x 2 positions; the transposed convolution adds one.
    places = 16 + 4
    squeeze = 2 * 6
    expected = places * 3 * 6 + squeeze + (9 * 9 + 5 * 5) * 5 + 3
    assert table(graph) == expected


def test_such_networks_are_pruned_and_narrowed():
    model = chain(base(1), *pooled_head(), shape=(8, 8, 1))
    fed = Preprocessing(127.5, 64.0, "normalized")
    kwargs = {"preprocessing": fed, "criterion": "filter_norm"}
    half = narrow(model, POOL, 0.5, **kwargs)
    assert half.get_layer("base").layers[1].filters == 3
    kwargs |= {"rounds": 1, "final_steps": 1, "batch_size": 8, "verbose": 0}
    found = prune(model, POOL, target=0.5, **kwargs)
    left = flops_of_model(found.student) / flops_of_model(model)
    assert found.costs == [left] and left <= 0.5
    assert found.student.input_shape == (None, 8, 8, 1)
    assert found.student.get_layer("base").input_shape == (None, None, None, 1)


def test_a_base_sees_features_of_another_size_than_the_images():
    inner = base(1)
    x = inputs = keras.Input((*OPEN, 1))
    x = layers.AveragePooling2D(2)(x)
    for layer in [inner, *pooled_head()]:
        x = layer(x)
    model = keras.Model(inputs, x)
    fed = Preprocessing(127.5, 64.0, "normalized")
    kwargs = {"rounds": 1, "final_steps": 1, "batch_size": 8, "verbose": 0}
    found = prune(
        model,
        POOL,
        target=0.5,
        preprocessing=fed,
        criterion="filter_norm",
        **kwargs,
    )
    assert found.student.input_shape == (None, None, None, 1)
    assert found.student.count_params() < model.count_params()


@pytest.mark.slow
def test_transfer_learning_as_it_is_written():
    applied = keras.applications.MobileNetV2(include_top=False, weights=None)
    model = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            applied,
            layers.GlobalAveragePooling2D(),
            layers.Dense(3),
        ]
    )
    assert flops(ChannelGraph(model)) == flops_of_model(model)
