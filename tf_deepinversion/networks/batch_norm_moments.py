"""Statistics of the inputs of every BatchNormalization of a network."""

import contextlib
import typing

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tf_deepinversion.core.keras_internals import layers_of
from tf_deepinversion.networks import fast_batch_norm
from tf_deepinversion.networks.call_hooks import Call
from tf_deepinversion.networks.call_hooks import original
from tf_deepinversion.networks.call_hooks import replace
from tf_deepinversion.networks.call_hooks import watch


class Moments(typing.NamedTuple):
    """Sums over the inputs of one call, which add up over pieces of a batch.

    Attributes:
        count: Scalar, number of values per channel.
        first: Tensor `(channels,)`, the sum of x - moving_mean.
        second: Tensor `(channels,)`, the sum of (x - moving_mean)^2.
    """

    count: object
    first: object
    second: object


def batch_norms(model) -> list:
    """Lists every layer of a model with moving statistics, at any depth.

    The attributes identify a layer, not its class, so that subclasses and other
    libraries' layers are found.
    """
    return [
        layer
        for layer in layers_of(model)
        if getattr(layer, "moving_mean", None) is not None
        and getattr(layer, "moving_variance", None) is not None
    ]


def channels_axis(layer) -> int:
    """Returns the axis of a layer's channels, by default the last axis."""
    return int(np.ravel(getattr(layer, "axis", -1))[0])


def epsilon_of(layer) -> float:
    """Returns the number that a layer adds to the variance."""
    return getattr(layer, "epsilon", getattr(layer, "eps", 1e-3))


def require_vectors(call):
    """Checks that the moving statistics of a call have one value per channel.

    Raises:
        ValueError: if their shape is another one.
    """
    layer = call.layer
    channels = call.inputs.shape[channels_axis(layer)]
    for statistic in (layer.moving_mean, layer.moving_variance):
        if tuple(statistic.shape) != (channels,):
            raise ValueError(
                "Expected moving statistics of shape (channels,), channels "
                "last or on the layer's `axis`. "
                f"Received: {layer.path}, with statistics of shape "
                f"{tuple(statistic.shape)} and inputs of shape "
                f"{tuple(call.inputs.shape)}"
            )


@contextlib.contextmanager
def tap(model, sums=True):
    """Within the context, records the calls of BatchNormalization layers.

    With `sums`, `fast_batch_norm` computes the layers. Otherwise Keras computes
    them, which is faster to trace. A `call` that is a `tf.function` is replaced
    by its Python function: tensors inside the function belong to its own graph,
    from which no gradient leads to the images.
    """
    calls = [(x, original(x, "call")) for x in layers_of(model)]
    graph = tf.types.experimental.PolymorphicFunction
    # Undo a `tf.function` around a `call` while the calls are watched.
    functions = [
        (layer, call.python_function)
        for layer, call in calls
        if isinstance(call, graph)
    ]
    with (
        replace("call", functions),
        watch(batch_norms(model), read=fast_batch_norm.read if sums else None),
    ):
        yield


def cut_off(tensors, images, tape) -> list:
    """Finds the tensors from which no gradient leads to the images.

    Args:
        tensors: List of tensors.
        images: Tensor that the tape watches.
        tape: A `tf.GradientTape`; it cannot be used afterwards.

    Returns:
        List of the tensors' indices.
    """
    reached = set()

    def marked(index, x):
        def gradient(upstream):
            reached.add(index)
            return upstream

        # The tape calls `gradient` only for tensors that depend on the images.
        return tf.custom_gradient(lambda y: (tf.identity(y), gradient))(x)

    def here(x):
        graph = tf.compat.v1.get_default_graph()
        return not tf.is_symbolic_tensor(x) or x.graph is graph

    # A tensor of another graph counts as not reached.
    found = [marked(i, x) for i, x in enumerate(tensors) if here(x)]
    tape.gradient(found, images)
    return [i for i in range(len(tensors)) if i not in reached]


def moments(call: Call) -> Moments:
    """Sums over the inputs of one call, in float32 or float64."""
    layer, x = call.layer, call.inputs
    if call.sums is not None:
        first, second = call.sums
        count = tf.size(x) // first.shape[0]
        return Moments(ops.cast(count, first.dtype), first, second)
    double = keras.backend.standardize_dtype(x.dtype) == "float64"
    dtype = "float64" if double else "float32"
    x = ops.moveaxis(ops.cast(x, dtype), channels_axis(layer), -1)
    x = ops.reshape(x, (-1, x.shape[-1]))
    # Shifted by the moving mean, the sums are small numbers, and the variance
    # is no small difference of large numbers.
    shifted = x - ops.cast(layer.moving_mean, dtype)
    first, second = ops.sum(shifted, 0), ops.sum(ops.square(shifted), 0)
    return Moments(ops.cast(ops.shape(x)[0], dtype), first, second)


def mean_and_variance_gaps(sums: Moments, layer):
    """Computes mu(x) - moving_mean and var(x) - moving_variance.

    The variance is biased: the sum of squares divided by the count. Both
    results have the shape `(channels,)`.
    """
    mean_gap = sums.first / sums.count
    variance = sums.second / sums.count - ops.square(mean_gap)
    return mean_gap, variance - ops.cast(layer.moving_variance, variance.dtype)
