"""Unique names of the layers of a model, also of those in nested models."""

import collections

from tf_deepinversion.networks.copies import is_graph
from tf_deepinversion.pruning.channels.functional import functional


def layer_names(model, layers) -> dict:
    """Names layers, and tells those of equal name apart.

    Keras keeps names unique within a model, but not in the models inside it.

    Args:
        model: A functional or sequential `keras.Model`.
        layers: Iterable of layers of the model, or of models inside it.

    Returns:
        A dict from the layers to strings: the name of a layer, or
        `"block/name"` for one of several layers of that name.
    """
    paths, layers = dict(_paths(model)), list(layers)
    counts = collections.Counter(layer.name for layer in layers)
    return {
        layer: layer.name if counts[layer.name] == 1 else paths[layer]
        for layer in layers
    }


def _paths(model, prefix=""):
    for layer in functional(model).layers:
        if is_graph(layer):
            yield from _paths(layer, f"{prefix}{layer.name}/")
        else:
            yield layer, prefix + layer.name
