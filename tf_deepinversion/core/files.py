"""Files that are written atomically, and their hashes."""

import hashlib
import os
import pathlib


def write_atomically(path, write):
    """Calls `write` with a binary file that then replaces `path`.

    Args:
        path: String or path of the file to replace or create.
        write: Function that gets a binary file object.
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
    """Computes the SHA-256 of a file, in hexadecimal.

    Args:
        path: String or path.

    Returns:
        A string of 64 characters.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile() as file:
        ...     di.models.sha256_of_file(file.name)[:8]
        'e3b0c442'
    """
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()
