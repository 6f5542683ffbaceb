"""A checkpoint appears whole or not at all, and is never mistaken."""

import json
import os
import pathlib

import keras
import numpy as np
import pytest

from tf_deepinversion import HorizontalFlip
from tf_deepinversion import Jitter
from tf_deepinversion import Shift
from tf_deepinversion.core import files
from tf_deepinversion.core import run_state
from tf_deepinversion.core.array_file import load_arrays
from tf_deepinversion.core.array_file import save_arrays
from tf_deepinversion.transforms.base import Transform

DTYPES = ["float16", "float32", "float64", "int32", "int64", "uint8", "bool"]


def example():
    random = np.random.default_rng(0)
    return {
        "images": random.normal(size=(2, 3, 3, 1)).astype("float32"),
        "step": np.int64(7),
    }


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == np.shape(array)
        assert found[name].tobytes() == array.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 1, 4)])
def test_round_trip_is_bit_equal(tmp_path, dtype, shape):
    random = np.random.default_rng(0)
    array = (random.normal(size=shape) * 100).astype(dtype)
    arrays = {"a": array, "b": np.asfortranarray(array)}
    path = tmp_path / "run.npz"
    run_state.save(path, arrays, "run")
    assert_equal(run_state.load(path, "run"), arrays)


def test_values_that_are_not_finite_come_back(tmp_path):
    arrays = {"a": np.array([np.nan, np.inf, -0.0], "float32")}
    run_state.save(tmp_path / "run", arrays, "run")
    # The file has the name that was asked for: no suffix is added.
    assert os.listdir(tmp_path) == ["run"]
    assert_equal(run_state.load(tmp_path / "run", "run"), arrays)


def test_no_file_is_no_checkpoint(tmp_path, monkeypatch):
    assert run_state.load(tmp_path / "none.npz", "run") is None
    # Another worker removes it once it was seen.
    monkeypatch.setattr(pathlib.Path, "exists", lambda path: True)
    assert run_state.load(tmp_path / "none.npz", "run") is None


def test_folders_are_made_and_files_replaced(tmp_path):
    path = tmp_path / "a" / "b" / "run.npz"
    run_state.save(path, {"old": np.zeros(3)}, "run")
    run_state.save(str(path), example(), "run")
    assert_equal(run_state.load(path, "run"), example())
    assert os.listdir(path.parent) == ["run.npz"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_writer_that_fails_leaves_the_old_file_and_no_litter(tmp_path, error):
    path = tmp_path / "run.npz"
    path.write_bytes(b"old")

    def write(file):
        file.write(b"new")
        assert path.read_bytes() == b"old"
        raise error

    with pytest.raises(error):
        files.write_atomically(path, write)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["run.npz"]


def test_a_save_that_fails_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "run.npz"
    run_state.save(path, example(), "run")

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        run_state.save(path, {"a": np.ones(99)}, "run")
    assert_equal(run_state.load(path, "run"), example())
    assert os.listdir(tmp_path) == ["run.npz"]


def test_the_old_file_is_there_until_the_new_one_is_whole(
    tmp_path, monkeypatch
):
    path = tmp_path / "run.npz"
    run_state.save(path, example(), "run")
    replaced = []
    replace = os.replace

    def watching_replace(source, target):
        assert_equal(run_state.load(path, "run"), example())
        new = run_state.load(source, "run")
        replaced.append((os.path.dirname(source), new["a"].tolist()))
        replace(source, target)

    monkeypatch.setattr(os, "replace", watching_replace)
    run_state.save(path, {"a": np.arange(3)}, "run")
    # A rename is atomic within one folder.
    assert replaced == [(str(tmp_path), [0, 1, 2])]


def test_a_truncated_file_is_refused(tmp_path):
    path = tmp_path / "run.npz"
    run_state.save(path, example(), "run")
    content = path.read_bytes()
    for length in range(0, len(content), 13):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match="damaged") as error:
            run_state.load(path, "run")
        assert str(path) in str(error.value)


@pytest.mark.parametrize("bits", [0x01, 0x02, 0x20, 0xFF])
def test_a_flipped_byte_is_refused_or_harmless(tmp_path, bits):
    # More than zipfile reads, and so checks, at once.
    values = np.random.default_rng(0).normal(size=(36, 6, 6))
    arrays = {"images": values.astype("float32")}
    path = tmp_path / "run.npz"
    run_state.save(path, arrays, "run")
    content = path.read_bytes()
    start = content.index(arrays["images"].tobytes())
    data = range(start, start + arrays["images"].nbytes)
    refused = set()
    for i in range(len(content)):
        if i in data[1:-1] and i % 100:
            continue  # one byte of a hundred will do
        path.write_bytes(
            content[:i] + bytes([content[i] ^ bits]) + content[i + 1 :]
        )
        try:
            # Dates and the like may change: no value does.
            assert_equal(run_state.load(path, "run"), arrays)
        except ValueError as e:
            assert str(path) in str(e)
            refused.add(i)
    assert {i for i in data if not i % 100} <= refused
    assert {data[0], data[-1]} <= refused


def test_an_array_that_claims_to_be_smaller_is_refused(tmp_path):
    path, header = tmp_path / "file.npz", {"format": "file 1"}
    save_arrays(path, {"a": np.arange(200_000)}, header)
    content = path.read_bytes()
    assert content.count(b"(200000,)") == 1
    path.write_bytes(content.replace(b"(200000,)", b"(16,)    "))
    with pytest.raises(ValueError, match="a file. Received: .*CRC-32|bad sum"):
        load_arrays(path, "file 1", lambda arrays, _: arrays, "a file")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no checkpoint at all",
        b"\x80\x04\x95a pickle",
        b"PK\x05\x06" + bytes(18),
        b"\x93NUMPY\x01\x00",
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path, content):
    path = tmp_path / "run.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="damaged.*Delete the file") as error:
        run_state.load(path, "run")
    assert str(path) in str(error.value)


def test_another_numpy_file_is_refused(tmp_path):
    one, several = tmp_path / "one.npy", tmp_path / "several.npz"
    np.save(one, np.zeros(3))
    np.savez(several, images=np.zeros(3))
    for path in (one, several):
        with pytest.raises(ValueError, match=f"{path.name} is damaged"):
            run_state.load(path, "run")


def test_the_checkpoint_of_another_run_is_refused(tmp_path):
    path = tmp_path / "run.npz"
    run_state.save(path, example(), "run")
    with pytest.raises(ValueError, match="belongs to another run") as error:
        run_state.load(path, "another")
    assert str(path) in str(error.value)


def test_the_checkpoint_of_another_format_is_refused(tmp_path):
    path = tmp_path / "run.npz"
    header = json.dumps({"format": "something else 1", "run": "run"})
    np.savez(path, **example(), _header=np.array(header))
    with pytest.raises(ValueError, match="Delete the file") as error:
        run_state.load(path, "run")
    assert str(path) in str(error.value)


WEIGHTS = [np.arange(6, dtype="float32").reshape(2, 3), np.zeros(2)]


def changed(array, index, value):
    array = array.copy()
    array[index] = value
    return array


def test_equal_runs_have_equal_fingerprints():
    description = {"seed": 1, "terms": [("l2", {"weight": 0.5})]}
    reordered = {"terms": [("l2", {"weight": 0.5})], "seed": 1.0}
    first = run_state.fingerprint(description, WEIGHTS)
    second = run_state.fingerprint(
        reordered, (np.asfortranarray(w) for w in WEIGHTS)
    )
    assert first == second
    assert len(first) == 64


@pytest.mark.parametrize(
    "description,arrays",
    [
        ({"seed": 2}, WEIGHTS),
        ({"seed": 1.5}, WEIGHTS),
        ({"Seed": 1}, WEIGHTS),
        ({"seed": 1, "steps": None}, WEIGHTS),
        ({"seed": np.float32(1.5)}, WEIGHTS),
        ({"seed": 1}, []),
        ({"seed": 1}, WEIGHTS[:1]),
        ({"seed": 1}, WEIGHTS[::-1]),
        ({"seed": 1}, [*WEIGHTS, np.zeros(0)]),
        ({"seed": 1}, [changed(WEIGHTS[0], (1, 2), 5.0001), WEIGHTS[1]]),
        ({"seed": 1}, [WEIGHTS[0], changed(WEIGHTS[1], 0, -0.0)]),
        ({"seed": 1}, [WEIGHTS[0].reshape(3, 2), WEIGHTS[1]]),
        ({"seed": 1}, [WEIGHTS[0].view("int32"), WEIGHTS[1]]),
    ],
)
def test_other_runs_have_other_fingerprints(description, arrays):
    assert run_state.fingerprint(description, arrays) != run_state.fingerprint(
        {"seed": 1}, WEIGHTS
    )


def test_an_object_is_described_by_its_config_and_not_by_its_place():
    def of(*transforms):
        return run_state.fingerprint({"transforms": list(transforms)})

    assert of(Shift(2), HorizontalFlip()) == of(Shift(2), HorizontalFlip())
    others = [of(Shift(3), HorizontalFlip()), of(Shift(2)), of(Jitter(2))]
    assert len({of(Shift(2), HorizontalFlip()), *others}) == 4
    # Of one that has no config, its class.
    assert of(Transform()) == of(Transform()) != of(HorizontalFlip())


def test_another_run_is_told_by_what_differs(tmp_path):
    def run(**parts):
        return run_state.fingerprints(parts, {"teacher": WEIGHTS})

    path = tmp_path / "run.npz"
    run_state.save(path, example(), run(seed=1, rate=0.1))
    assert run_state.load(path, run(rate=0.1, seed=1)) is not None
    for other, names in (
        (run(seed=2, rate=0.1), "seed"),
        (run(seed=1), "rate"),
        (run(seed=2, rate=0.1, steps=3), "seed, steps"),
        (
            run_state.fingerprints(
                {"seed": 1, "rate": 0.1}, {"teacher": WEIGHTS[:1]}
            ),
            "teacher",
        ),
    ):
        with pytest.raises(ValueError, match=rf"differs in: {names}\."):
            run_state.load(path, other)
    with pytest.raises(ValueError, match="belongs to another run: to another"):
        run_state.load(path, "no parts")


def test_values_in_bfloat16_come_back_exactly(tmp_path):
    variable = keras.Variable([1.0, -2.5, 3e38], dtype="bfloat16")
    value = keras.ops.convert_to_numpy(variable)
    run_state.save(tmp_path / "run", {"a": value}, "run")
    found = run_state.load(tmp_path / "run", "run")["a"]
    variable.assign([0.0, 0.0, 0.0])
    variable.assign(found)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable), value)


def test_what_the_system_refuses_is_not_damaged(tmp_path, monkeypatch):
    path = tmp_path / "run"
    run_state.save(path, {"a": np.zeros(1)}, "run")

    def refused(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(pathlib.Path, "read_bytes", refused)
    with pytest.raises(PermissionError):
        run_state.load(path, "run")
