"""Reads a pickle of tensors without running its code.

A pickle is a program, and a malicious pickle can run any code when it is
unpickled. This module unpickles nothing. The standard library lists the
instructions of the program (`pickletools.genops`), and `Machine` follows only
the instructions that create plain data and tensors. `Machine` imports nothing,
calls nothing named by the file, and takes memory only in proportion to the size
of the file.
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


MARK = object()  # compared by identity: no value in a file can equal it


@dataclasses.dataclass(eq=False)
class _Global:
    """A name that the pickle contains. The name is never imported."""

    name: str


@dataclasses.dataclass(eq=False)
class Storage:
    """The numbers of tensors; `content` follows after the pickles of a file."""

    dtype: np.dtype
    count: int
    content: bytes | None = None


@dataclasses.dataclass(eq=False)
class Tensor:
    """A view of a storage. Offset and strides count numbers, not bytes."""

    storage: Storage
    offset: int
    shape: tuple
    strides: tuple

    def array(self) -> np.ndarray:
        """Returns the tensor as a view of its storage, in any order of axes."""
        # Strides of 0 could make a huge array of few numbers. NumPy itself
        # refuses an offset or strides that lead outside the content.
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
    # `isinstance` would accept a bool, which is an int in Python.
    return type(value) is int and 0 <= value < 2**40


def _are_counts(values):
    return type(values) is tuple and all(map(_is_count, values))


class Machine:
    """Follows the instructions of one pickle.

    Args:
        file: A binary file.
        storages: Dict to fill, from keys to `Storage`.
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
            raise ValueError(f"items are put into no {kind.__name__}")
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
        # PyTorch sets an attribute of the dictionary, the versions of the
        # modules. The value is dropped.
        self.stack.pop()
        self._container(dict)

    def storage(self):
        # A "persistent id" of PyTorch: kind, dtype, key, device, count, view.
        match self.stack.pop():
            case ("storage", _Global(name), str(key), str(), count, None) if (
                name in DTYPES and _is_count(count)
            ):
                storage = Storage(np.dtype(DTYPES[name]), count)
            case _:
                raise ValueError("a storage is described in an unknown way")
        # Tensors that share a storage must describe it alike.
        known = self.storages.setdefault(key, storage)
        if (known.dtype, known.count) != (storage.dtype, storage.count):
            raise ValueError("a storage is described in two ways")
        self.stack.append(known)

    def reduce(self):
        # In Python's own `pickle` this instruction calls any function. Here it
        # creates a dictionary or a tensor, or fails.
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
