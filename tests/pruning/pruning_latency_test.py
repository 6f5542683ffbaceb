"""A table of latencies adds up all calls of all layers, by unique names."""

import keras
import numpy as np
import pytest
from keras import layers
from pruned import chain
from pruned import conv
from pruned import pooled_head
from pruned import random_keep

from tf_deepinversion.pruning import ChannelGraph
from tf_deepinversion.pruning import LatencyTable
from tf_deepinversion.pruning import channel_widths
from tf_deepinversion.pruning import shrink


def size(call):
    """As if a layer took as long as its output has numbers."""
    return float(call().size)


def one(call):
    return 1.0


def named_alike():
    """Two blocks that both hold a layer `conv`, of 4 and of 8 channels."""
    blocks = [
        keras.Sequential(
            [keras.Input((8, 8, i)), conv(o, name="conv")], name=name
        )
        for i, o, name in [(2, 4, "first"), (4, 8, "second")]
    ]
    pool, head = pooled_head()
    head = layers.Dense(3, name="head")
    return chain(*blocks, pool, head)


def shared():
    inputs = keras.Input((8, 8, 2))
    again = conv(4)
    x = again(again(again(conv(4)(inputs))))
    head = layers.Dense(3)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, head)


def test_each_call_of_a_layer_counts():
    graph = ChannelGraph(shared())
    assert LatencyTable.measure(graph, timer=one)(graph) == 5.0
    table = LatencyTable.measure(graph, timer=size)
    keep = np.array([True, False, True, True])
    for width, kept in (4, None), (3, keep):
        assert table(graph, kept) == 4 * 64 * width + 3


def test_calls_at_other_sizes_take_their_own_time():
    inputs = keras.Input((8, 8, 2))
    both = conv(4)
    x = both(conv(4)(inputs))
    y = both(layers.AveragePooling2D(2)(x))
    pooled = [layers.GlobalAveragePooling2D()(each) for each in (x, y)]
    head = layers.Dense(3)(layers.Add()(pooled))
    graph = ChannelGraph(keras.Model(inputs, head))
    table = LatencyTable.measure(graph, timer=size)
    assert table(graph) == 2 * 64 * 4 + 16 * 4 + 3


def test_layers_of_equal_name_have_entries_of_their_own(tmp_path):
    model = named_alike()
    graph = ChannelGraph(model)
    table = LatencyTable.measure(graph, timer=size)
    assert list(table.entries) == ["first/conv", "second/conv", "head"]
    table.save(tmp_path / "table.json")
    table = LatencyTable.load(tmp_path / "table.json")
    assert table(graph) == 64 * (4 + 8) + 3
    keep = np.ones(graph.count, bool)
    keep[[0, 4, 5]] = False
    assert table(graph, keep) == 64 * (3 + 6) + 3
    # A round of `prune` asks for the cost of the smaller network.
    smaller = ChannelGraph(shrink(model, keep))
    assert table(smaller) == 64 * (3 + 6) + 3


def test_widths_of_layers_of_equal_name():
    graph = ChannelGraph(named_alike())
    keep = np.ones(graph.count, bool)
    keep[[0, 4, 5]] = False
    expected = {"first/conv": (4, 3), "second/conv": (8, 6)}
    assert channel_widths(graph, keep) == expected


def test_layers_that_keep_their_width_take_their_time():
    """A depthwise convolution of the image, and a grouped convolution."""
    stack = (
        layers.DepthwiseConv2D(3, depth_multiplier=3, padding="same"),
        conv(4),
        conv(6, groups=2),
        conv(5),
    )
    graph = ChannelGraph(chain(*stack, *pooled_head()))
    assert graph.count == 5
    table = LatencyTable.measure(graph, levels=5, timer=size)
    fixed = 64 * (6 + 4 + 6) + 3
    assert table(graph) == fixed + 64 * 5
    keep = random_keep(graph)
    assert keep.sum() < 5
    assert table(graph, keep) == fixed + 64 * keep.sum()


def test_a_table_of_another_network_is_refused():
    graph = ChannelGraph(named_alike())
    table = LatencyTable({"conv": {"inputs": [4], "outputs": [4]}})
    with pytest.raises(
        ValueError, match="LatencyTable.measure.*no entry for .*first/conv"
    ):
        table(graph)


def test_a_table_of_a_narrower_network_is_refused():
    def network(width, shape=(8, 8, 2)):
        pool, head = layers.GlobalAveragePooling2D(), layers.Dense(3, name="d")
        return chain(conv(width, name="conv"), pool, head, shape=shape)

    def table(graph):
        return LatencyTable.measure(graph, timer=size)

    narrow, wide = (ChannelGraph(network(width)) for width in (4, 6))
    assert table(wide)(narrow) == 64 * 4 + 3
    with pytest.raises(
        ValueError, match="of 2 inputs and 6 outputs, and a table up to 2 and 4"
    ):
        table(narrow)(wide)
    gray = ChannelGraph(network(4, (8, 8, 1)))
    with pytest.raises(ValueError, match="of 2 inputs and 4 .* up to 1 and 4"):
        table(gray)(narrow)
