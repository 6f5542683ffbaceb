"""Replaces attributes of single layers for a while, and puts them back.

That is how the calls of layers are watched: the one way that sees every call
in functional, sequential, nested, shared and subclassed models alike, eagerly,
in a graph and under XLA. What a call sees goes to the collectors of the thread
that makes it, so replicas do not mix.
"""

import contextlib
import threading
import typing


class Call(typing.NamedTuple):
    """One watched call: the layer, what it was given and what it gave.

    `name` is that of the attribute which was called; `sums`, what else was
    found of the inputs by the one who read them.
    """

    layer: object
    inputs: object
    outputs: object = None
    name: str = "call"
    sums: object = None


class _Replaced:
    """An attribute as it was, and the values that stand in for it."""

    def __init__(self, owner, name):
        self.owner, self.name = owner, name
        self.original = getattr(owner, name, None)
        self.own = name in vars(owner)
        self.values = []

    def apply(self):
        # Not by setattr: Keras would track what it is given.
        if self.values:
            object.__setattr__(self.owner, self.name, self.values[-1][0])
        elif self.own:
            object.__setattr__(self.owner, self.name, self.original)
        else:
            object.__delattr__(self.owner, self.name)


_thread = threading.local()


_lock = threading.Lock()


_replaced = {}  # by (id of the owner, name)


def original(owner, name):
    """An attribute as it is when nobody replaces it, or None."""
    replaced = _replaced.get((id(owner), name))
    return replaced.original if replaced else getattr(owner, name, None)


@contextlib.contextmanager
def replace(name, values):
    """While open, an attribute of some objects has other values.

    Replacements may be nested and may overlap: the value is that of the one
    which was opened last and is still open. When the last one closes, also by
    an exception, the object is as it was before the first.

    Args:
        name: String, the attribute.
        values: List of pairs of an object and its value.
    """
    held = []
    with _lock:
        for owner, value in values:
            key = id(owner), name
            replaced = _replaced.setdefault(key, _Replaced(owner, name))
            # A list, to be found again by identity.
            held.append((key, [value]))
            replaced.values.append(held[-1][1])
            replaced.apply()
    try:
        yield
    finally:
        with _lock:
            for key, value in held:
                replaced = _replaced[key]
                replaced.values = [v for v in replaced.values if v is not value]
                replaced.apply()
                if not replaced.values:
                    del _replaced[key]


class _Tap:
    """Stands in for an attribute of a layer, shared by all who watch it."""

    def __init__(self, layer, name, read):
        self.layer, self.name = layer, name
        self.read = read or self._call
        self.function = getattr(layer, name)

    def _call(self, layer, function, inputs, *args, **kwargs):
        outputs = function(inputs, *args, **kwargs)
        return Call(layer, inputs, outputs, self.name)

    def __call__(self, inputs, *args, **kwargs):
        call = self.read(self.layer, self.function, inputs, *args, **kwargs)
        for calls in getattr(_thread, "collectors", ()):
            calls.append(call)
        return call.outputs


def _tap(layer, name, read):
    present = vars(layer).get(name)
    return present if isinstance(present, _Tap) else _Tap(layer, name, read)


@contextlib.contextmanager
def watch(layers, name="call", read=None):
    """While open, what the layers' attribute is called with can be collected.

    Args:
        layers: List of layers.
        name: String, an attribute of theirs that is called.
        read: Function of a layer, its attribute and what that is called with,
            which returns the `Call`. None: calls it.
    """
    with replace(name, [(layer, _tap(layer, name, read)) for layer in layers]):
        yield


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
