"""Layer normalizations in operations that LiteRT has in integers.

Keras computes x s + (b - m s) with the mean m, and LiteRT negates nothing in
integers. Here it is (x - m) s + b, whose range is also smaller.
"""

import contextlib

import keras
from keras import ops

from tf_deepinversion.core.keras_internals import layers_of
from tf_deepinversion.networks.call_hooks import original
from tf_deepinversion.networks.call_hooks import replace


@contextlib.contextmanager
def centered_norms(model):
    """Within the context, layer normalizations first subtract the mean.

    Args:
        model: A built `keras.Model`.
    """
    norms = [x for x in layers_of(model) if _is_known(x)]
    with replace("call", [(layer, _centered(layer)) for layer in norms]):
        yield


def _is_known(layer) -> bool:
    if not isinstance(layer, keras.layers.LayerNormalization):
        return False
    # Another function means a subclass or a replaced `call`.
    own = getattr(original(layer, "call"), "__func__", None)
    known = keras.layers.LayerNormalization.call
    return layer.built and own is known and not layer.rms_scaling


def _centered(layer):
    """Returns a function from inputs to the outputs of a layer."""
    axes = layer.axis
    axes = [axes] if isinstance(axes, int) else sorted(axes)

    def of_shape(weight, rank):
        shape = [1] * rank
        for place, axis in enumerate(axes):
            shape[axis] = weight.shape[place]
        return ops.reshape(weight, shape)

    def call(inputs):
        x = ops.cast(inputs, "float32")
        x = x - ops.mean(x, axes, keepdims=True)
        variance = ops.mean(x * x, axes, keepdims=True)
        y = x * ops.rsqrt(variance + layer.epsilon)
        rank = len(x.shape)
        if layer.gamma is not None:
            y = y * of_shape(layer.gamma, rank)
        if layer.beta is not None:
            y = y + of_shape(layer.beta, rank)
        return ops.cast(y, layer.compute_dtype)

    return call
