"""Descriptions of objects and networks that JSON can store.

Objects with the same description behave the same, in this process or another,
if the globals that their functions read are the same: a description holds only
the names of globals. It contains no memory addresses and no names that Keras
numbers.
"""

import functools
import hashlib
import inspect
import types

import keras
import numpy as np

from tf_deepinversion.core.keras_internals import layers_of


def add_arrays(digest, arrays):
    """Adds arrays, their dtypes and shapes to a digest of `hashlib`."""
    for array in arrays:
        array = np.ascontiguousarray(array)
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(array.tobytes())


def described(value):
    """Describes a value that JSON cannot store by values that it can.

    A network is described by its architecture and weights; an object with
    `get_config` by its class and config; another object by its class and
    attributes; a function by its code and the values that it holds.

    Raises:
        TypeError: if the description would miss something that matters.

    >>> described(np.arange(3))
    [0, 1, 2]
    """
    if hasattr(value, "__array__"):
        array = np.asarray(value)
        if array.size > 100:  # as text it would be much larger than a hash
            digest = hashlib.sha256()
            add_arrays(digest, [array])
            return digest.hexdigest()
        plain = array.tolist()
        return repr(value) if isinstance(plain, np.generic) else plain
    if isinstance(value, keras.Layer):
        digest = hashlib.sha256()
        add_arrays(digest, value.get_weights())
        return [architecture(value), digest.hexdigest()]
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=repr)  # their order differs by process
    if isinstance(value, types.CodeType):
        return [value.co_code.hex(), value.co_names, list(value.co_consts)]
    if isinstance(value, functools.partial):
        return [value.func, value.args, value.keywords]
    if isinstance(value, types.MethodType):
        return [value.__func__, value.__self__]
    if isinstance(value, types.FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        return [value.__code__, value.__defaults__, value.__kwdefaults__, cells]
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    if hasattr(value, "get_config"):
        return [type(value).__name__, _config(value)]
    # Such a text contains an address in memory, which changes.
    text = [] if " at 0x" in repr(value) else [repr(value)]
    held = getattr(value, "__dict__", {})
    if not text and not held and type(value).__init__ is not object.__init__:
        raise _not_described(value)
    return [type(value).__name__, *text, dict(held)]


def _config(value) -> dict:
    """Returns `get_config` and the arguments that it omits."""
    try:
        config = dict(value.get_config())
    except NotImplementedError as error:
        raise _not_described(value) from error
    for name in _arguments(value):
        if name not in config and not hasattr(value, name):
            raise _not_described(value)
        held = getattr(value, f"_{name}", getattr(value, name, None))
        if name not in config or hasattr(held, "get_config"):
            config[name] = held  # the object itself, not Keras's config of it
    if isinstance(value, keras.optimizers.Optimizer):
        return _nameless(config, {})
    return config


def _arguments(value) -> list:
    """Lists the names of the constructor's arguments."""
    return [
        name
        for name, parameter in inspect.signature(type(value)).parameters.items()
        if parameter.kind
        not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]


def _not_described(value) -> TypeError:
    return TypeError(
        "To resume a run, all its arguments must be comparable: make "
        "`get_config` return each argument of `__init__`. Received: "
        f"a {type(value).__name__}, whose `get_config` does not"
    )


def architecture(model) -> list:
    """Describes the function of a network, without weights and names.

    Args:
        model: A `keras.Model`, or another layer.
    """
    layers = [
        [type(layer).__name__, _layer_config(layer)]
        for layer in layers_of(model)
    ]
    try:
        wiring = _nameless(model.get_config(), {})
    except Exception:  # a model that cannot be saved has no config
        wiring = None
    return [layers, wiring, [weight.shape for weight in model.weights]]


def _layer_config(layer) -> dict:
    if isinstance(layer, keras.Model):  # its layers follow
        return _plain_arguments(layer)
    try:
        # A wrapper's config holds that of its layer, with its name.
        config = {**_nameless(layer.get_config(), {}), "name": None}
    except NotImplementedError:  # a user's layer without `get_config`
        config = {}
    if type(layer).__module__.partition(".")[0] != "keras":
        for name in _arguments(layer):
            config.setdefault(name, getattr(layer, name, None))
    return config


def _plain_arguments(model) -> dict:
    """Returns numbers and strings that a user's network was made with."""
    if type(model).__module__.partition(".")[0] == "keras":
        return {}
    found = {name: getattr(model, name, None) for name in _arguments(model)}
    return {
        name: list(value) if isinstance(value, (list, tuple)) else value
        for name, value in found.items()
        if name != "name" and _is_plain(value)
    }


def _is_plain(value) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return isinstance(value, (bool, int, float, str))


def _nameless(config, places):
    """Replaces layers' names by positions, because Keras numbers names."""
    if isinstance(config, (list, tuple)):
        return [_nameless(part, places) for part in config]
    if not isinstance(config, dict):
        return config
    # A functional model: its layers get numbers instead of names.
    if "input_layers" in config:
        layers = config["layers"]
        places = {layer["name"]: i for i, layer in enumerate(layers)}
    found = {}
    for key, value in config.items():
        if key in ("keras_history", "input_layers", "output_layers"):
            found[key] = _placed(value, places)
        elif key != "name":
            found[key] = _nameless(value, places)
    return found


def _placed(reference, places):
    if isinstance(reference, dict):
        return {k: _placed(v, places) for k, v in reference.items()}
    if isinstance(reference, (list, tuple)):
        return [_placed(part, places) for part in reference]
    return places.get(reference, reference)
