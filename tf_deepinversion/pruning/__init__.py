"""Pruning of Keras models: masks of weights, and removal of channels."""

from tf_deepinversion.pruning._narrow import narrow
from tf_deepinversion.pruning._prune import Pruned
from tf_deepinversion.pruning._prune import prune
from tf_deepinversion.pruning._shorten import shorten
from tf_deepinversion.pruning._sparsify import Sparsified
from tf_deepinversion.pruning._sparsify import sparsify
from tf_deepinversion.pruning.channels._shrink import dead_channels
from tf_deepinversion.pruning.channels._shrink import mask_channels
from tf_deepinversion.pruning.channels._shrink import shrink
from tf_deepinversion.pruning.channels.cost import channel_widths
from tf_deepinversion.pruning.channels.graph import ChannelGraph
from tf_deepinversion.pruning.channels.latency import LatencyTable
from tf_deepinversion.pruning.channels.latency import compare_latency
from tf_deepinversion.pruning.channels.traced_flops import count_flops
from tf_deepinversion.pruning.channels.traced_flops import flops_of_model
from tf_deepinversion.pruning.masks.magnitude import masks_of
from tf_deepinversion.pruning.masks.magnitude import prune_low_magnitude
from tf_deepinversion.pruning.masks.magnitude import strip_pruning
from tf_deepinversion.pruning.masks.mask_file import load_masks
from tf_deepinversion.pruning.masks.mask_file import save_masks
from tf_deepinversion.pruning.masks.schedule import ConstantSparsity
from tf_deepinversion.pruning.masks.schedule import PolynomialDecay
from tf_deepinversion.pruning.masks.update_pruning_step import UpdatePruningStep
from tf_deepinversion.pruning.recovery import recover
