"""Removal of channels: the same architecture with fewer channels."""

from tf_deepinversion.pruning.channels._shrink import dead_channels
from tf_deepinversion.pruning.channels._shrink import mask_channels
from tf_deepinversion.pruning.channels._shrink import shrink
from tf_deepinversion.pruning.channels.cost import channel_widths
from tf_deepinversion.pruning.channels.graph import ChannelGraph
from tf_deepinversion.pruning.channels.latency import LatencyTable
from tf_deepinversion.pruning.channels.traced_flops import count_flops
from tf_deepinversion.pruning.channels.traced_flops import flops_of_model
