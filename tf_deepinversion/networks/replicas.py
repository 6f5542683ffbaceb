"""What the replicas of a strategy are to each other: parts of one batch.

N devices do what one does where a sum is one over all replicas, a random
number is that of an image's place in the batch of all, and each batch of the
data is cut as it is, with nothing read ahead.
"""

import keras
import tensorflow as tf

from tf_deepinversion.core.keras_internals import layers_of
from tf_deepinversion.networks.batch_norm_moments import batch_norms


def several():
    """The replica context where there are several replicas, or None."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return None
    return context


def total(tensors):
    """The sums over all replicas of a nest of tensors; alone, as they are."""
    context = several()
    if context is None:
        return tensors
    return context.all_reduce(tf.distribute.ReduceOp.SUM, tensors)


def share(count):
    """How large a part of the rows of all replicas these are, a float."""
    rows = tf.cast(tf.stack([count, total(count)]), "float32")
    return tf.math.divide_no_nan(rows[0], rows[1])


def add_to(metric, values, weight=1.0):
    """Adds to a mean what is of the batch of all replicas, by each a part.

    Args:
        metric: A `keras.metrics.Mean`, whose variables are summed over them.
        values: Float tensor, the same on all replicas.
        weight: Float scalar tensor, of each value.
    """
    context = several()
    if context is not None:
        weight /= context.num_replicas_in_sync
    metric.update_state(values, sample_weight=weight * tf.ones_like(values))


def whole(rows):
    """The rows of all replicas as one tensor, in their order."""
    context = several()
    if context is None:
        return rows
    gathered = context.all_gather(rows, axis=0)
    return tf.ensure_shape(gathered, (None, *rows.shape[1:]))


def own_rows(*counts):
    """Where the images of this replica stand in the batch of all.

    Replica r has some rows of each stream of a batch, those after the rows of
    replicas before it; their numbers may differ, and may be 0. One device has
    the streams whole, one after the other.

    Args:
        *counts: Int scalar tensors, how many rows this replica has of each
            stream.

    Returns:
        A pair: int32 tensor `(sum(counts),)`, the places of the rows, stream
        by stream; int32 scalar tensor, how many rows all replicas have.
    """
    counts = tf.stack([tf.cast(count, "int32") for count in counts])
    context = several()
    if context is None:
        rows = tf.reduce_sum(counts)
        return tf.range(rows), rows
    replica = context.replica_id_in_sync_group
    one_hot = tf.one_hot(replica, context.num_replicas_in_sync, dtype="int32")
    of_all = total(one_hot[:, tf.newaxis] * counts)
    streams = tf.reduce_sum(of_all, 0)
    first = tf.cumsum(streams, exclusive=True)
    first += tf.cumsum(of_all, exclusive=True)[replica]
    places = [first[i] + tf.range(counts[i]) for i in range(counts.shape[0])]
    return tf.concat(places, 0), tf.reduce_sum(streams)


class OneBatch(keras.Model):
    """A model in whose `fit` several replicas do what one device does.

    Its `train_step` takes random numbers by `transforms.draw_own`, adds up the
    gradients of a mean over the batch of all replicas, and keeps its metrics
    by `add_to`. What is trained is a property `trained`.
    """

    def fit(self, x=None, *args, **kwargs):
        """As in Keras; of a `tf.data.Dataset` no replica reads ahead."""
        self.require_replicas()
        x = spread(x, self.distribute_strategy)
        return super().fit(x, *args, **kwargs)

    def train_on_batch(self, *args, **kwargs):
        """As in Keras, on one device."""
        count = self.distribute_strategy.num_replicas_in_sync
        if count > 1:
            raise ValueError(
                "`train_on_batch` gives the whole batch to each of several "
                f"replicas: use `fit`. Received: {count} replicas"
            )
        return super().train_on_batch(*args, **kwargs)

    def require_replicas(self):
        """Refuses what several replicas would do otherwise than one device.

        Raises:
            ValueError: as for `require_training`.
        """
        require_training(self, self.trained, self.distribute_strategy)

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Keras would read a batch ahead, and add up parts of two sizes."""
        with self.distribute_strategy.scope():
            if self.optimizer is not None and not self.optimizer.built:
                self.optimizer.build(self.trained.trainable_variables)


def require_training(model, network, strategy):
    """Refuses to train on several replicas what one device trains otherwise.

    Args:
        model: A compiled `OneBatch`.
        network: The `keras.Model` in it that is trained.
        strategy: A `tf.distribute.Strategy`.

    Raises:
        ValueError: if the result would be another one.
    """
    count = strategy.num_replicas_in_sync
    if count == 1:
        return
    if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        raise ValueError(
            "The `fit` of Keras does not run on several machines: use a "
            f"`MirroredStrategy`, of one. Received: {type(strategy).__name__}"
        )
    require_network(network, strategy)
    _require_compiled(model, count)


def require_network(network, strategy):
    """Refuses to train on several replicas a network that would be another.

    Args:
        network: A `keras.Model`.
        strategy: A `tf.distribute.Strategy`.

    Raises:
        ValueError: if it is not of the strategy's scope, draws random numbers
            of its own, or measures statistics of parts of a batch.
    """
    count = strategy.num_replicas_in_sync
    if count > 1:
        _require_scope(network, strategy)
        _require_no_own_draws(network, count)
        _require_synchronized(network, count)


def _require_scope(network, strategy):
    outside = [
        v.path
        for v in network.weights
        if not strategy.extended.variable_created_in_scope(v.value)
    ]
    if outside:
        raise ValueError(
            "What is trained on several replicas must be made or loaded under "
            f"`with strategy.scope():`. Received: {network.name!r} with "
            f"{outside[:3]}"
        )


def _require_no_own_draws(network, count):
    """`variables` have, unlike `weights`, the seeds of layers that draw."""
    weights = {id(variable) for variable in network.weights}
    drawing = [
        layer.name
        for layer in layers_of(network)
        if not isinstance(layer, keras.Model)
        and any(id(v) not in weights for v in layer.variables)
    ]
    if drawing:
        raise ValueError(
            "Layers that draw random numbers, such as Dropout, draw the same "
            "on each replica: make the network without them, or train it on "
            f"one device. Received: {drawing[:3]} on {count} replicas"
        )


def _require_synchronized(network, count):
    apart = [
        layer.name
        for layer in batch_norms(network)
        if layer.trainable and not getattr(layer, "synchronized", False)
    ]
    if apart:
        raise ValueError(
            "A BatchNormalization in training sees the images of its replica "
            "alone: set `layer.synchronized = True` for each, or "
            f"`layer.trainable = False`. Received: {apart[:3]} on {count} "
            "replicas"
        )


def _require_compiled(model, count):
    if model.jit_compile or model.steps_per_execution > 1:
        raise ValueError(
            "Keras does not run a step on several replicas that XLA compiles, "
            "nor several steps at once: leave `jit_compile` and "
            "`steps_per_execution` out of `compile`. Received: "
            f"jit_compile={model.jit_compile}, "
            f"steps_per_execution={model.steps_per_execution} on {count} "
            "replicas"
        )
    for name in ("clipnorm", "global_clipnorm", "clipvalue"):
        if getattr(model.optimizer, name, None):
            raise ValueError(
                "The optimizer would clip the gradient of each replica before "
                f"they are added up: leave {name!r} out. Received: {name}="
                f"{getattr(model.optimizer, name)} on {count} replicas"
            )


def spread(dataset, strategy):
    """Cuts each batch of a data set among replicas, and reads none ahead.

    Keras leaves that to the strategy, which reads a few batches ahead, and
    makes whole batches of the odd ones in the midst of a data set.

    Args:
        dataset: A `tf.data.Dataset` of batches, or of nests of some, each of
            its own size; anything else is returned as it is, and so is all on
            one replica.
        strategy: A `tf.distribute.Strategy`.

    Returns:
        What `fit` takes.
    """
    replicas = strategy.num_replicas_in_sync
    if replicas == 1 or not isinstance(dataset, tf.data.Dataset):
        return dataset

    def cut(*batch):
        if not isinstance(dataset.element_spec, tuple):
            (batch,) = batch

        def piece(replica):
            def own(x):
                count = tf.shape(x)[0]
                share = -(-count // replicas)  # the last may have fewer
                begin = tf.minimum(replica * share, count)
                return x[begin : begin + share]

            return tf.nest.map_structure(own, batch)

        return tf.data.Dataset.range(replicas, output_type="int32").map(piece)

    pieces = dataset.flat_map(cut)
    return strategy.distribute_datasets_from_function(
        lambda context: pieces,
        tf.distribute.InputOptions(experimental_per_replica_buffer_size=0),
    )
