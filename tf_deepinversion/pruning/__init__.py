"""Pruning of Keras 3 models: masks of weights, and networks made smaller."""

from tf_deepinversion.pruning.flops import count_flops
from tf_deepinversion.pruning.flops import flops_of_model
from tf_deepinversion.pruning.graph import ChannelGraph
from tf_deepinversion.pruning.iterative import prune
from tf_deepinversion.pruning.latency import LatencyTable
from tf_deepinversion.pruning.magnitude import masks_of
from tf_deepinversion.pruning.magnitude import prune_low_magnitude
from tf_deepinversion.pruning.magnitude import strip_pruning
from tf_deepinversion.pruning.mask_file import load_masks
from tf_deepinversion.pruning.mask_file import save_masks
from tf_deepinversion.pruning.recovery import recover
from tf_deepinversion.pruning.schedule import ConstantSparsity
from tf_deepinversion.pruning.schedule import PolynomialDecay
from tf_deepinversion.pruning.shrink import dead_channels
from tf_deepinversion.pruning.shrink import mask_channels
from tf_deepinversion.pruning.shrink import shrink
from tf_deepinversion.pruning.sparsify import sparsify
from tf_deepinversion.pruning.update_pruning_step import UpdatePruningStep
from tf_deepinversion.pruning.widths import channel_widths
from tf_deepinversion.pruning.widths import widths_picture
