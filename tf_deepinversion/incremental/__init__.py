"""Learning of new classes without the data of the old classes."""

from tf_deepinversion.incremental import methods
from tf_deepinversion.incremental._learn_task import Learned
from tf_deepinversion.incremental._learn_task import learn_task
from tf_deepinversion.incremental._learn_tasks import LearnedTasks
from tf_deepinversion.incremental._learn_tasks import learn_tasks
from tf_deepinversion.incremental._pooled_features import pooled_features
from tf_deepinversion.incremental._random_features import random_features
from tf_deepinversion.incremental._routed import routed
from tf_deepinversion.incremental._train import train
from tf_deepinversion.incremental.analytic_head import AnalyticHead
from tf_deepinversion.incremental.class_gaussians import ClassGaussians
from tf_deepinversion.incremental.evaluation import average_incremental_accuracy
from tf_deepinversion.incremental.evaluation import forgetting
from tf_deepinversion.incremental.evaluation import seen_accuracies
from tf_deepinversion.incremental.head import Head
from tf_deepinversion.incremental.head import grow_head
from tf_deepinversion.incremental.learner import IncrementalLearner
from tf_deepinversion.incremental.methods import METHODS
from tf_deepinversion.incremental.methods import Step
from tf_deepinversion.incremental.methods import Term
from tf_deepinversion.incremental.methods import View
from tf_deepinversion.incremental.methods import method
from tf_deepinversion.incremental.replay_memory import Memory
from tf_deepinversion.incremental.saved_task import load_task
from tf_deepinversion.incremental.saved_task import save_task
