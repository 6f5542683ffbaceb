"""Unique names of the layers of a model, also of those in nested models."""

import collections

import keras


def layer_names(model, layers) -> dict:
    """Names layers, and tells those of equal name apart.

    Keras keeps names unique within a model, but not in the models inside it.

    Args:
        model: A `keras.Model`.
        layers: Iterable of layers of the model, or of models inside it.

    Returns:
        A dict from the layers to strings: the name of a layer, or
        `"block/name"` for one of several layers of that name. Layers inside
        layers of one's own keep their names.
    """
    paths, layers = dict(_paths(model)), list(dict.fromkeys(layers))
    counts = collections.Counter(layer.name for layer in layers)
    return {
        layer: paths.get(layer, layer.name)
        if counts[layer.name] > 1
        else layer.name
        for layer in layers
    }


def _paths(model, prefix=""):
    for layer in model.layers:
        yield layer, prefix + layer.name
        if isinstance(layer, keras.Model):
            yield from _paths(layer, f"{prefix}{layer.name}/")
