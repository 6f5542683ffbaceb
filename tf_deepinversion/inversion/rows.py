"""The assignment of a batch's rows to the replicas of a strategy."""

import numpy as np
import tensorflow as tf


class Rows:
    """Of n images, replica r of R holds the rows r n/R to (r + 1) n/R.

    TensorFlow takes a variable of rows for a mirrored variable, which has equal
    values on all replicas. Here every replica holds its own rows in it. No
    method copies the rows of one replica to another.

    Args:
        strategy: A `tf.distribute.Strategy`.
    """

    def __init__(self, strategy):
        self.strategy = strategy
        self.replicas = strategy.num_replicas_in_sync

    def own(self, tensor):
        """Returns this replica's rows of a batch; call it within a replica."""
        if self.replicas == 1:
            return tf.convert_to_tensor(tensor)
        context = tf.distribute.get_replica_context()
        count = tensor.shape[0] // self.replicas
        start = context.replica_id_in_sync_group * count
        return tensor[start : start + count]

    def gather(self, variable):
        """Returns a variable's rows of all replicas, or a scalar, as array."""
        if self.replicas == 1 or not len(variable.shape):
            return variable.numpy()
        rows = self.strategy.run(lambda: tf.identity(variable.value))
        here = self.strategy.experimental_local_results(rows)
        if len(here) == self.replicas:
            return np.concatenate(here)
        # Of several machines; TensorFlow's `gather` needs compiled functions.
        return self.strategy.gather(rows, axis=0).numpy()

    def scatter(self, variable, value):
        """Assigns each replica its rows of an array, or a scalar to all."""
        if self.replicas == 1 or not len(variable.shape):
            variable.assign(value)
        else:
            self.strategy.run(lambda: variable.assign(self.own(value)))
