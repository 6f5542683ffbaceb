"""Normalizations in operations that LiteRT has in integers.

Keras computes x s + (b - m s) with the mean m, and squares by an operation of
its own. LiteRT neither negates nor squares in integers. Here it is
(x - m) s + b, whose range is also smaller, and products.
"""

import contextlib
import math

from keras import layers
from keras import ops

from tf_deepinversion.core.keras_internals import layers_of
from tf_deepinversion.networks.call_hooks import is_method_of
from tf_deepinversion.networks.call_hooks import replace


@contextlib.contextmanager
def integer_norms(model):
    """Within the context, normalizations compute by other operations.

    These are `LayerNormalization`, and over the last axis
    `GroupNormalization` and `RMSNormalization`.

    Args:
        model: A built `keras.Model`.
    """
    norms = [x for x in layers_of(model) if _is_known(x)]
    calls = [(layer, _CALLS[type(layer)](layer)) for layer in norms]
    with replace("call", calls):
        yield


def _is_known(layer) -> bool:
    kind = type(layer)
    if kind not in _CALLS or not layer.built:
        return False
    if not is_method_of(kind, layer, "call"):
        return False
    if kind is layers.LayerNormalization:
        return not layer.rms_scaling
    return layer.axis in (-1, [-1])  # Keras lists the axis of the latter


def _scaled(x, axes, epsilon):
    """Divides by the root mean square over axes."""
    return x * ops.rsqrt(ops.mean(x * x, axes, keepdims=True) + epsilon)


def _centered(x, axes):
    return x - ops.mean(x, axes, keepdims=True)


def _affine(x, gamma, beta, axes):
    """Multiplies by gamma and adds beta, vectors or arrays along axes."""

    def of_shape(weight):
        shape = [1] * len(x.shape)
        for place, axis in enumerate(axes):
            shape[axis] = weight.shape[place]
        return ops.reshape(weight, shape)

    if gamma is not None:
        x = x * of_shape(gamma)
    if beta is not None:
        x = x + of_shape(beta)
    return x


def _of_layer(layer):
    axes = layer.axis
    axes = [axes] if isinstance(axes, int) else sorted(axes)

    def call(inputs):
        x = _centered(ops.cast(inputs, "float32"), axes)
        x = _scaled(x, axes, layer.epsilon)
        x = _affine(x, layer.gamma, layer.beta, axes)
        return ops.cast(x, layer.compute_dtype)

    return call


def _of_groups(layer):
    def call(inputs):
        *places, channels = inputs.shape[1:]
        groups = math.prod(places), layer.groups, channels // layer.groups
        x = ops.reshape(ops.cast(inputs, "float32"), (-1, *groups))
        x = _scaled(_centered(x, (1, 3)), (1, 3), layer.epsilon)
        x = ops.reshape(x, (-1, *places, channels))
        x = _affine(
            x,
            layer.gamma if layer.scale else None,
            layer.beta if layer.center else None,
            [-1],
        )
        return ops.cast(x, layer.compute_dtype)

    return call


def _of_root_mean_square(layer):
    def call(x):
        y = _scaled(ops.cast(x, "float32"), [-1], layer.epsilon)
        return ops.cast(
            _affine(y, layer.scale, None, [-1]), layer.compute_dtype
        )

    return call


_CALLS = {
    layers.LayerNormalization: _of_layer,
    layers.GroupNormalization: _of_groups,
    layers.RMSNormalization: _of_root_mean_square,
}
