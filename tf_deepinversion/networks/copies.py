"""A complete copy of a network that shares nothing with the original.

`keras.models.clone_model` and `set_weights` lose state other than weights: the
mean and variance that a `Normalization` adapted, the table of a lookup layer,
the state of a random generator. This module copies such state like Keras saves
it, with `save_own_variables` and `save_assets`.
"""

import tempfile
import types

import keras
import numpy as np
from keras import layers

from tf_deepinversion.core.keras_internals import layers_of
from tf_deepinversion.core.keras_internals import output_shape_of
from tf_deepinversion.networks.image_shape import find_image_shape


def copy_of(model, changed=None, input_shape=None) -> keras.Model:
    """Copies a network, with identical outputs in training and inference.

    The copy keeps names, precision, regularizers and frozen layers. The copy is
    not compiled.

    Args:
        model: A built `keras.Model`: functional, sequential, or of a class with
            `get_config`. It stays unchanged.
        changed: Function from a layer to its replacement, or to None to copy
            the layer. The replacement is a layer of the same class with as many
            weights, such as `twin_of` makes, whose values the caller sets; or a
            function of tensors. By default all layers are copied.
        input_shape: Function from a model, this one or one within it, and its
            input to the shape of that input in the copy, including the batch.
            By default inputs keep their shape.

    Returns:
        A `keras.Model` of the same kind.

    Raises:
        ValueError: if a layer cannot be rebuilt from its config.

    Example:
        >>> twin = di.networks.copy_of(teacher)
        >>> bool(np.allclose(twin(images), teacher(images)))
        True
    """
    if not model.built:
        raise ValueError(
            "Build the model before copying it: it has no weights yet. "
            f"Received: {model.name!r}"
        )
    twins, pairs = {}, []

    def twin(layer):
        if id(layer) in twins:  # a shared layer, perhaps of a nested model
            return twins[id(layer)]
        new = changed and changed(layer)
        if new:
            # A function in place of a layer has no state.
            own = isinstance(new, layers.Layer)
            parts = [(layer, new, False)] if own else []
        elif is_graph(layer):
            new = _rebuilt(layer, twin, input_shape)
            parts = [(layer, new, False)]
        elif isinstance(layer, layers.Layer):
            new = _built_twin(layer)
            parts = [(layer, new, True)]
        else:
            new, parts = _operation(layer), []
        twins[id(layer)] = new
        pairs.extend(parts)
        return new

    copy = twin(model)
    for layer, new, whole in pairs:
        if whole:
            copy_state(layer, new)
    _copy_flags([(layer, new) for layer, new, _ in pairs])
    return copy


def is_graph(model) -> bool:
    """Tells whether a model is only its graph of layers.

    A functional or sequential model is. A model that overrides `call` is not.
    """
    kinds = [
        kind
        for kind in type(model).__mro__
        if kind is keras.Sequential or kind.__name__ == "Functional"
    ]
    return bool(kinds) and type(model).call is kinds[0].call


def of_size(model, size) -> keras.Model:
    """Copies a network of open image size as one of a fixed size.

    Args:
        model: A built `keras.Model` whose input is an image.
        size: Pair of ints, height and width.

    Returns:
        The copy, or the model itself if its size is the one asked for. A model
        that is not a graph of layers is called within a model of that size.

    Raises:
        ValueError: as for `find_image_shape`, or if the model leaves its
            channels open, or cannot take images of that size.
    """
    found = getattr(model, "input_shape", None)
    if not isinstance(found, tuple) or found[-1] is None:
        raise ValueError(
            "Expected a network of one image whose channels come last and are "
            "fixed. For another, build `x = keras.Input((height, width, "
            "channels))` and save `keras.Model(x, network(x))`; channels first "
            "need a `keras.layers.Permute((3, 1, 2))` before the network. "
            f"Received: input_shape={found}"
        )
    shape = find_image_shape(model, (*size, found[-1]))
    if tuple(found[1:]) == shape:
        return model
    try:
        return of_shape(model, shape)
    except ValueError as error:
        raise ValueError(
            f"The network cannot take images of shape {shape}: {error}"
        ) from error


def of_shape(model, shape):
    """Copies a network for images of another shape.

    Args:
        model: A built `keras.Model` whose input is an image.
        shape: Tuple `(height, width, channels)`; None leaves a size open.

    Returns:
        A `keras.Model`. A model that is not a graph of layers is called within
        a model of that size.
    """
    if not is_graph(model):
        pixels = keras.Input(shape)
        return keras.Model(pixels, model(pixels), name=model.name)

    def input_shape(network, tensor):
        # Models within the model see features of other sizes.
        batch, *inner = tensor.shape
        return batch, *(shape if network is model else inner)

    return copy_of(model, input_shape=input_shape)


def twin_of(layer, **config):
    """Makes a layer of the same class and config, with new weights.

    Args:
        layer: A `keras.layers.Layer`.
        **config: Entries of the config to change.

    Raises:
        ValueError: if the layer cannot be rebuilt.
    """
    if type(layer) is layers.Lambda:
        # A config cannot hold the function of a Lambda completely.
        return layers.Lambda(
            layer.function,
            output_shape_of(layer),
            layer.mask,
            layer.arguments,
            name=layer.name,
            dtype=layer.dtype_policy,
        )
    try:
        with keras.saving.custom_object_scope(_own_objects(layer)):
            found = {**layer.get_config(), **config}
            for name in found:
                if _is_lambda(getattr(layer, name, None)):
                    found[name] = getattr(layer, name)
            return type(layer).from_config(found)
    except Exception as error:
        raise _cannot(layer, error) from error


def copy_state(layer, twin):
    """Copies everything that a layer has learned to a layer of equal config.

    Args:
        layer: A built `keras.layers.Layer`.
        twin: A layer of the same class and config.

    Raises:
        ValueError: if their parts or shapes differ.
    """
    pairs = _parts(layer, twin)
    _require_alike(layer, twin)
    for old, new in pairs:
        store = {}
        old.save_own_variables(store)
        new.load_own_variables({k: _array(v) for k, v in store.items()})
        if hasattr(old, "save_assets"):
            with tempfile.TemporaryDirectory() as folder:
                old.save_assets(folder)
                new.load_assets(folder)
    # Keras does not save the seeds of random layers.
    for old, new in zip(layer.variables, twin.variables, strict=True):
        new.assign(_array(old))


def _new_inputs(model, shape):
    """Makes `keras.Input`s with the names and types of a model's inputs."""
    names = {
        id(x.output): x.name
        for x in layers_of(model)
        if isinstance(x, layers.InputLayer)
    }
    # `input` of a sequential model is the tensor of its first call.
    sequential = isinstance(model, keras.Sequential)
    return keras.tree.map_structure(
        lambda x: keras.Input(
            batch_shape=shape(model, x) if shape else x.shape,
            dtype=x.dtype,
            name=names[id(x)],
        ),
        model.inputs[0] if sequential else model.input,
    )


def _rebuilt(model, twin, input_shape):
    """Builds the same graph from other layers."""
    if isinstance(model, keras.Sequential):
        stack = [twin(layer) for layer in model.layers]
        if hasattr(model, "inputs"):
            stack = [_new_inputs(model, input_shape), *stack]
            return keras.Sequential(stack, name=model.name)
        copy = keras.Sequential(stack, name=model.name)
        copy.build_from_config(model.get_build_config())
        return copy
    inputs = _new_inputs(model, input_shape)
    if model.compiled:  # `clone_model` would also clone losses and metrics
        model = keras.Model(model.input, model.output, name=model.name)
    return keras.models.clone_model(model, inputs, twin)


def _built_twin(layer):
    new = twin_of(layer)
    plain = type(layer).build_from_config is layers.Layer.build_from_config
    if layer.built and not new.built and not plain:
        # Calling the layer in the graph would build it from the shape only.
        new.build_from_config(layer.get_build_config())
    return new


def _operation(operation):
    """Copies an operation with its name, such as the `+` of two tensors."""
    try:
        new = type(operation).from_config(operation.get_config())
    except (NotImplementedError, TypeError, ValueError):
        return operation  # an operation without state can be shared
    new.name = operation.name
    return new


def _is_lambda(value):
    return isinstance(value, types.FunctionType) and (
        value.__name__ == "<lambda>"
    )


def _own_objects(layer):
    """Finds the classes and functions of a layer that are not Keras's."""
    found = {}
    for part in layers_of(layer):
        # A custom layer may hold functions and objects of custom classes.
        for thing in (type(part), *vars(part).values()):
            if not isinstance(thing, (type, types.FunctionType)):
                thing = type(thing)
            module = thing.__module__.split(".")[0]
            if module in ("keras", "builtins", "tensorflow", "numpy"):
                continue
            name = thing.__name__
            if name == "<lambda>":  # `twin_of` copies it by itself
                continue
            if found.setdefault(name, thing) is not thing:
                raise ValueError(f"it has two different things called {name!r}")
    return found


def _parts(layer, twin):
    old, new = layers_of(layer), layers_of(twin)
    if [type(x) for x in old] != [type(x) for x in new]:
        raise _cannot(layer, "its config creates other inner layers")
    return list(zip(old, new, strict=True))


def _require_alike(layer, twin):
    shapes = [tuple(x.shape) for x in layer.variables]
    found = [tuple(x.shape) for x in twin.variables]
    if shapes != found:
        raise _cannot(
            layer,
            f"its variables have the shapes {shapes}, the copy's variables "
            f"have {found}",
        )


def _array(value):
    return np.array(keras.ops.convert_to_numpy(value))


def _copy_flags(pairs):
    pairs = [pair for old, new in pairs for pair in _both(old, new)]
    # Setting `trainable` also sets it for inner layers: outer layers first.
    pairs.sort(key=lambda pair: -len(layers_of(pair[0])))
    for old, new in pairs:
        new.trainable = old.trainable
    for old, new in pairs:
        if is_graph(old):  # its layers are pairs of their own
            continue
        for a, b in zip(old.variables, new.variables, strict=True):
            if b.trainable != a.trainable:
                b.trainable = a.trainable


def _both(old, new):
    return [(old, new)] if is_graph(old) else _parts(old, new)


def _cannot(layer, reason):
    return ValueError(
        f"The network cannot be copied, because {layer.name!r} "
        f"({type(layer).__name__}) cannot be rebuilt: give its class a "
        "`get_config` with all arguments of its constructor, and a `build` "
        f"that creates all its weights. Received: {reason}"
    )
