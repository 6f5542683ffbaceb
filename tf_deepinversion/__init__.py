"""Data-free knowledge transfer from trained Keras classifiers."""

from tf_deepinversion import backend  # before all others
from tf_deepinversion.callbacks import ImageGrid
from tf_deepinversion.callbacks import RefreshPool
from tf_deepinversion.callbacks import Verifier
from tf_deepinversion.conv_muon import ConvMuon
from tf_deepinversion.deep_inversion import DeepInversion
from tf_deepinversion.distill import distill
from tf_deepinversion.distillation import Distillation
from tf_deepinversion.distillation import SoftenedKL
from tf_deepinversion.distillation import augmentations
from tf_deepinversion.fast_inversion import FastInversion
from tf_deepinversion.labels import balanced_labels
from tf_deepinversion.models.pretrained import load_pretrained
from tf_deepinversion.objective import L2
from tf_deepinversion.objective import AgreedDivergence
from tf_deepinversion.objective import Competition
from tf_deepinversion.objective import CrossEntropy
from tf_deepinversion.objective import FeatureStatistics
from tf_deepinversion.objective import TotalVariation
from tf_deepinversion.pool import Pool
from tf_deepinversion.preprocessing import Preprocessing
from tf_deepinversion.pyramid_adam import PyramidAdam
from tf_deepinversion.recipes import RECIPES
from tf_deepinversion.synthesis import synthesize
from tf_deepinversion.transforms import HorizontalFlip
from tf_deepinversion.transforms import Jitter
from tf_deepinversion.transforms import MixUp
from tf_deepinversion.transforms import Shift
from tf_deepinversion.transforms import Tone
from tf_deepinversion.version import __version__
from tf_deepinversion.warps import Affine
from tf_deepinversion.warps import ResizedCrop
