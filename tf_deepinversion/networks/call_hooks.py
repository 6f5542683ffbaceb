"""Watches the calls of layers by replacing their attributes for a while.

Replacing `call` sees every call in functional, sequential, nested, shared and
subclassed models, eagerly, in a graph and under XLA. Each thread collects its
own calls, so replicas do not mix.
"""

import contextlib
import threading
import typing


class Call(typing.NamedTuple):
    """One watched call of a layer.

    `name` is the attribute that was called, `"call"` or `"activation"`. `sums`
    holds per-channel sums of the inputs if the hook computed them, else None.
    """

    layer: object
    inputs: object
    outputs: object = None
    name: str = "call"
    sums: object = None


class _Replaced:
    """The original attribute, and the values that replace it."""

    def __init__(self, owner, name):
        self.owner, self.name = owner, name
        self.original = getattr(owner, name, None)
        # Whether the object itself has the attribute, or only its class.
        self.own = name in vars(owner)
        self.values = []

    def apply(self):
        # `setattr` would make Keras track the value as part of the layer.
        if self.values:
            object.__setattr__(self.owner, self.name, self.values[-1][0])
        elif self.own:
            object.__setattr__(self.owner, self.name, self.original)
        else:
            object.__delattr__(self.owner, self.name)


# The collectors of each thread.
_thread = threading.local()


# Guards `_replaced`.
_lock = threading.Lock()


_replaced = {}  # by (id of the owner, name)


def original(owner, name):
    """Returns an attribute's value without replacements, or None."""
    replaced = _replaced.get((id(owner), name))
    return replaced.original if replaced else getattr(owner, name, None)


def is_method_of(kind, owner, name) -> bool:
    """Tells whether an object has a class's method, and none of its own.

    Args:
        kind: A class, such as `keras.layers.Conv2D`.
        owner: An object.
        name: String, the method.
    """
    method = getattr(original(owner, name), "__func__", None)
    return method is getattr(kind, name)


@contextlib.contextmanager
def replace(name, values):
    """Within the context, replaces an attribute of some objects.

    Replacements may nest and overlap: of the open replacements, the one opened
    last counts. When the last one closes, also after an exception, the object
    is as before the first.

    Args:
        name: String, the attribute.
        values: List of pairs (object, value).
    """
    held = []
    with _lock:
        for owner, value in values:
            key = id(owner), name
            replaced = _replaced.setdefault(key, _Replaced(owner, name))
            # A list, because equal values must be told apart by identity.
            held.append((key, [value]))
            replaced.values.append(held[-1][1])
            replaced.apply()
    # The lock protects the table only: several threads may be inside the
    # context.
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
    """Replaces an attribute of a layer; all watchers share it."""

    def __init__(self, layer, name, read):
        self.layer, self.name = layer, name
        self.read = read or self._call
        # Bound now: afterwards the attribute is this object.
        self.function = getattr(layer, name)

    def _call(self, layer, function, inputs, *args, **kwargs):
        outputs = function(inputs, *args, **kwargs)
        return Call(layer, inputs, outputs, self.name)

    def __call__(self, inputs, *args, **kwargs):
        call = self.read(self.layer, self.function, inputs, *args, **kwargs)
        # A call in a thread without a collector is not recorded.
        for calls in getattr(_thread, "collectors", ()):
            calls.append(call)
        return call.outputs


def _tap(layer, name, read):
    # A second watcher shares the replacement of the first, or each call would
    # be recorded twice.
    present = vars(layer).get(name)
    return present if isinstance(present, _Tap) else _Tap(layer, name, read)


@contextlib.contextmanager
def watch(layers, name="call", read=None):
    """Within the context, `collect` records the calls of an attribute.

    Args:
        layers: List of layers.
        name: String, the attribute that is called. Defaults to `"call"`.
        read: Function that gets the layer, the original attribute and the
            arguments of the call, and returns the `Call`. By default it calls
            the attribute.
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
        # By identity, because two empty lists compare equal.
        _thread.collectors = [c for c in _thread.collectors if c is not calls]
