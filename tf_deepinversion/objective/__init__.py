"""The terms of the loss that synthesized images minimize."""

from tf_deepinversion.objective.class_means import ClassMeans
from tf_deepinversion.objective.image_terms import L2
from tf_deepinversion.objective.image_terms import TotalVariation
from tf_deepinversion.objective.softened_kl import SoftenedKL
from tf_deepinversion.objective.student_terms import AgreedDivergence
from tf_deepinversion.objective.student_terms import Competition
from tf_deepinversion.objective.teacher_terms import CrossEntropy
from tf_deepinversion.objective.teacher_terms import FeatureStatistics
from tf_deepinversion.objective.terms import Term
from tf_deepinversion.objective.view import View
