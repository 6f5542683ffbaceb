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
            f"The checkpoint {path} belongs to another run: "
            f"{difference(run, header.get('run'))}. Delete it, or give this "
            "run a file of its own."
        )
    return arrays


def fingerprint(description, arrays=()) -> str:
    """A hash of a description and arrays: equal for equal runs alone.

    Args:
        description: What JSON can hold; of other objects, their class and
            what `get_config` gives, where they have that.
        arrays: Iterable of arrays.
    """
    digest = hashlib.sha256(
        json.dumps(description, sort_keys=True, default=_described).encode()
    )
    for array in arrays:
        array = np.ascontiguousarray(array)
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _described(value):
    """Nothing that names a place in memory: that is another in each process."""
    if isinstance(value, (np.generic, np.ndarray)):
        plain = value.tolist()
        return repr(value) if isinstance(plain, np.generic) else plain
    config = getattr(value, "get_config", None)
    if config is not None:
        return [type(value).__name__, config()]
    if type(value).__repr__ is object.__repr__:
        return [type(value).__name__]
    return repr(value)


def fingerprints(parts, arrays) -> str:
    """A `fingerprint` of each part, so that it can be said what differs.

    Args:
        parts: Dict from names to descriptions, as of `fingerprint`.
        arrays: Dict from names to lists of arrays.

    Returns:
        A string for `save`, `load` and `Pool`.
    """
    found = {name: fingerprint(part) for name, part in parts.items()}
    found |= {name: fingerprint(None, part) for name, part in arrays.items()}
    return json.dumps({n: found[n][:16] for n in sorted(found)})


def difference(run, found) -> str:
    """What tells two runs apart, for a message.

    Args:
        run: String, the run that was expected.
        found: What was found in its place.
    """
    try:
        pair = [dict(json.loads(text)) for text in (run, found)]
    except (TypeError, ValueError):
        return "to another teacher, other labels, steps, terms or another seed"
    names = sorted(set(pair[0]) | set(pair[1]))
    differing = [n for n in names if pair[0].get(n) != pair[1].get(n)]
    return f"it differs in: {', '.join(differing)}"
