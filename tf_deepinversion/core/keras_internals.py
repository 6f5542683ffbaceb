"""The private names of Keras and TensorFlow that this library uses.

No other file may use a private name; `tests/house_test.py` checks this. Each
function here raises an error that names the missing attribute if another
version of Keras renamed it. `tests/core/keras_internals_test.py` tests each
name.
"""

import keras

# Attributes that `call_hooks.replace` swaps while a network is read.
REMAT_MODE = "_remat_mode"  # an operation's way of rematerialization
DTYPE_POLICY = "_dtype_policy"  # a layer's policy
INPUT_DTYPE = "_dtype"  # the dtype to which an input casts images


def _read(owner, name):
    if not hasattr(owner, name):
        raise NotImplementedError(
            f"Keras {keras.__version__} has no `{name}` in "
            f"{type(owner).__name__}, which tf_deepinversion needs. Install "
            "the version of Keras that tf_deepinversion was tested with, see "
            "constraints.txt."
        )
    return getattr(owner, name)


def layers_of(model, include_self=True) -> list:
    """Lists every layer of a model or layer, at any depth.

    `keras.Model.layers` misses layers in lists and dicts of subclassed models,
    and layers inside custom layers.

    Args:
        model: A `keras.Model` or a `keras.layers.Layer`.
        include_self: Bool, whether the list starts with `model`. Defaults to
            True.
    """
    return list(_read(model, "_flatten_layers")(include_self=include_self))


def functional_of(model) -> keras.Model:
    """Returns the functional model of a functional or sequential model."""
    if isinstance(model, keras.Sequential):
        return _read(model, "_functional")
    return model


def nodes_of(model) -> list:
    """Lists a functional model's calls, each after the calls it depends on."""
    nodes = _read(model, "_nodes_by_depth")
    return [node for depth in sorted(nodes)[::-1] for node in nodes[depth]]


def output_shape_of(layer):
    """Returns the `output_shape` argument of a `keras.layers.Lambda`."""
    return _read(layer, "_output_shape")


def keep_gradients_apart(optimizer):
    """Makes an optimizer apply each replica's own gradient.

    Keras adds up the gradients of all replicas in a private method, which this
    function replaces. If Keras renamed the method, the replacement would
    silently have no effect, so the function first checks that it exists.
    """
    # Assigning alone would not notice that Keras renamed the method.
    _read(optimizer, "_all_reduce_sum_gradients")
    optimizer._all_reduce_sum_gradients = lambda pairs: pairs


def index_of(optimizer, variable) -> int:
    """Returns the index of a variable in an optimizer's list of variables.

    Keras passes the backend's variable to `update_step`, not its own.
    """
    return _read(optimizer, "_get_variable_index")(variable)


def averages_of(optimizer) -> list:
    """Lists pairs of a variable and its moving average (`use_ema=True`).

    Args:
        optimizer: A `keras.optimizers.Optimizer`, which may wrap others; or
            None.
    """
    # A `LossScaleOptimizer` wraps the optimizer that has the averages.
    inner = getattr(optimizer, "inner_optimizer", None)
    pairs = []
    for one in getattr(optimizer, "optimizers", [inner or optimizer]):
        if getattr(one, "use_ema", False) and one.built:
            averages = _read(one, "_model_variables_moving_average")
            variables = _read(one, "_trainable_variables")
            pairs += zip(variables, averages, strict=True)
    return [pair for pair in pairs if pair[1] is not None]


def with_constants(function):
    """Replaces a concrete function's variables by constants of its graph."""
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    return convert_variables_to_constants_v2(function)


def use_one_scale_per_dense_layer(converter):
    """Makes a LiteRT converter quantize dense kernels with a single scale.

    Args:
        converter: A `tf.lite.TFLiteConverter`.
    """
    # Assigning alone would not notice that TensorFlow renamed the switch.
    name = "_experimental_disable_per_channel_quantization_for_dense_layers"
    _read(converter, name)
    setattr(converter, name, True)


def litert_schema():
    """Returns TensorFlow's module that reads LiteRT files."""
    from tensorflow.lite.python import schema_py_generated

    return schema_py_generated


def input_shape_of(layer) -> tuple | None:
    """Returns the shape that a layer was built for, or None if unknown."""
    try:
        shape = layer.get_build_config()["input_shape"]
        return tuple(None if size is None else int(size) for size in shape)
    except Exception:  # a layer of the user's may give anything
        return None
