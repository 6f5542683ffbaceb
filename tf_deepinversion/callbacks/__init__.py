"""Keras callbacks that watch an inversion, or feed and save a training."""

from tf_deepinversion.callbacks.image_grid import ImageGrid
from tf_deepinversion.callbacks.refresh_pool import RefreshPool
from tf_deepinversion.callbacks.require_finite import RequireFinite
from tf_deepinversion.callbacks.stopwatch import Stopwatch
from tf_deepinversion.callbacks.training_state import TrainingState
from tf_deepinversion.callbacks.verifier import Verifier
