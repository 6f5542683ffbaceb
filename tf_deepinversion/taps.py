"""Watches the calls of single layers of a model, and leaves it as it was.

An attribute of a layer (its `call`, its `activation`) is replaced on the
instance while it is watched: the one way that sees every call in functional,
sequential, nested, shared and subclassed models alike, eagerly, in a graph and
under XLA. What a call sees goes to the collectors of the thread that makes it,
so replicas do not mix.
"""

import contextlib
import threading
import typing


class Call(typing.NamedTuple):
    """One watched call: the layer, what it was given and what it gave.

    `name` is that of the attribute which was called.
    """

    layer: object
    inputs: object
    outputs: object = None
    name: str = "call"


_thread = threading.local()
_lock = threading.Lock()


class _Tap:
    """Stands in for an attribute of a layer, shared by all who watch it."""

    def __init__(self, layer, name):
        self.layer, self.name = layer, name
        self.function = getattr(layer, name)
        self.own = name in vars(layer)
        self.users = 0

    def __call__(self, inputs, *args, **kwargs):
        outputs = self.function(inputs, *args, **kwargs)
        for calls in getattr(_thread, "collectors", ()):
            calls.append(Call(self.layer, inputs, outputs, self.name))
        return outputs

    def restore(self):
        # Not by setattr: Keras would track what it is given.
        if self.own:
            object.__setattr__(self.layer, self.name, self.function)
        else:
            object.__delattr__(self.layer, self.name)


def unwatched(layer, name):
    """An attribute of a layer as it is when nobody watches it, or None."""
    attribute = getattr(layer, name, None)
    return attribute.function if isinstance(attribute, _Tap) else attribute


@contextlib.contextmanager
def watch(layers, name="call"):
    """While open, what the layers' attribute is called with can be collected.

    Watches may be nested and may overlap; when the last one on a layer closes,
    also by an exception, the layer is as it was before the first.

    Args:
        layers: List of layers.
        name: String, an attribute of theirs that is called.
    """
    with _lock:
        for layer in layers:
            if not isinstance(vars(layer).get(name), _Tap):
                object.__setattr__(layer, name, _Tap(layer, name))
            vars(layer)[name].users += 1
    try:
        yield
    finally:
        with _lock:
            for layer in layers:
                tap = vars(layer)[name]
                tap.users -= 1
                if not tap.users:
                    tap.restore()


@contextlib.contextmanager
def collect():
    """Collects the watched calls of this thread, in the order they return.

    Yields:
        A list that fills with `Call`.
    """
    if not hasattr(_thread, "collectors"):
        _thread.collectors = []
    calls = []
    _thread.collectors.append(calls)
    try:
        yield calls
    finally:
        # By identity: two empty lists are equal.
        _thread.collectors = [c for c in _thread.collectors if c is not calls]
