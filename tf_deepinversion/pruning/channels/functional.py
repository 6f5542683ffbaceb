"""The graph of a functional or sequential model."""

import keras

from tf_deepinversion.core.keras_internals import functional_of
from tf_deepinversion.networks.copies import is_graph


def functional(model):
    """Returns the functional model of a functional or sequential model."""
    if not isinstance(model, keras.Model) or not hasattr(model, "layers"):
        raise TypeError(f"Expected a `keras.Model`. Received: {type(model)}")
    if isinstance(model, keras.Sequential) and not model.built:
        raise ValueError(
            "Build the model first: it has no weights yet. "
            f"Received: {model.name!r}"
        )
    if is_graph(model):
        whole = functional_of(model)
        if whole is not None:  # None for a Sequential without a graph
            return whole
    raise TypeError(
        "Expected a functional or sequential model, whose graph shows the "
        "channels. A subclassed model, or one with its own `call`, has no "
        "graph: rebuild it with `keras.Input` and `keras.Model(inputs, "
        "outputs)`. "
        f"Received: {type(model)}"
    )
