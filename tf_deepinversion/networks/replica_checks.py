"""Refuses what several replicas or machines would compute differently."""

import keras

from tf_deepinversion.core.keras_internals import layers_of
from tf_deepinversion.networks.batch_norm_moments import batch_norms


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
