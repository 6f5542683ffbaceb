"""Reads weight files that PyTorch wrote before version 1.6, without PyTorch.

Such a file is five pickles and then the raw numbers: a magic number, the
version of the protocol, facts about the machine, the dictionary of tensors
(which name their storages), the list of storages; then each storage, its
length before it.

A pickle is a program, and a malicious one does what it likes to whoever
unpickles it. Here nothing is unpickled: the standard library takes the
program apart (`pickletools.genops`), and a machine of our own follows the few
instructions that make plain data and tensors. It imports nothing, calls
nothing, and holds no more than a file has bytes for.
"""

import dataclasses
import io
import math
import pathlib
import pickletools
import struct

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
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
class _Storage:
    dtype: np.dtype
    count: int
    content: bytes | None = None


@dataclasses.dataclass(eq=False)
class _Tensor:
    storage: _Storage
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


class _Machine:
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
                storage = _Storage(np.dtype(DTYPES[name]), count)
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
            case (name, (_Storage() as s, offset, shape, strides, *_)) if (
                name == TENSOR
                and len(arguments) == 6
                and _is_count(offset)
                and _are_counts(shape)
                and _are_counts(strides)
                and len(shape) == len(strides) <= 8
            ):
                self.stack.append(_Tensor(s, offset, shape, strides))
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
    "GLOBAL": _Machine.name,
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
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


def _read_storages(file, storages):
    keys = _Machine(file, {}).result
    if type(keys) is not list or not all(type(key) is str for key in keys):
        raise ValueError("the list of its storages is damaged")
    if sorted(keys) != sorted(storages):
        raise ValueError("its storages are not those that its tensors name")
    for storage in map(storages.get, keys):
        if struct.unpack("<q", file.read(8)) != (storage.count,):
            raise ValueError("a storage has another length than was said")
        size = storage.count * storage.dtype.itemsize
        storage.content = file.read(size)
        if len(storage.content) < size:
            raise ValueError("it is cut short")
    if file.read(1):
        raise ValueError("something follows its last storage")


def _read(file) -> dict[str, np.ndarray]:
    if _Machine(file, {}).result != MAGIC:
        raise ValueError("it does not begin with the magic number")
    if _Machine(file, {}).result != PROTOCOL:
        raise ValueError(f"its protocol is not {PROTOCOL}")
    machine = _Machine(file, {}).result
    if type(machine) is not dict or machine.get("little_endian") is not True:
        raise ValueError("it was not written on a little-endian machine")
    storages = {}
    tensors = _Machine(file, storages).result
    if type(tensors) is not dict or not all(
        type(tensor) is _Tensor for tensor in tensors.values()
    ):
        raise ValueError("it holds something else than tensors by their names")
    _read_storages(file, storages)
    return {name: tensor.array() for name, tensor in tensors.items()}


def read_torch_legacy(path) -> dict[str, np.ndarray]:
    """Reads a state dictionary in PyTorch's format of before version 1.6.

    No code in the file is run, and PyTorch is not needed.

    Args:
        path: String or path of the file, most often `*.pth`.

    Returns:
        A dict from names to read-only arrays, in the order of the file.

    Raises:
        ValueError: if the file is not of this format, is damaged, or holds
            anything but tensors by their names.
    """
    content = pathlib.Path(path).read_bytes()
    if content[:4] == b"PK\x03\x04":
        raise ValueError(
            f"{path} is of the format since PyTorch 1.6, a zip archive. Save "
            "it once more in PyTorch by torch.save(..., "
            "_use_new_zipfile_serialization=False)."
        )
    try:
        return _read(io.BytesIO(content))
    except (
        IndexError,
        KeyError,
        OverflowError,
        TypeError,
        ValueError,
        struct.error,
    ) as e:
        raise ValueError(
            "Expected tensors in PyTorch's format of before version 1.6. "
            f"Received: {path}, which is not or is damaged: {e}"
        ) from e
