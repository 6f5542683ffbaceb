"""What every BatchNormalization of a network sees."""

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
    """Additive sums of one call: over replicas and pieces they add up.

    Attributes:
        count: Scalar, number of values of a channel.
        first: Tensor `(channels,)`, the sum of x - moving_mean.
        second: Tensor `(channels,)`, the sum of (x - moving_mean)^2.
    """

    count: object
    first: object
    second: object


def batch_norms(model) -> list:
    """Every layer of a model that has moving statistics, at any depth.

    By duck type, so that subclasses and layers of others are found; in the
    private walk of Keras that also sees lists and dicts of subclassed models.
    """
    return [
        layer
        for layer in layers_of(model)
        if getattr(layer, "moving_mean", None) is not None
        and getattr(layer, "moving_variance", None) is not None
    ]


def channels_axis(layer) -> int:
    """Where a layer's channels are: layers of others are channels last."""
    return int(np.ravel(getattr(layer, "axis", -1))[0])


def epsilon_of(layer) -> float:
    """What keeps a division by the variance finite; by default Keras's."""
    return getattr(layer, "epsilon", getattr(layer, "eps", 1e-3))


def require_vectors(call):
    """Refuses a call whose moving statistics are not one value a channel.

    Raises:
        ValueError: as said.
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
    """While open, the calls of the model's BatchNormalizations are watched.

    With `sums` the layers are read by `fast_batch_norm`, otherwise as Keras
    computes them, which is traced sooner. A `call` that is a `tf.function`
    gives way to its Python function: what is seen inside belongs to its graph,
    and no gradient finds it.
    """
    calls = [(x, original(x, "call")) for x in layers_of(model)]
    graph = tf.types.experimental.PolymorphicFunction
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
    """Finds the tensors that no gradient leads from to the images.

    Args:
        tensors: List of tensors.
        images: Tensor, watched by the tape.
        tape: A `tf.GradientTape`, which records no more after this.

    Returns:
        List of their indices.
    """
    reached = set()

    def marked(index, x):
        def gradient(upstream):
            reached.add(index)
            return upstream

        # Only what the tape has seen is ever asked for its gradient.
        return tf.custom_gradient(lambda y: (tf.identity(y), gradient))(x)

    def here(x):
        graph = tf.compat.v1.get_default_graph()
        return not tf.is_symbolic_tensor(x) or x.graph is graph

    # One of a graph that we are not in is not reached.
    found = [marked(i, x) for i, x in enumerate(tensors) if here(x)]
    tape.gradient(found, images)
    return [i for i in range(len(tensors)) if i not in reached]


def moments(call: Call) -> Moments:
    """The additive sums of what one call sees, in float32 at least."""
    layer, x = call.layer, call.inputs
    if call.sums is not None:
        first, second = call.sums
        count = tf.size(x) // first.shape[0]
        return Moments(ops.cast(count, first.dtype), first, second)
    double = keras.backend.standardize_dtype(x.dtype) == "float64"
    dtype = "float64" if double else "float32"
    x = ops.moveaxis(ops.cast(x, dtype), channels_axis(layer), -1)
    x = ops.reshape(x, (-1, x.shape[-1]))
    shifted = x - ops.cast(layer.moving_mean, dtype)
    first, second = ops.sum(shifted, 0), ops.sum(ops.square(shifted), 0)
    return Moments(ops.cast(ops.shape(x)[0], dtype), first, second)


def mean_and_variance_gaps(sums: Moments, layer):
    """mu(x) - moving_mean and var(x) - moving_variance, each `(channels,)`.

    The variance is the biased one.
    """
    mean_gap = sums.first / sums.count
    variance = sums.second / sums.count - ops.square(mean_gap)
    return mean_gap, variance - ops.cast(layer.moving_variance, variance.dtype)
