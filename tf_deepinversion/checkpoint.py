"""The state of a run in one file, which appears whole or not at all."""

import hashlib
import io
import json
import os
import pathlib
import zipfile

import numpy as np

FORMAT = "tf_deepinversion checkpoint 1"


def write_atomically(path, write):
    """Calls `write` with a binary file that then takes the place of `path`.

    Args:
        path: String or path to replace, or to make.
        write: Function of one binary file object.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(part, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def save(path, arrays, run):
    """Saves arrays together with the identity of the run they belong to.

    Args:
        path: String or path.
        arrays: Dict from names to arrays.
        run: String that tells this run from others, see `fingerprint`.
    """
    header = np.array(json.dumps({"format": FORMAT, "run": run}))
    write_atomically(path, lambda f: np.savez(f, **arrays, _header=header))


def load(path, run) -> dict | None:
    """Loads what `save` saved, or None where there is no such file.

    Args:
        path: String or path.
        run: String, that of the run which wants to go on.

    Raises:
        ValueError: if the file is damaged or belongs to another run.
    """
    path = pathlib.Path(path)
    if not path.exists():
        return None
    try:
        content = io.BytesIO(path.read_bytes())
        with zipfile.ZipFile(content) as archive:
            # np.load alone checks no sum of an array that claims to be small.
            if archive.testzip() is not None:
                raise zipfile.BadZipFile(f"bad sum of {archive.testzip()}")
        content.seek(0)
        with np.load(content) as file:
            arrays = {name: file[name] for name in file.files}
        header = json.loads(str(arrays.pop("_header")))
    except Exception as e:  # damage makes zip and npy readers raise anything
        raise ValueError(
            f"The checkpoint {path} is damaged ({e}). Delete it to start anew."
        ) from e
    if header.get("format") != FORMAT or header.get("run") != run:
        raise ValueError(
            f"The checkpoint {path} belongs to another run: to another "
            "teacher, other labels, steps, terms or another seed. Delete it, "
            "or give this run a file of its own."
        )
    return arrays


def fingerprint(description, arrays=()) -> str:
    """A hash of a description and arrays: equal for equal runs alone.

    Args:
        description: What JSON can hold; of other objects, their `repr`.
        arrays: Iterable of arrays.
    """
    digest = hashlib.sha256(
        json.dumps(description, sort_keys=True, default=repr).encode()
    )
    for array in arrays:
        array = np.ascontiguousarray(array)
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
