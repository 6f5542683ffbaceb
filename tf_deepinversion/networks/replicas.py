"""Replicas that together compute what one device computes.

The result is the same because sums run over all replicas, random numbers depend
on an image's position in the batch of all replicas, and each batch is split as
it comes, without reading ahead.
"""

import tensorflow as tf

from tf_deepinversion.networks import replica_checks
from tf_deepinversion.networks.copies import copy_of


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
    if replica_checks.machines(tf.distribute.get_strategy()) > 1:
        return {name: tf.reshape(x, (1,)) for name, x in found.items()}
    return found


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
