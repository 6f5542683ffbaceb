"""Reading a trained network: its logits, statistics and preprocessing."""

from tf_deepinversion.networks._check_preprocessing import check_preprocessing
from tf_deepinversion.networks.classifier import Classifier
from tf_deepinversion.networks.copies import copy_of
from tf_deepinversion.networks.feature_targets import FeatureTargets
from tf_deepinversion.networks.layer_statistics import LayerStatistics
from tf_deepinversion.networks.preprocessing import Preprocessing
from tf_deepinversion.networks.replace_statistics import restated
