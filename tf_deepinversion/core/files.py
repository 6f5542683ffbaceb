"""Files that appear whole or not at all, and what they hold."""

import hashlib
import os
import pathlib


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


def sha256_of_file(path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()
