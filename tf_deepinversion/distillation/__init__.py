"""A smaller network from a teacher's answers, without data."""

from tf_deepinversion.distillation._distill import Distilled
from tf_deepinversion.distillation._distill import distill
from tf_deepinversion.distillation._distillation import Distillation
