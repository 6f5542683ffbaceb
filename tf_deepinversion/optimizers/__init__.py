"""Optimizers for images and for students, and learning-rate schedules."""

from tf_deepinversion.optimizers.conv_muon import ConvMuon
from tf_deepinversion.optimizers.pyramid_adam import PyramidAdam
from tf_deepinversion.optimizers.schedules import OPTIMIZERS
from tf_deepinversion.optimizers.schedules import muon
from tf_deepinversion.optimizers.schedules import sgd
from tf_deepinversion.optimizers.schedules import warmed_cosine
