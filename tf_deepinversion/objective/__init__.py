"""The terms of the loss that synthesized images minimize."""

from tf_deepinversion.objective.softened_kl import SoftenedKL
from tf_deepinversion.objective.terms import L2
from tf_deepinversion.objective.terms import AgreedDivergence
from tf_deepinversion.objective.terms import Competition
from tf_deepinversion.objective.terms import CrossEntropy
from tf_deepinversion.objective.terms import FeatureStatistics
from tf_deepinversion.objective.terms import Term
from tf_deepinversion.objective.terms import TotalVariation
from tf_deepinversion.objective.view import View
