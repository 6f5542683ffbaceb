"""The choice of widths within a budget, against every other choice."""

import itertools

import keras
import numpy as np
import pytest
from keras import layers
from pruned import chain
from pruned import conv
from pruned import pooled_head

from tf_deepinversion.pruning import ChannelGraph
from tf_deepinversion.pruning import LatencyTable
from tf_deepinversion.pruning.channels import cost
from tf_deepinversion.pruning.channels.knapsack import _widened
from tf_deepinversion.pruning.channels.knapsack import knapsack
from tf_deepinversion.pruning.channels.knapsack import tried_widths
from tf_deepinversion.pruning.channels.knapsack import widths_within
from tf_deepinversion.pruning.channels.knapsack import worth_of


def best_of_all(worth, seconds, limit):
    """Returns the largest importance of any choice of widths."""
    return max(
        sum(each[w] for each, w in zip(worth, widths, strict=True))
        for widths in itertools.product(*worth)
        if seconds(widths) <= limit
    )


def case(seed, coupled):
    """Four groups in blocks of two channels, and a random cost of blocks.

    The cost is a sum over groups, or over pairs of neighbors whose blocks
    multiply, as in convolutions.
    """
    random = np.random.default_rng(seed)
    counts = random.integers(2, 11, 4)
    worth = [worth_of(-np.sort(-random.gamma(0.5, size=n)), 2) for n in counts]
    price = random.uniform(0.2, 2, 5)

    def seconds(widths):
        blocks = np.ceil(np.array(widths) / random_block)
        pairs = np.append(1, blocks) * np.append(blocks, 1)
        return float(price @ pairs if coupled else price[:4] @ blocks)

    random_block = random.integers(1, 5, 4)
    limit = random.uniform(0.4, 0.9) * seconds(counts)
    return worth, seconds, limit


@pytest.mark.parametrize("coupled", [False, True])
def test_the_choice_is_nearly_the_best_of_all(coupled):
    shares = []
    for seed in range(200):
        worth, seconds, limit = case(seed, coupled)
        widths = widths_within(worth, seconds, limit)
        if widths is None:
            assert seconds([min(each) for each in worth]) > limit
            continue
        assert seconds(widths) <= limit
        found = sum(e[w] for e, w in zip(worth, widths, strict=True))
        shares.append(found / best_of_all(worth, seconds, limit))
    assert len(shares) > 150 and max(shares) < 1 + 1e-9
    # The greedy choice is the best of all in 94 % of the cases or more.
    assert np.mean(np.array(shares) > 1 - 1e-9) > 0.94
    assert np.mean(shares) > 0.999 and min(shares) > 0.95


def test_what_fits_comes_back_at_once_not_step_by_step():
    """Two steps of the first group are worth more than one of the second."""
    worth = [{1: 0.0, 2: 1.0, 3: 10.0}, {1: 0.0, 2: 5.0}]
    assert _widened(worth, [1, 1], sum, limit=4) == [3, 1]
    assert _widened(worth, [1, 1], sum, limit=3) == [1, 2]


def test_of_many_widths_the_nearest_are_tried_and_the_last():
    assert tried_widths([]) == []
    assert tried_widths([3]) == [3]
    assert tried_widths(list(range(1, 17))) == list(range(16, 0, -1))
    tried = tried_widths(list(range(1, 2049)))
    assert tried[:16] == list(range(2048, 2032, -1)) and tried[-1] == 1
    assert len(tried) < 64 and tried == sorted(set(tried), reverse=True)


def network():
    """Two groups, of 6 and of 8 channels, and the channels of each."""
    graph = ChannelGraph(chain(conv(6), conv(8), *pooled_head()))
    return graph, [np.flatnonzero(graph.groups == g) for g in (0, 1)]


def test_each_group_keeps_its_most_important_channels():
    graph, (first, second) = network()
    scores = np.ones(graph.count)  # of equal channels the earlier stay
    scores[first] = [1, 6, 2, 5, 3, 4]
    limit = 0.4 * cost.flops(graph)
    keep = knapsack(graph, scores, cost.flops, limit, multiple_of=2)
    assert cost.flops(graph, keep) <= limit
    for own in first, second:
        width = keep[own].sum()
        assert width % 2 == 0 and width >= 2
        ranked = own[np.argsort(-scores[own], kind="stable")]
        assert keep[ranked[:width]].all()


def test_no_channel_goes_where_nothing_is_saved():
    """A kernel computes 6 channels as 8: all stay, unimportant as they are."""
    graph, (first, second) = network()
    scores = np.full(graph.count, 1.0)
    scores[first] = 1e-6

    def seconds(graph, keep=None):
        keep = np.ones(graph.count, bool) if keep is None else keep
        return np.ceil(keep[first].sum() / 8) + np.ceil(keep[second].sum() / 4)

    keep = knapsack(graph, scores, seconds, 2)
    assert keep[first].all() and keep[second].sum() == 4


def test_a_channel_of_two_layers_counts_twice():
    inputs = keras.Input((8, 8, 2))
    x = conv(4)(inputs)
    x = layers.Add()([x, conv(4)(conv(4, name="inner")(x))])
    for layer in pooled_head():
        x = layer(x)
    graph = ChannelGraph(keras.Model(inputs, x))
    inner = graph.outputs[graph.model.get_layer("inner")]

    def count(graph, keep=None):
        return graph.count if keep is None else keep.sum()

    scores = np.full(graph.count, 2.0)
    scores[inner] = 3  # a channel of the stream is worth 2 + 2
    keep = knapsack(graph, scores, count, 6)
    assert keep[inner].sum() == 2 and keep.sum() == 6


def test_channels_of_infinite_importance_stay():
    graph, (first, second) = network()
    scores = np.ones(graph.count)
    scores[first[2:5]] = np.inf
    limit = cost.parameters(graph) * 0.5
    keep = knapsack(graph, scores, cost.parameters, limit, multiple_of=2)
    assert keep[first[2:5]].all() and keep[first].sum() == 4
    scores[second] = np.inf
    with pytest.raises(ValueError, match="cannot be reached.*at least 2"):
        knapsack(graph, scores, cost.parameters, limit, multiple_of=2)


def test_a_table_in_steps_adds_up_to_the_whole_network():
    graph, _ = network()
    made = []

    def run(layer, shape):
        width = getattr(layer, "filters", None) or layer.units
        made.append((shape[-1], width))
        return lambda: float(shape[-1] * width)

    table = LatencyTable.measure(
        graph, levels=8, step=4, timer=lambda call: call(), run=run, whole=100
    )
    images, classes = graph.model.input_shape[-1], graph.model.output_shape[-1]
    first = [(images, 4), (images, 6)]
    second = [(i, o) for i in (4, 6) for o in (4, 8)]
    assert made == [*first, *second, (4, classes), (8, classes)]
    assert table(graph) == 100
    keep = np.ones(graph.count, bool)
    keep[-4:] = False  # of the second group
    saved = 6 * 4 + 4 * classes
    assert table(graph, keep) == pytest.approx(100 - saved)
