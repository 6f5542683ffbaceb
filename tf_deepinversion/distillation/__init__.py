"""Training of a smaller network with a teacher's outputs, without data."""

from tf_deepinversion.distillation._distill import distill
from tf_deepinversion.distillation._distillation import Distillation
from tf_deepinversion.distillation.distilled import Distilled
