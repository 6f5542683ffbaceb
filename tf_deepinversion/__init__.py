"""Data-free knowledge transfer from trained Keras classifiers."""

from tf_deepinversion.deep_inversion import DeepInversion
from tf_deepinversion.preprocessing import Preprocessing
