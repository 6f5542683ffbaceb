"""The networks that ship with the package."""

import hashlib
import pathlib

FOLDER = pathlib.Path(__file__).parent / "pretrained"


def sha256_of_file(path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()
