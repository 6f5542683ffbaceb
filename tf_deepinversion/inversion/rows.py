"""Which rows of a batch of images each replica of a strategy holds."""

import tensorflow as tf


class Rows:
    """Replica r of R has the rows r n/R to (r + 1) n/R of n images.

    A variable of rows is a mirrored one by kind, but every replica has its own
    rows in it: nothing here ever copies those of one replica to another.

    Args:
        strategy: A `tf.distribute.Strategy`.
    """

    def __init__(self, strategy):
        self.strategy = strategy
        self.replicas = strategy.num_replicas_in_sync

    def own(self, tensor):
        """The part of a batch that is of this replica, within the replica."""
        if self.replicas == 1:
            return tf.convert_to_tensor(tensor)
        context = tf.distribute.get_replica_context()
        count = tensor.shape[0] // self.replicas
        start = context.replica_id_in_sync_group * count
        return tensor[start : start + count]

    def gather(self, variable):
        """The rows of a variable on all replicas, or a scalar, as an array."""
        if self.replicas == 1 or not len(variable.shape):
            return variable.numpy()
        rows = self.strategy.run(lambda: tf.identity(variable.value))
        return self.strategy.gather(rows, axis=0).numpy()

    def scatter(self, variable, value):
        """Gives each replica its rows of an array, or a scalar to all."""
        if self.replicas == 1 or not len(variable.shape):
            variable.assign(value)
        else:
            self.strategy.run(lambda: variable.assign(self.own(value)))
