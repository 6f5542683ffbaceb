"""Temporarily changes the precision in which a network computes."""

import contextlib

import keras

from tf_deepinversion.core.keras_internals import DTYPE_POLICY
from tf_deepinversion.core.keras_internals import INPUT_DTYPE
from tf_deepinversion.core.keras_internals import REMAT_MODE
from tf_deepinversion.core.keras_internals import layers_of
from tf_deepinversion.networks.call_hooks import original
from tf_deepinversion.networks.call_hooks import replace


class _ComputePolicy(keras.DTypePolicy):
    """Computes like another policy, with variables of any float dtype.

    Args:
        name: String, the name of the other policy.
        variable_dtype: String.
    """

    def __init__(self, name, variable_dtype):
        super().__init__(name)
        self._kept = variable_dtype

    @property
    def variable_dtype(self):
        return self._kept


def policy_named(name):
    """Returns the `keras.DTypePolicy` that Keras knows by a name.

    Args:
        name: String or `keras.DTypePolicy`.

    Raises:
        ValueError: if Keras knows no such policy.
    """
    try:
        return keras.dtype_policies.get(name)
    except (TypeError, ValueError) as error:
        raise ValueError(
            'Expected a dtype policy, such as "float32" or "mixed_bfloat16". '
            f"Received: dtype={name!r}"
        ) from error


def check_policy(dtype_policy):
    """Returns the `keras.DTypePolicy`, or None.

    Args:
        dtype_policy: String, `keras.DTypePolicy` or None.

    Raises:
        ValueError: if the policy does not allow gradients of images.
    """
    if dtype_policy is None:
        return None
    policy = policy_named(dtype_policy)
    if policy.compute_dtype not in ("float32", "bfloat16", "float64") or (
        policy.quantization_mode
        or isinstance(policy, keras.dtype_policies.DTypePolicyMap)
    ):
        raise ValueError(
            "Expected a dtype policy in which image gradients can be "
            'computed: "float32", "mixed_bfloat16" (half the memory) or '
            '"float64". In float16 the gradients of a mean over many pixels '
            f"underflow to zero. Received: dtype_policy={dtype_policy!r}"
        )
    return policy


def _policy_of(layer):
    policy = original(layer, DTYPE_POLICY)
    if isinstance(policy, keras.dtype_policies.DTypePolicyMap):
        return policy[layer.path]
    return policy


def _policies(layers, policy):
    """Lists the layers whose policy changes, with their new policies."""
    chosen = []
    for layer in layers:
        own = _policy_of(layer)
        # Quantized layers and layers of integers keep their policy.
        floating = keras.backend.is_float_dtype(own.compute_dtype)
        if own.quantization_mode or not floating:
            continue
        if policy is not None:
            name = policy.name
        elif own.compute_dtype == "float16":
            name = "float32"
        else:
            continue
        chosen.append((layer, _ComputePolicy(name, own.variable_dtype)))
    return chosen


def _inputs(layers, policy):
    """Lists the inputs that would round the images, with a better dtype.

    Such inputs cast to integers, or to a lower precision than the layers'.
    """
    inputs = [x for x in layers if isinstance(x, keras.layers.InputLayer)]
    least = policy.compute_dtype if policy else "float32"
    chosen = []
    # Keras keeps the dtype in the input layer and in its output tensor.
    for x in (*inputs, *(layer.output for layer in inputs)):
        own = original(x, INPUT_DTYPE)
        if own == "uint8" or keras.backend.is_float_dtype(own):
            chosen.append((x, keras.backend.result_type(own, least, "float32")))
    return chosen


@contextlib.contextmanager
def reading(model, policy=None):
    """Makes the gradient with respect to the images reliable in the context.

    Layers do not rematerialize, because that would hide their inputs from the
    gradient. No layer computes in float16, in which the gradient of a mean over
    thousands of pixels underflows to zero. The model's inputs keep the
    precision of the images. Variables stay unchanged.

    Args:
        model: A `keras.Model`, built.
        policy: A `keras.DTypePolicy` for all layers that compute in floats and
            are not quantized. Defaults to their own policies, with float32 in
            place of float16.
    """
    layers = layers_of(model)
    with (
        replace(REMAT_MODE, [(layer, None) for layer in layers]),
        replace(DTYPE_POLICY, _policies(layers, policy)),
        replace(INPUT_DTYPE, _inputs(layers, policy)),
    ):
        yield
