"""Batches of a data set, each split among replicas as it comes."""

import tensorflow as tf


def spread(dataset, strategy):
    """Splits each batch of a data set among replicas, without reading ahead.

    The strategy's own distribution reads a few batches ahead, and merges
    incomplete batches in the middle of a data set. Each of several machines
    reads all batches and takes the rows of its own replicas.

    Args:
        dataset: A `tf.data.Dataset` of batches, or of nests of batches, each of
            its own size. Anything else is returned unchanged, as is everything
            on one replica.
        strategy: A `tf.distribute.Strategy`.

    Returns:
        An input for `fit`.
    """
    replicas = strategy.num_replicas_in_sync
    if replicas == 1 or not isinstance(dataset, tf.data.Dataset):
        return dataset

    few_fail = convolves_nothing_wrongly(strategy)

    def of_machine(context):
        """The pieces of the replicas of one machine."""
        count = replicas // context.num_input_pipelines
        first = context.input_pipeline_id * count
        own = tf.data.Dataset.range(first, first + count, output_type="int32")

        def cut(*batch):
            if not isinstance(dataset.element_spec, tuple):
                (batch,) = batch
            if few_fail:
                batch = _of_enough_images(batch, replicas)
            return own.map(lambda replica: _piece(batch, replica, replicas))

        return dataset.flat_map(cut)

    return strategy.distribute_datasets_from_function(
        of_machine,
        tf.distribute.InputOptions(experimental_per_replica_buffer_size=0),
    )


def _piece(batch, replica, replicas):
    """Balanced: no replica is without an image if there are enough."""

    def own(x):
        count = tf.shape(x)[0]
        begin = replica * count // replicas
        return x[begin : (replica + 1) * count // replicas]

    return tf.nest.map_structure(own, batch)


def convolves_nothing_wrongly(strategy) -> bool:
    """Tells whether a convolution of no image has a wrong shape.

    With oneDNN, TensorFlow 2.21 returns the shape of the input on some CPUs: a
    replica without an image would end in errors of other layers.

    Args:
        strategy: A `tf.distribute.Strategy`; the answer is for its devices.
    """
    with tf.device(strategy.extended.worker_devices[0]):
        found = tf.nn.conv2d(
            tf.zeros((0, 2, 2, 1)), tf.zeros((1, 1, 1, 2)), 1, "SAME"
        )
    return found.shape[-1] != 2


def _of_enough_images(batch, replicas):
    # Streams of one batch, such as new and old images, are read together.
    most = tf.reduce_max([tf.shape(x)[0] for x in tf.nest.flatten(batch)])
    enough = tf.debugging.assert_greater_equal(
        most,
        replicas,
        "Expected at least one image per replica, because TensorFlow's oneDNN "
        "convolution of no image fails on this CPU. Use other batch sizes, or "
        "set the environment variable TF_ENABLE_ONEDNN_OPTS=0. Received: a "
        f"batch of fewer images than the {replicas} replicas",
    )
    with tf.control_dependencies([enough]):
        return tf.nest.map_structure(tf.identity, batch)
