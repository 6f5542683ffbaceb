"""The private names of Keras and TensorFlow on which this library rests.

No other file may name one; `tests/house_test.py` looks. A function here reads
each of them, and says which name is missing if another version of Keras has
renamed it. `tests/core/keras_internals_test.py` has a test for each name.
"""

import keras

# Attributes that `call_hooks.replace` swaps while a network is read.
REMAT_MODE = "_remat_mode"  # of an operation: how it is rematerialized
DTYPE_POLICY = "_dtype_policy"  # of a layer: what it computes in
INPUT_DTYPE = "_dtype"  # of an input: what it casts images to


def _read(owner, name):
    if not hasattr(owner, name):
        raise NotImplementedError(
            f"Keras {keras.__version__} has no `{name}` in "
            f"{type(owner).__name__}, on which tf_deepinversion rests. Install "
            "the version of Keras that tf_deepinversion was tested with, see "
            "constraints.txt."
        )
    return getattr(owner, name)


def layers_of(model, include_self=True) -> list:
    """Every layer of a model or layer, at any depth.

    `keras.Model.layers` does not see the lists and dicts of subclassed models,
    nor what a layer of one's own holds.

    Args:
        model: A `keras.Model` or a `keras.layers.Layer`.
        include_self: Bool, whether `model` is the first of the list.
    """
    return list(_read(model, "_flatten_layers")(include_self=include_self))


def functional_of(model) -> keras.Model:
    """The functional model that a functional or built sequential one calls."""
    if isinstance(model, keras.Sequential):
        return _read(model, "_functional")
    return model


def nodes_of(model) -> list:
    """The calls of a functional model, each after the calls it depends on."""
    nodes = _read(model, "_nodes_by_depth")
    return [node for depth in sorted(nodes)[::-1] for node in nodes[depth]]


def output_shape_of(layer):
    """The `output_shape` that a `keras.layers.Lambda` was given."""
    return _read(layer, "_output_shape")


def keep_gradients_apart(optimizer):
    """Makes an optimizer move each replica's variables by its own gradient.

    Keras adds up the gradients of all replicas: renamed, they would be added
    up without a word. So the name must be there before it is replaced.
    """
    _read(optimizer, "_all_reduce_sum_gradients")
    optimizer._all_reduce_sum_gradients = lambda pairs: pairs


def index_of(optimizer, variable) -> int:
    """The place of a variable among those that an optimizer was built for.

    `update_step` is given the variable of the backend, not Keras's.
    """
    return _read(optimizer, "_get_variable_index")(variable)


def averages_of(optimizer) -> list:
    """Pairs of a variable and its moving average, of `use_ema=True`.

    Args:
        optimizer: A `keras.optimizers.Optimizer`, which may hold others; or
            None.
    """
    inner = getattr(optimizer, "inner_optimizer", None)
    pairs = []
    for one in getattr(optimizer, "optimizers", [inner or optimizer]):
        if getattr(one, "use_ema", False) and one.built:
            averages = _read(one, "_model_variables_moving_average")
            variables = _read(one, "_trainable_variables")
            pairs += zip(variables, averages, strict=True)
    return [pair for pair in pairs if pair[1] is not None]


def with_constants(function):
    """A concrete function whose variables are constants of its graph."""
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    return convert_variables_to_constants_v2(function)
