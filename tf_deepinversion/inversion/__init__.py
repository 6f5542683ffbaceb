"""Synthesis of images from a trained network."""

from tf_deepinversion.inversion._make_synthesizer import make_synthesizer
from tf_deepinversion.inversion._plan_batches import BatchesPlan
from tf_deepinversion.inversion._plan_batches import plan_batches
from tf_deepinversion.inversion._synthesize import synthesize
from tf_deepinversion.inversion._synthesize_batches import synthesize_batches
from tf_deepinversion.inversion._synthesize_on_ray import synthesize_on_ray
from tf_deepinversion.inversion.deep_inversion import DeepInversion
from tf_deepinversion.inversion.fast_inversion import FastInversion
from tf_deepinversion.inversion.generator_training import GeneratorTraining
from tf_deepinversion.inversion.given_images import GivenImages
from tf_deepinversion.inversion.recipe import Recipe
from tf_deepinversion.inversion.recipes import RECIPES
from tf_deepinversion.inversion.stage import Stage
from tf_deepinversion.inversion.starts import DeadLeaves
from tf_deepinversion.inversion.starts import Noise
from tf_deepinversion.inversion.starts import Start
from tf_deepinversion.inversion.synthesizer import Synthesizer
