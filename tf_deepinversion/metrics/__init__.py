"""Measures of synthesized images and of students, on pixels as saved."""

from tf_deepinversion.metrics.diversity import alike
from tf_deepinversion.metrics.diversity import effective_classes
from tf_deepinversion.metrics.diversity import within_class_spread
from tf_deepinversion.metrics.image_sets import FrechetDistance
from tf_deepinversion.metrics.image_sets import InceptionScore
from tf_deepinversion.metrics.image_sets import precision_and_recall
from tf_deepinversion.metrics.recognition import accuracy
from tf_deepinversion.metrics.recognition import agreement
from tf_deepinversion.metrics.recognition import confusion
from tf_deepinversion.metrics.recognition import divergence
from tf_deepinversion.metrics.recognition import feature_distance
from tf_deepinversion.metrics.verification import verification_table
from tf_deepinversion.networks.reader import penultimate_features
