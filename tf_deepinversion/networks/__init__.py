"""Reading a trained network: its logits, statistics and preprocessing."""

from tf_deepinversion.networks.classifier import Classifier
from tf_deepinversion.networks.copies import copy_of
from tf_deepinversion.networks.preprocessing import Preprocessing
