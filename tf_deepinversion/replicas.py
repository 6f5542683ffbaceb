"""What the replicas of a strategy are to each other: parts of one batch.

N devices do what one does where a sum is one over all replicas, a random
number is that of an image's place in the batch of all, and each batch of the
data is cut as it is, with nothing read ahead.
"""

import tensorflow as tf


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


def whole(rows):
    """The rows of all replicas as one tensor, in their order."""
    context = several()
    return rows if context is None else context.all_gather(rows, axis=0)


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


def spread(dataset, strategy):
    """Cuts each batch of a data set among replicas, and reads none ahead.

    Keras leaves that to the strategy, which reads a few batches ahead, and
    makes whole batches of the odd ones in the midst of a data set.

    Args:
        dataset: A `tf.data.Dataset` of batches; anything else is returned as
            it is, and so is all on one replica.
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
        count = tf.shape(tf.nest.flatten(batch)[0])[0]
        share = -(-count // replicas)  # the last may have fewer, or none

        def piece(replica):
            begin = tf.minimum(replica * share, count)
            return tf.nest.map_structure(
                lambda x: x[begin : begin + share], batch
            )

        return tf.data.Dataset.range(replicas, output_type="int32").map(piece)

    pieces = dataset.flat_map(cut)
    return strategy.distribute_datasets_from_function(
        lambda context: pieces,
        tf.distribute.InputOptions(experimental_per_replica_buffer_size=0),
    )
