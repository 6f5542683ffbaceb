"""The picture of widths shows what it is given."""

import numpy as np

from tf_deepinversion.models import ResNet14
from tf_deepinversion.pruning import ChannelGraph
from tf_deepinversion.pruning import channel_widths
from tf_deepinversion.reports import widths_picture
from tf_deepinversion.reports.charts import KEPT
from tf_deepinversion.reports.charts import WHOLE


def test_bars_are_as_long_as_what_is_left():
    picture = widths_picture({"a": (8, 8), "layer_b": (8, 2), "c": (8, 0)})
    blue = (picture == KEPT).all(-1).sum(1)
    gray = (picture == WHOLE).all(-1).sum(1)
    rows = np.flatnonzero(blue + gray)
    whole = (blue + gray)[rows]
    assert len(set(whole)) == 1  # all bars are equally long
    assert set(blue[rows] / whole[0]) == {1.0, 0.25, 0.0}


def test_widths_by_layer():
    graph = ChannelGraph(ResNet14((8, 8, 1), 3, width=4))
    keep = np.ones(graph.count, bool)
    keep[[0, 4, 5]] = False
    widths = channel_widths(graph, keep)
    assert widths["stem_conv"] == widths["stage0_block1_b_conv"] == (4, 3)
    assert widths["stage0_block0_a_conv"] == (4, 2)
    assert widths["stage2_block1_a_conv"] == (16, 16)
    assert "logits" not in widths
