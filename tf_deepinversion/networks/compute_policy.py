"""How a network computes while it is read; afterwards it is as it was."""

import contextlib

import keras

from tf_deepinversion.core.keras_internals import DTYPE_POLICY
from tf_deepinversion.core.keras_internals import INPUT_DTYPE
from tf_deepinversion.core.keras_internals import REMAT_MODE
from tf_deepinversion.core.keras_internals import layers_of
from tf_deepinversion.networks.call_hooks import original
from tf_deepinversion.networks.call_hooks import replace


class _ComputePolicy(keras.DTypePolicy):
    """Computes as another policy does, on variables of any float dtype.

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


def check_policy(dtype_policy):
    """The `keras.DTypePolicy` that is meant, or None.

    Raises:
        ValueError: if gradients cannot be computed in it.
    """
    if dtype_policy is None:
        return None
    policy = keras.dtype_policies.get(dtype_policy)
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
    """The layers that are to compute in other ways, with their policies."""
    chosen = []
    for layer in layers:
        own = _policy_of(layer)
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
    """The inputs that would round what they are fed, and a better dtype.

    That is to whole numbers, or to a precision lower than is computed in.
    """
    inputs = [x for x in layers if isinstance(x, keras.layers.InputLayer)]
    least = policy.compute_dtype if policy else "float32"
    chosen = []
    for x in (*inputs, *(layer.output for layer in inputs)):
        own = original(x, INPUT_DTYPE)
        if own == "uint8" or keras.backend.is_float_dtype(own):
            chosen.append((x, keras.backend.result_type(own, least, "float32")))
    return chosen


@contextlib.contextmanager
def reading(model, policy=None):
    """While open, the model computes so that its gradient can be trusted.

    Rematerialized layers are not: what they see would be hidden from the
    gradient. Nothing is computed in float16, in which the gradient of a mean
    over thousands of pixels underflows to zero. Inputs of models keep the
    precision of the images. Variables stay as they are.

    Args:
        model: A `keras.Model`, built.
        policy: A `keras.DTypePolicy` of all layers whose own is of floats and
            not quantized. None: their own, but float32 for float16.
    """
    layers = layers_of(model)
    with (
        replace(REMAT_MODE, [(layer, None) for layer in layers]),
        replace(DTYPE_POLICY, _policies(layers, policy)),
        replace(INPUT_DTYPE, _inputs(layers, policy)),
    ):
        yield
