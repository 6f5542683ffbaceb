"""New classes for a trained network, without the data of the old ones."""

from tf_deepinversion.incremental.data import epochs_of
from tf_deepinversion.incremental.evaluation import accuracy_picture
from tf_deepinversion.incremental.evaluation import average_incremental_accuracy
from tf_deepinversion.incremental.evaluation import forgetting
from tf_deepinversion.incremental.evaluation import seen_accuracies
from tf_deepinversion.incremental.head import Head
from tf_deepinversion.incremental.head import grow_head
from tf_deepinversion.incremental.learner import IncrementalLearner
from tf_deepinversion.incremental.memory import Memory
from tf_deepinversion.incremental.methods import METHODS
from tf_deepinversion.incremental.methods import Step
from tf_deepinversion.incremental.methods import Term
from tf_deepinversion.incremental.methods import View
from tf_deepinversion.incremental.methods import method
from tf_deepinversion.incremental.task import learn_task
from tf_deepinversion.incremental.task_state import load_task
from tf_deepinversion.incremental.task_state import save_task
from tf_deepinversion.incremental.tasks import learn_tasks
from tf_deepinversion.incremental.training import train
