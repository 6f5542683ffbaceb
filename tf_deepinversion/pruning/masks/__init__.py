"""Pruning of single weights by masks of magnitude."""

from tf_deepinversion.pruning.masks.magnitude import masks_of
from tf_deepinversion.pruning.masks.magnitude import prune_low_magnitude
from tf_deepinversion.pruning.masks.magnitude import strip_pruning
from tf_deepinversion.pruning.masks.mask_file import load_masks
from tf_deepinversion.pruning.masks.mask_file import save_masks
from tf_deepinversion.pruning.masks.schedule import ConstantSparsity
from tf_deepinversion.pruning.masks.schedule import PolynomialDecay
from tf_deepinversion.pruning.masks.update_pruning_step import UpdatePruningStep
