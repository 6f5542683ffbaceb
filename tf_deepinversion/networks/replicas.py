"""Replicas that together compute what one device computes.

The result is the same because sums run over all replicas, random numbers depend
on an image's position in the batch of all replicas, and each batch is split as
it comes, without reading ahead.
"""

import keras
import tensorflow as tf

from tf_deepinversion.core.keras_internals import layers_of
from tf_deepinversion.networks.batch_norm_moments import batch_norms
from tf_deepinversion.networks.copies import copy_of
from tf_deepinversion.networks.ignored_arguments import refuse_ignored
from tf_deepinversion.networks.split_batches import spread


def several():
    """Returns the replica context if there are several replicas, else None."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return None
    return context


def total(tensors):
    """Adds up tensors over all replicas."""
    context = several()
    if context is None:
        return tensors
    return context.all_reduce(tf.distribute.ReduceOp.SUM, tensors)


def share(count):
    """Returns the share of these rows in the rows of all replicas, a float."""
    rows = tf.cast(tf.stack([count, total(count)]), "float32")
    return tf.math.divide_no_nan(rows[0], rows[1])


def of_mean(loss, count):
    """Scales a replica's mean, so that Keras's gradient is that of the whole.

    Args:
        loss: Float scalar tensor, the mean over the replica's rows, divided by
            the number of replicas, as Keras computes a loss.
        count: Int scalar tensor, number of the replica's rows.

    Returns:
        A scalar tensor; the sum over the replicas of its gradient is the
        gradient of the mean over all rows.
    """
    context = several()
    if context is None:
        return loss
    return loss * context.num_replicas_in_sync * share(count)


def add_to(metric, values, weight=1.0):
    """Adds values to a mean; the values belong to the batch of all replicas.

    Args:
        metric: A `keras.metrics.Mean`, whose variables are summed over the
            replicas.
        values: Float tensor, the same on all replicas.
        weight: Float scalar tensor, the weight of each value.
    """
    context = several()
    if context is not None:
        weight /= context.num_replicas_in_sync
    metric.update_state(values, sample_weight=weight * tf.ones_like(values))


def logs_of(*metrics) -> dict:
    """The results of metrics, as a step of `fit` or `evaluate` returns them.

    Args:
        *metrics: `keras.metrics.Metric` objects, equal on all replicas.

    Returns:
        A dict from names to scalar tensors. On several machines these have the
        shape `(1,)`, because Keras averages them along an axis there.
    """
    found = {metric.name: metric.result() for metric in metrics}
    if machines(tf.distribute.get_strategy()) > 1:
        return {name: tf.reshape(x, (1,)) for name, x in found.items()}
    return found


def machines(strategy) -> int:
    """The number of processes that share a strategy, one for each machine."""
    resolver = getattr(strategy, "cluster_resolver", None)
    if resolver is None or not resolver.cluster_spec():
        return 1
    jobs = resolver.cluster_spec().as_dict()
    return sum(len(jobs.get(name, ())) for name in ("chief", "worker"))


def require_one_machine(strategy, reason):
    """Refuses several machines.

    Args:
        strategy: A `tf.distribute.Strategy`.
        reason: String, a sentence that says why.

    Raises:
        ValueError: if there are several machines.
    """
    count = machines(strategy)
    if count > 1:
        raise ValueError(
            f"{reason} Use a `MirroredStrategy` on one machine. "
            f"Received: {count} machines"
        )


def whole(rows):
    """Concatenates the rows of all replicas, in the order of the replicas."""
    context = several()
    if context is None:
        return rows
    # What comes as it was read has no device, and machines need one.
    gathered = context.all_gather(tf.identity(rows), axis=0)
    return tf.ensure_shape(gathered, (None, *rows.shape[1:]))


def of_any_size(batch):
    """Hides the static number of rows, which replicas may differ in.

    A replica that has 2 rows in all batches and another that has 1 or 2 would
    trace different graphs. Keras's synchronized BatchNormalization then waits
    forever, or fails, in one graph for a sum that the other does not have.

    Args:
        batch: A nested structure of tensors `(rows, ...)`.
    """
    if several() is None:
        return batch
    return tf.nest.map_structure(
        lambda x: tf.raw_ops.PlaceholderWithDefault(
            input=x, shape=(None, *x.shape[1:])
        ),
        batch,
    )


def own_rows(*counts):
    """Finds the positions of this replica's images in the batch of all.

    Replica r holds some rows of each stream of a batch, which follow the rows
    of replicas before r. The numbers of rows may differ between replicas, and
    may be 0. One device holds the complete streams, one after the other.

    Args:
        *counts: Int scalar tensors, numbers of rows on this replica for each
            stream.

    Returns:
        A pair: int32 tensor `(sum(counts),)`, the positions of the rows, stream
        by stream; int32 scalar tensor, number of rows on all replicas.
    """
    counts = tf.stack([tf.cast(count, "int32") for count in counts])
    context = several()
    if context is None:
        rows = tf.reduce_sum(counts)
        return tf.range(rows), rows
    replica = context.replica_id_in_sync_group
    one_hot = tf.one_hot(replica, context.num_replicas_in_sync, dtype="int32")
    # Each replica fills its own row; the sum is the table of all counts.
    of_all = total(one_hot[:, tf.newaxis] * counts)
    streams = tf.reduce_sum(of_all, 0)
    first = tf.cumsum(streams, exclusive=True)
    first += tf.cumsum(of_all, exclusive=True)[replica]
    places = [first[i] + tf.range(counts[i]) for i in range(counts.shape[0])]
    return tf.concat(places, 0), tf.reduce_sum(streams)


def in_scope(model, strategy):
    """Returns the model, or a copy inside the strategy's scope if needed.

    Several replicas need variables that were created in the strategy's scope.

    Args:
        model: A `keras.Model`.
        strategy: A `tf.distribute.Strategy`.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: if the model needs a copy and cannot be copied.
    """
    if strategy.num_replicas_in_sync == 1 or all(
        strategy.extended.variable_created_in_scope(v.value)
        for v in getattr(model, "variables", ())
    ):
        return model
    with strategy.scope():
        try:
            return copy_of(model)
        except ValueError as e:
            raise ValueError(
                "The model was created outside the strategy's scope and "
                "cannot be copied into it: create or load it under "
                f"`with strategy.scope():`. Received: {model.name!r} ({e})"
            ) from e


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
            require_one_machine(
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
        require_training(self, self.trained, self.distribute_strategy)

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Builds the optimizer only: Keras would read a batch ahead."""
        with self.distribute_strategy.scope():
            if self.optimizer is not None and not self.optimizer.built:
                self.optimizer.build(self.trained.trainable_variables)


def require_training(model, network, strategy):
    """Refuses a training whose result depends on the number of replicas.

    Args:
        model: A compiled `OneBatch`.
        network: The `keras.Model` in it that is trained.
        strategy: A `tf.distribute.Strategy`.

    Raises:
        ValueError: if several replicas would give another result.
    """
    count = strategy.num_replicas_in_sync
    if count == 1:
        return
    require_network(network, strategy)
    _require_compiled(model, count)


def require_network(network, strategy):
    """Refuses a network that several replicas would train differently.

    Args:
        network: A `keras.Model`.
        strategy: A `tf.distribute.Strategy`.

    Raises:
        ValueError: if the network was not created in the strategy's scope,
            draws its own random numbers, or measures statistics of parts of a
            batch.
    """
    count = strategy.num_replicas_in_sync
    if count > 1:
        require_scope(network, strategy)
        _require_no_own_draws(network, count)
        _require_synchronized(network, count)


def require_scope(network, strategy):
    """Refuses a changing network that was created outside a strategy's scope.

    Args:
        network: A `keras.Model`.
        strategy: A `tf.distribute.Strategy`; any network suits one replica.

    Raises:
        ValueError: if several replicas would not share the network's weights.
    """
    outside = [
        v.path
        for v in getattr(network, "weights", ())
        if not strategy.extended.variable_created_in_scope(v.value)
    ]
    if outside and strategy.num_replicas_in_sync > 1:
        raise ValueError(
            "A network that several replicas train must be created or loaded "
            f"under `with strategy.scope():`. Received: {network.name!r} with "
            f"{outside[:3]}"
        )


def _require_no_own_draws(network, count):
    """Unlike `weights`, `variables` include the seeds of random layers."""
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
            "numbers on each replica: remove these layers, or train on one "
            f"device. Received: {drawing[:3]} on {count} replicas"
        )


def _require_synchronized(network, count):
    apart = [
        layer.name
        for layer in batch_norms(network)
        if layer.trainable and not getattr(layer, "synchronized", False)
    ]
    if apart:
        raise ValueError(
            "A BatchNormalization in training sees only the images of its own "
            "replica: set `layer.synchronized = True` for each layer, or "
            f"`layer.trainable = False`. Received: {apart[:3]} on {count} "
            "replicas"
        )


def _require_compiled(model, count):
    if model.jit_compile or model.steps_per_execution > 1:
        raise ValueError(
            "On several replicas, Keras runs neither steps compiled by XLA "
            "nor several steps at once: leave `jit_compile` and "
            "`steps_per_execution` out of `compile`. Received: "
            f"jit_compile={model.jit_compile}, "
            f"steps_per_execution={model.steps_per_execution} on {count} "
            "replicas"
        )
    if getattr(model.optimizer, "ema_overwrite_frequency", None):
        raise ValueError(
            "On several replicas, Keras cannot overwrite weights by their "
            "averages within a step: leave `ema_overwrite_frequency` out, or "
            "pass the callback `SwapEMAWeights`. Received: "
            f"ema_overwrite_frequency={model.optimizer.ema_overwrite_frequency}"
            f" on {count} replicas"
        )
    for name in ("clipnorm", "global_clipnorm", "clipvalue"):
        if getattr(model.optimizer, name, None):
            raise ValueError(
                "The optimizer would clip each replica's gradient before the "
                f"gradients are added up: leave {name!r} out. Received: {name}="
                f"{getattr(model.optimizer, name)} on {count} replicas"
            )
