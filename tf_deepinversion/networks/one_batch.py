"""A model that several replicas train as one device does."""

import keras
import tensorflow as tf

from tf_deepinversion.networks import replica_checks
from tf_deepinversion.networks.ignored_arguments import refuse_ignored
from tf_deepinversion.networks.split_batches import spread


class OneBatch(keras.Model):
    """A model whose `fit` gives the same result on several replicas as on one.

    A subclass's `train_step` draws random numbers by `transforms.draw_own`,
    adds up the gradients of a mean over the batch of all replicas, and updates
    metrics by `add_to`. Its property `trained` is the trained network.
    """

    def compile(self, *args, **kwargs):
        """As in Keras, with an optimizer that updates at each step."""
        refuse_ignored(super().compile, *args, **kwargs)
        super().compile(*args, **kwargs)
        if getattr(self.optimizer, "gradient_accumulation_steps", None):
            raise ValueError(
                "Each step draws its images by the optimizer's number of "
                "updates, so with `gradient_accumulation_steps` several steps "
                "would draw the same images: leave it out, and use a larger "
                "batch. Received: gradient_accumulation_steps="
                f"{self.optimizer.gradient_accumulation_steps}"
            )

    def fit(self, x=None, *args, **kwargs):
        """Works as in Keras, but no replica reads a `tf.data.Dataset` ahead."""
        refuse_ignored(super().fit, x, *args, **kwargs)
        self.require_replicas()
        if not isinstance(x, tf.data.Dataset):
            replica_checks.require_one_machine(
                self.distribute_strategy,
                "Several machines read the batches of a `tf.data.Dataset`: "
                "pass one that is the same on each.",
            )
        x = spread(x, self.distribute_strategy)
        return super().fit(x, *args, **kwargs)

    def evaluate(self, x=None, *args, **kwargs):
        """As in Keras; batches of a `tf.data.Dataset` are split as in `fit`."""
        refuse_ignored(super().evaluate, x, *args, **kwargs)
        x = spread(x, self.distribute_strategy)
        return super().evaluate(x, *args, **kwargs)

    def train_on_batch(self, *args, **kwargs):
        """Works as in Keras, on one device only."""
        count = self.distribute_strategy.num_replicas_in_sync
        if count > 1:
            raise ValueError(
                "`train_on_batch` passes the whole batch to each replica: use "
                f"`fit` with several replicas. Received: {count} replicas"
            )
        return super().train_on_batch(*args, **kwargs)

    def require_replicas(self):
        """Refuses settings whose result depends on the number of replicas.

        Raises:
            ValueError: if several replicas would give another result.
        """
        replica_checks.require_training(
            self, self.trained, self.distribute_strategy
        )

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Builds the optimizer only: Keras would read a batch ahead."""
        with self.distribute_strategy.scope():
            if self.optimizer is not None and not self.optimizer.built:
                self.optimizer.build(self.trained.trainable_variables)
