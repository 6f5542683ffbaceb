"""What every BatchNormalization of a network sees, and R_feature.

The layers are found by duck type and their `call` is replaced on the instance
while a `tap` is open: the one way that sees every call of every layer of
functional, sequential, nested, shared and subclassed models alike, eagerly,
in a graph and under XLA. What a call sees goes to the collector of the thread
that makes it, so replicas do not mix. This module alone knows how.
"""

import contextlib
import threading
import typing

import keras
from keras import ops

from tf_deepinversion.priors import norm


class BatchNormInput(typing.NamedTuple):
    """One call of one BatchNormalization layer: the layer and its input."""

    layer: object
    inputs: object


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
    """Every layer of a model that has moving statistics, at any depth."""
    return [
        layer
        for layer in model._flatten_layers()
        if getattr(layer, "moving_mean", None) is not None
        and getattr(layer, "moving_variance", None) is not None
    ]


_thread = threading.local()
_lock = threading.Lock()


class _Tap:
    """Stands in for `layer.call`, shared by all who tap that layer."""

    def __init__(self, layer):
        self.layer = layer
        self.call = layer.call
        self.replaced = layer.__dict__.get("call")
        self.users = 0

    def __call__(self, inputs, *args, **kwargs):
        for records in getattr(_thread, "collectors", ()):
            records.append(BatchNormInput(self.layer, inputs))
        return self.call(inputs, *args, **kwargs)

    def restore(self):
        if self.replaced is None:
            object.__delattr__(self.layer, "call")
        else:
            object.__setattr__(self.layer, "call", self.replaced)


@contextlib.contextmanager
def tap(model):
    """While open, calls of the model's BatchNormalizations can be collected.

    Taps may be nested and may overlap; when the last one on a layer closes,
    also by an exception, the layer is as it was before the first.
    """
    layers = batch_norms(model)
    with _lock:
        for layer in layers:
            # `__dict__`, because Keras's own `__setattr__` would track it.
            if not isinstance(layer.__dict__.get("call"), _Tap):
                object.__setattr__(layer, "call", _Tap(layer))
            layer.__dict__["call"].users += 1
    try:
        yield
    finally:
        with _lock:
            for layer in layers:
                layer.__dict__["call"].users -= 1
                if not layer.__dict__["call"].users:
                    layer.__dict__["call"].restore()


@contextlib.contextmanager
def collect():
    """Collects what tapped layers see in this thread, in the order of calls.

    Yields:
        A list that fills with `BatchNormInput`.
    """
    if not hasattr(_thread, "collectors"):
        _thread.collectors = []
    records = []
    _thread.collectors.append(records)
    try:
        yield records
    finally:
        # By identity: two empty lists are equal.
        _thread.collectors = [c for c in _thread.collectors if c is not records]


def moments(record: BatchNormInput) -> Moments:
    """The additive sums of what one call sees, in float32 at least."""
    layer, x = record
    double = keras.backend.standardize_dtype(x.dtype) == "float64"
    dtype = "float64" if double else "float32"
    x = ops.moveaxis(ops.cast(x, dtype), layer.axis, -1)
    x = ops.reshape(x, (-1, x.shape[-1]))
    shifted = x - ops.cast(layer.moving_mean, dtype)
    return Moments(
        ops.cast(ops.shape(x)[0], dtype),
        ops.sum(shifted, axis=0),
        ops.sum(ops.square(shifted), axis=0),
    )


def mean_and_variance_gaps(sums: Moments, layer):
    """mu(x) - moving_mean and var(x) - moving_variance, each `(channels,)`.

    The variance is the biased one.
    """
    mean_gap = sums.first / sums.count
    variance = sums.second / sums.count - ops.square(mean_gap)
    return mean_gap, variance - ops.cast(layer.moving_variance, variance.dtype)


def plain_distance(sums: Moments, layer):
    """||mu(x) - moving_mean||_2 + ||var(x) - moving_variance||_2 of one call.

    Reference:
        - Yin et al., arXiv:1912.08795, eq. 4
    """
    mean_gap, variance_gap = mean_and_variance_gaps(sums, layer)
    return norm(mean_gap) + norm(variance_gap)


def normalised_distance(sums: Moments, layer):
    """The distance of one call in units of the layer's own spread (ours).

    rms((mu - m) / sqrt(v + eps)) + rms((var - v) / (v + eps)), where rms is
    the 2-norm divided by sqrt(channels). In a network whose moving variances
    span orders of magnitude, a few channels decide the plain distance.
    """
    mean_gap, variance_gap = mean_and_variance_gaps(sums, layer)
    spread = ops.cast(layer.moving_variance, mean_gap.dtype) + layer.epsilon
    channels = mean_gap.shape[0]
    return (
        norm(mean_gap / ops.sqrt(spread)) + norm(variance_gap / spread)
    ) / channels**0.5
