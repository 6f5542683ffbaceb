"""The chart of widths shows what it is given."""

import re

import numpy as np

from tf_deepinversion.models import ResNet14
from tf_deepinversion.pruning import ChannelGraph
from tf_deepinversion.pruning import channel_widths
from tf_deepinversion.reports import bars
from tf_deepinversion.reports.charts import KEPT
from tf_deepinversion.reports.charts import WHOLE


def test_bars_are_as_long_as_what_is_left():
    chart = bars({"a": (8, 8), "layer_<b>": (8, 2), "c": (8, 0)}, "a caption")
    found = re.findall(r'width="([\d.]+)"[^>]*fill="([^"]*)"', chart)
    gray = [float(width) for width, color in found if color == WHOLE]
    blue = [float(width) for width, color in found if color == KEPT]
    assert len(gray) == 3 and len(set(gray)) == 1  # all are equally long
    assert [width / gray[0] for width in blue] == [1.0, 0.25, 0.0]
    assert ">layer_&lt;b&gt;<" in chart and ">2 / 8<" in chart


def test_widths_by_layer():
    graph = ChannelGraph(ResNet14((8, 8, 1), 3, width=4))
    keep = np.ones(graph.count, bool)
    keep[[0, 4, 5]] = False
    widths = channel_widths(graph, keep)
    assert widths["stem_conv"] == widths["stage0_block1_b_conv"] == (4, 3)
    assert widths["stage0_block0_a_conv"] == (4, 2)
    assert widths["stage2_block1_a_conv"] == (16, 16)
    assert "logits" not in widths
