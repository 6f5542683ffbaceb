"""A narrower network keeps the best channels of each group, and no others."""

import keras
import numpy as np
import pytest
from pruned import NORMALIZED
from pruned import POOL
from tiny import SHAPE
from tiny import learned_teacher

from tf_deepinversion.models import ResNet14
from tf_deepinversion.pruning import ChannelGraph
from tf_deepinversion.pruning import mask_channels
from tf_deepinversion.pruning import narrow


def narrowed(model, *args, **kwargs):
    return narrow(
        model, POOL, *args, batch_size=8, preprocessing=NORMALIZED, **kwargs
    )


@pytest.mark.parametrize(("share", "left"), [(0.5, (2, 3)), (0.1, (1, 1))])
def test_each_group_keeps_its_share_of_the_best(share, left):
    teacher = learned_teacher()
    graph = ChannelGraph(teacher)
    numbers = np.random.default_rng(0).permutation(graph.count)
    keep = np.zeros(graph.count, bool)
    for group, count in enumerate(left):  # by sorting, in plain Python
        own = [c for c in range(graph.count) if graph.groups[c] == group]
        keep[sorted(own, key=lambda c: numbers[c])[-count:]] = True
    found = narrowed(
        teacher, share, criterion=lambda *args: numbers.astype(float)
    )
    mask_channels(teacher, keep)
    z = NORMALIZED.normalize(POOL.images)
    np.testing.assert_allclose(found(z), teacher(z), rtol=1e-4, atol=1e-5)
    widths = [x.filters for x in found.layers if hasattr(x, "filters")]
    assert widths == list(left)


def test_fisher_leaves_a_dead_channel_out():
    teacher = learned_teacher()
    convolution = teacher.layers[1]
    kernel, bias = convolution.get_weights()
    batch_norm = teacher.get_layer("bn0")
    gamma, beta, *statistics = batch_norm.get_weights()
    gamma[2] = beta[2] = 0.0  # softplus(0) is not 0, but a constant
    batch_norm.set_weights([gamma, beta, *statistics])
    small = narrowed(teacher, 0.75, ranking_batches=2)
    stays = [0, 1, 3]
    np.testing.assert_array_equal(
        small.layers[1].get_weights()[0], kernel[..., stays]
    )


def test_half_of_a_resnet_is_that_of_half_the_width():
    wide, half = (ResNet14(SHAPE, 3, width=w) for w in (8, 4))
    small = narrow(wide, POOL, criterion="filter_norm")
    assert [v.shape for v in small.weights] == [v.shape for v in half.weights]
    assert small.count_params() == half.count_params()
    assert isinstance(small, keras.Model)


@pytest.mark.parametrize("share", [0, 1, 1.5, -0.1])
def test_bad_shares_are_refused(share):
    with pytest.raises(ValueError, match=f"`share`.*Received: share={share}"):
        narrowed(learned_teacher(), share)
