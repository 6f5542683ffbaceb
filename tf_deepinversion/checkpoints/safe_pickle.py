"""A machine that follows a pickle of tensors, and runs nothing.

A pickle is a program, and a malicious one does what it likes to whoever
unpickles it. Here nothing is unpickled: the standard library takes the
program apart (`pickletools.genops`), and a machine of our own follows the few
instructions that make plain data and tensors. It imports nothing, calls
nothing, and holds no more than a file has bytes for.
"""

import dataclasses
import math
import pickletools

import numpy as np

DTYPES = {
    "torch DoubleStorage": "<f8",
    "torch FloatStorage": "<f4",
    "torch HalfStorage": "<f2",
    "torch LongStorage": "<i8",
    "torch IntStorage": "<i4",
    "torch ShortStorage": "<i2",
    "torch CharStorage": "|i1",
    "torch ByteStorage": "|u1",
}


DICTIONARY = "collections OrderedDict"


TENSOR = "torch._utils _rebuild_tensor_v2"


MARK = object()


@dataclasses.dataclass(eq=False)
class _Global:
    """What the pickle names; never imported."""

    name: str


@dataclasses.dataclass(eq=False)
class Storage:
    dtype: np.dtype
    count: int
    content: bytes | None = None


@dataclasses.dataclass(eq=False)
class Tensor:
    storage: Storage
    offset: int
    shape: tuple
    strides: tuple

    def array(self) -> np.ndarray:
        """The tensor as a view of its storage, in any order of axes."""
        if math.prod(self.shape) > self.storage.count:
            raise ValueError("a tensor has more values than its storage")
        size = self.storage.dtype.itemsize
        return np.ndarray(
            self.shape,
            self.storage.dtype,
            self.storage.content,
            self.offset * size,
            [stride * size for stride in self.strides],
        )


def _is_count(value):
    return type(value) is int and 0 <= value < 2**40


def _are_counts(values):
    return type(values) is tuple and all(map(_is_count, values))


class Machine:
    """Follows one pickle.

    Args:
        file: A binary file.
        storages: Dict, filled with the storages by their keys.
    """

    def __init__(self, file, storages):
        self.stack, self.memo, self.storages = [], {}, storages
        self.result = self._follow(file)

    def _follow(self, file):
        for opcode, argument, _ in pickletools.genops(file):
            name = opcode.name
            if name == "STOP":
                return self.stack.pop()
            if name in CONSTANTS:
                self.stack.append(CONSTANTS[name])
            elif name in ARGUMENTS:
                self.stack.append(argument)
            elif name in STEPS:
                STEPS[name](self, argument)
            elif name != "PROTO":
                raise ValueError(f"the instruction {name} is not allowed")
        raise ValueError("it ends too early")

    def _pop_to_mark(self):
        items = []
        while (item := self.stack.pop()) is not MARK:
            items.append(item)
        return items[::-1]

    def _container(self, kind):
        if type(self.stack[-1]) is not kind:
            raise ValueError(f"items are put into what is no {kind.__name__}")
        return self.stack[-1]

    def put(self, index):
        self.memo[index] = self.stack[-1]

    def get(self, index):
        self.stack.append(self.memo[index])

    def name(self, name):
        if name not in (DICTIONARY, TENSOR, *DTYPES):
            raise ValueError(f"the name {name!r} is not allowed")
        self.stack.append(_Global(name))

    def new(self, kind):
        self.stack.append(kind())

    def tuple_of(self, count):
        if count is None:
            items = self._pop_to_mark()
        else:
            items = [self.stack.pop() for _ in range(count)][::-1]
        self.stack.append(tuple(items))

    def set_items(self, items):
        target = self._container(dict)
        keys, values = items[::2], items[1::2]
        if not all(type(key) is str for key in keys):
            raise ValueError("a key is no string")
        if len(set(keys)) < len(keys) or target.keys() & set(keys):
            raise ValueError("a key occurs twice")
        target.update(zip(keys, values, strict=True))

    def set_item(self):
        value, key = self.stack.pop(), self.stack.pop()
        self.set_items([key, value])

    def append(self, items):
        self._container(list).extend(items)

    def build(self):
        # The versions of the modules, kept as an attribute of the dictionary.
        self.stack.pop()
        self._container(dict)

    def storage(self):
        match self.stack.pop():
            case ("storage", _Global(name), str(key), str(), count, None) if (
                name in DTYPES and _is_count(count)
            ):
                storage = Storage(np.dtype(DTYPES[name]), count)
            case _:
                raise ValueError("a storage is described in an unknown way")
        known = self.storages.setdefault(key, storage)
        if (known.dtype, known.count) != (storage.dtype, storage.count):
            raise ValueError("a storage is described in two ways")
        self.stack.append(known)

    def reduce(self):
        arguments, function = self.stack.pop(), self.stack.pop()
        match (getattr(function, "name", None), arguments):
            case (name, ()) if name == DICTIONARY:
                self.stack.append({})
            case (name, (Storage() as s, offset, shape, strides, *_)) if (
                name == TENSOR
                and len(arguments) == 6
                and _is_count(offset)
                and _are_counts(shape)
                and _are_counts(strides)
                and len(shape) == len(strides) <= 8
            ):
                self.stack.append(Tensor(s, offset, shape, strides))
            case _:
                raise ValueError("something is made in an unknown way")


CONSTANTS = {
    "MARK": MARK,
    "NONE": None,
    "NEWTRUE": True,
    "NEWFALSE": False,
    "EMPTY_TUPLE": (),
}


ARGUMENTS = {"BININT", "BININT1", "BININT2", "LONG1", "BINUNICODE"}


STEPS = {
    "GLOBAL": Machine.name,
    "BINPUT": Machine.put,
    "LONG_BINPUT": Machine.put,
    "BINGET": Machine.get,
    "LONG_BINGET": Machine.get,
    "EMPTY_DICT": lambda m, _: m.new(dict),
    "EMPTY_LIST": lambda m, _: m.new(list),
    "TUPLE": lambda m, _: m.tuple_of(None),
    "TUPLE1": lambda m, _: m.tuple_of(1),
    "TUPLE2": lambda m, _: m.tuple_of(2),
    "TUPLE3": lambda m, _: m.tuple_of(3),
    "SETITEM": lambda m, _: m.set_item(),
    "SETITEMS": lambda m, _: m.set_items(m._pop_to_mark()),
    "APPEND": lambda m, _: m.append([m.stack.pop()]),
    "APPENDS": lambda m, _: m.append(m._pop_to_mark()),
    "BUILD": lambda m, _: m.build(),
    "BINPERSID": lambda m, _: m.storage(),
    "REDUCE": lambda m, _: m.reduce(),
}
