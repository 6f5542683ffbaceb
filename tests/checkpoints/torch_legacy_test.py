"""Weight files of PyTorch: read without it, and never run."""

import contextlib
import io
import pickle
import sys
import types

import numpy as np
import pytest

from tf_deepinversion.checkpoints.safe_pickle import DTYPES
from tf_deepinversion.checkpoints.torch_file import MAGIC
from tf_deepinversion.checkpoints.torch_file import read_torch_legacy

LENGTH = 8  # bytes before the numbers of each storage


class Storage:
    def __init__(self, kind, key, values):
        self.kind, self.key, self.values = kind, key, values


class Tensor:
    """Pickled as PyTorch pickles a tensor."""

    def __init__(self, storage, offset, shape, strides):
        self.state = storage, offset, shape, strides, False, {}

    def __reduce__(self):
        return sys.modules["torch._utils"]._rebuild_tensor_v2, self.state


@pytest.fixture
def torch(monkeypatch):
    """A stand-in with the names by which PyTorch's pickles call for it."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in (*DTYPES, "torch BoolStorage"):
        name = name.split()[1]
        setattr(torch, name, type(name, (), {"__module__": "torch"}))

    def _rebuild_tensor_v2(*_):
        raise AssertionError("the file was run")

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)
    return torch


def write(path, torch, content, storages, magic=MAGIC, little=True):
    """As `torch.save` did it before version 1.6."""

    class Pickler(pickle.Pickler):
        def persistent_id(self, thing):
            if isinstance(thing, Storage):
                kind = getattr(torch, thing.kind)
                return (
                    "storage",
                    kind,
                    thing.key,
                    "cpu",
                    len(thing.values),
                    None,
                )

    file = io.BytesIO()
    facts = {"protocol_version": 1001, "little_endian": little}
    for thing in (magic, 1001, facts, content, [s.key for s in storages]):
        Pickler(file, protocol=2).dump(thing)
    for storage in storages:
        file.write(np.int64(len(storage.values)).tobytes())
        file.write(storage.values.tobytes())
    path.write_bytes(file.getvalue())
    return path


def storage(kind, key, count, dtype):
    values = np.random.default_rng(len(key)).integers(0, 100, count)
    return Storage(kind, key, values.astype(dtype))


def some(torch, path, blocks=1):
    """A file of a kind of each, and what is in it."""
    storages, tensors, expected = [], {}, {}
    kinds = list(DTYPES.items()) * blocks
    for i, (name, dtype) in enumerate(kinds):
        s = storage(name.split()[1], f"key{i}", 30, dtype)
        storages.append(s)
        tensors[f"a{i}"] = Tensor(s, 6, (4, 3, 2), (6, 2, 1))
        expected[f"a{i}"] = s.values[6:].reshape(4, 3, 2)
    tensors["turned"] = Tensor(s, 0, (2, 3), (1, 2))  # not in C order
    expected["turned"] = s.values[:6].reshape(3, 2).T
    tensors["scalar"] = Tensor(s, 7, (), ())
    expected["scalar"] = s.values[7]
    return write(path / "w.pth", torch, tensors, storages), expected


def test_reads_every_dtype_any_strides_and_shared_storages(torch, tmp_path):
    path, expected = some(torch, tmp_path)
    tensors = read_torch_legacy(path)
    assert list(tensors) == list(expected)
    for name, value in expected.items():
        assert tensors[name].dtype == value.dtype
        np.testing.assert_array_equal(tensors[name], value)


def test_state_dict_with_metadata_is_read(torch, tmp_path):
    """An OrderedDict pickles its attribute `_metadata` by BUILD."""
    import collections

    s = storage("FloatStorage", "1", 4, "<f4")
    content = collections.OrderedDict(weight=Tensor(s, 0, (2, 2), (2, 1)))
    content._metadata = collections.OrderedDict({"": {"version": 1}})
    tensors = read_torch_legacy(write(tmp_path / "w", torch, content, [s]))
    np.testing.assert_array_equal(tensors["weight"], s.values.reshape(2, 2))


class Evil:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("place", ["magic", "value", "key"])
def test_a_malicious_pickle_is_refused(torch, tmp_path, place):
    import os

    touched = tmp_path / "touched"
    evil = Evil(os.system, f"touch {touched}")
    content = {"value": {"a": evil}, "key": {evil: 1}, "magic": {}}[place]
    magic = evil if place == "magic" else MAGIC
    path = write(tmp_path / "w", torch, content, [], magic)
    with pytest.raises(ValueError, match="name 'posix system' is not allowed"):
        read_torch_legacy(path)
    assert not touched.exists()
    pickle.loads(pickle.dumps(evil))
    assert touched.exists(), "the test's pickle would do no harm"


@pytest.mark.parametrize(
    "tensor",
    [
        (0, (31,), (1,)),  # more than the storage has
        (1, (30,), (1,)),
        (0, (2, 3), (30, 1)),
        (0, (31, 10**6), (0, 0)),  # larger in memory than in the file
        (-1, (3,), (1,)),
        (0, (3,), (-1,)),
        (0, (3,), ()),
        (0, (3.0,), (1,)),
        (0, (2**62, 2**62), (1, 1)),
        (0, (1,) * 70, (1,) * 70),
        (True, (3,), (1,)),
    ],
)
def test_tensors_outside_of_their_storage_are_refused(torch, tmp_path, tensor):
    s = storage("FloatStorage", "1", 30, "<f4")
    path = write(tmp_path / "w", torch, {"a": Tensor(s, *tensor)}, [s])
    with pytest.raises(ValueError, match="another format or is damaged"):
        read_torch_legacy(path)


def test_every_cut_and_every_addition_is_noticed(torch, tmp_path):
    path, _ = some(torch, tmp_path)
    content = path.read_bytes()
    for piece in (content + b"\0", *(content[:n] for n in range(len(content)))):
        path.write_bytes(piece)
        with pytest.raises(ValueError, match="another format or is damaged"):
            read_torch_legacy(path)


def test_other_files_are_refused_by_name(torch, tmp_path):
    s = storage("FloatStorage", "1", 4, "<f4")
    t, path = Tensor(s, 0, (4,), (1,)), tmp_path / "w"
    own = [Storage(s.kind, "1", s.values), Storage(s.kind, "2", s.values)]
    longer = Storage(s.kind, "1", np.zeros(5, "<f4"))
    flags = storage("BoolStorage", "1", 4, "?")
    for content, storages, message in (
        ({"a": t}, [], "tensors name other storages"),
        ({"a": t}, own, "tensors name other storages"),
        ({"a": t}, [longer], "another length"),
        ({"a": Tensor(flags, 0, (4,), (1,))}, [flags], "BoolStorage"),
        ({"a": {"state": t}}, [s], "not hold a dictionary of tensors"),
        ([t], [s], "not hold a dictionary of tensors"),
        ({1: t}, [s], "a key is no string"),
    ):
        write(path, torch, content, storages)
        with pytest.raises(ValueError, match=message):
            read_torch_legacy(path)
    write(path, torch, {"a": t}, [s], magic=MAGIC + 1)
    with pytest.raises(ValueError, match="magic number"):
        read_torch_legacy(path)
    write(path, torch, {"a": t}, [s], little=False)
    with pytest.raises(ValueError, match="little-endian"):
        read_torch_legacy(path)
    path.write_bytes(b"PK\x03\x04 and so on")
    with pytest.raises(ValueError, match="_use_new_zipfile_serialization"):
        read_torch_legacy(path)


def nested(depth):
    """A pickle of few bytes whose tuple has 2**depth leaves."""
    twice = b"h\x00h\x00\x86q\x00"
    return b"\x80\x02)q\x00" + twice * depth + b"0."


@pytest.mark.parametrize(
    "pickled",
    [
        nested(200),  # exponential, if anything looks at its leaves
        b"\x80\x02}" + b")q\x00" + b"h\x00h\x00\x86q\x00" * 200 + b"K\x01s.",
        b"\x80\x02Nr\xff\xff\xff\xff.",  # a memo of 4 billion entries
        b"\x80\x05\x96\xff\xff\xff\xff\xff\xff\xff\x0f.",  # 2**60 bytes
        b"\x80\x05\x8d\xff\xff\xff\xff\xff\xff\xff\x0f.",
        b"\x80\x02X\xff\xff\xff\xff.",
        b"I" + b"9" * 100_000 + b"\n.",
        b"(" * 100_000,
        b".",
        b"",
    ],
)
def test_bombs_are_refused_at_once(tmp_path, pickled):
    path = tmp_path / "w"
    path.write_bytes(pickled)
    with pytest.raises(ValueError, match="another format or is damaged"):
        read_torch_legacy(path)


# What running a file's code would cause, as Python's audit events name it.
EVENTS = {"compile", "exec", "import", "os.system", "pickle.find_class"}
watching = []


def audit(event, _):
    if watching and event in EVENTS:
        watching[-1].append(event)


sys.addaudithook(audit)


@contextlib.contextmanager
def watched():
    watching.append([])
    try:
        yield watching[-1]
    finally:
        watching.pop()


def test_the_audit_sees_what_it_should():
    with watched() as events:
        pickle.loads(b"cos\nsystem\n.")
    assert "pickle.find_class" in events


def mutated(content, random):
    """A copy with one to four bytes, or a stretch, changed, lost or doubled."""
    content = bytearray(content)
    for _ in range(random.integers(1, 5)):
        place = int(random.integers(len(content)))
        end = place + int(random.integers(1, 9))
        match random.integers(5):
            case 0:
                content[place] = random.integers(256)
            case 1:
                content[place] ^= 1 << random.integers(8)
            case 2:
                del content[place:end]
            case 3:
                content[place:place] = content[place:end]
            case 4:
                content[place:end] = random.bytes(end - place)
    return bytes(content)


def fuzz(torch, tmp_path, count, seed):
    """How many of the mutants were read; the others gave a clean error."""
    path, _ = some(torch, tmp_path, blocks=2)
    content = path.read_bytes()
    assert 2_000 < len(content) < 6_000
    random, read = np.random.default_rng(seed), 0
    for _ in range(count):
        mutant = mutated(content, random)
        path.write_bytes(mutant)
        try:
            with watched() as events:
                tensors = read_torch_legacy(path)
        except ValueError as e:
            assert not events
            assert (
                "another format or is damaged" in str(e)
                and len(str(e)) < 10_000
            )
            continue
        read += 1
        assert not events
        for name, tensor in tensors.items():
            assert isinstance(name, str) and not tensor.flags.writeable
            # What it says is in the file, byte by byte.
            assert tensor.size * tensor.itemsize <= len(mutant)
            base = tensor
            while isinstance(base, np.ndarray):
                base = base.base
            assert tensor.size == 0 or base in mutant
    return read


def test_mutants_are_read_right_or_refused(torch, tmp_path):
    read = fuzz(torch, tmp_path, 3_000, seed=0)
    assert 100 < read < 2_900  # most mutants of the numbers are right files


@pytest.mark.slow
def test_a_hundred_thousand_mutants(torch, tmp_path):
    """One minute on a free core."""
    fuzz(torch, tmp_path, 100_000, seed=1)
