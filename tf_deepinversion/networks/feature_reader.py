"""Reads the features of chosen layers of a network."""

import keras
import numpy as np

from tf_deepinversion.core.keras_internals import layers_of
from tf_deepinversion.networks.call_hooks import collect
from tf_deepinversion.networks.call_hooks import watch
from tf_deepinversion.networks.classifier import Classifier
from tf_deepinversion.networks.layer_statistics import as_rows
from tf_deepinversion.networks.layer_statistics import default_layers
from tf_deepinversion.networks.layer_statistics import features_of
from tf_deepinversion.networks.layer_statistics import side_of


def calls_to(layers, calls) -> list:
    """Selects the calls of given layers."""
    wanted = {id(layer) for layer in layers}
    return [c for c in calls if c.name == "call" and id(c.layer) in wanted]


class FeatureReader:
    """Reads the features of chosen layers.

    Args:
        teacher: A `keras.Model` classifier.
        chosen: List of layers or names, or None for `default_layers` without
            the head.
        image_shape: Tuple `(height, width, channels)`, or None if the teacher
            fixes it.

    Attributes:
        calls: List of pairs (place, layer), one per call in the order of the
            calls. `rows` sets it.
    """

    def __init__(self, teacher, chosen, image_shape):
        self._classifier = Classifier(teacher, image_shape)
        self._all = layers_of(teacher)
        self._chosen = _chosen(teacher, chosen)
        self._named = chosen is not None
        self.calls = None

    def noise(self):
        """Makes two images of noise, which suffice to find the calls."""
        shape = (2, *self._classifier.image_shape)
        noise = np.random.default_rng(0).normal(size=shape)
        return keras.ops.convert_to_tensor(noise.astype("float32"))

    def rows(self, fed) -> list:
        """Returns the features of images, an array of rows for each call."""
        classifier = self._classifier
        with classifier.open(sums=False), watch(self._chosen):
            with collect() as calls:
                head = classifier.read(fed).head
        found = calls_to(self._chosen, calls)
        if not self._named and head is not None:
            found = [call for call in found if call.layer is not head.layer]
        if self._named:
            _require_called(self._chosen, found)
        # The place in the list identifies a layer in a copy of the network,
        # too.
        places = {id(layer): i for i, layer in enumerate(self._all)}
        self.calls = [(places[id(c.layer)], c.layer) for c in found]
        return [
            as_rows(features_of(call, side_of(call.layer)), call.layer)
            for call in found
        ]


def _chosen(teacher, chosen) -> list:
    if chosen is None:
        return default_layers(teacher)
    known = layers_of(teacher, include_self=False)
    return [_find(layer, known) for layer in chosen]


def _find(given, known):
    """Returns the layer with this name, or the layer itself."""
    found = [x for x in known if x is given or x.name == given]
    if len(found) == 1:
        return found[0]
    names = [x.name for x in known]
    raise ValueError(
        "`layers` must list layers of the teacher, or names of which each is "
        f"the name of one layer. Received: {getattr(given, 'name', given)!r}, "
        f"where the teacher has {names}"
    )


def _require_called(layers, calls):
    called = {id(call.layer) for call in calls}
    idle = [x.name for x in layers if id(x) not in called]
    if idle:
        raise ValueError(
            "Layers that the teacher never calls have no features: leave them "
            f"out of `layers`. Received: {', '.join(idle)}"
        )
