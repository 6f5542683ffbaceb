"""An object as one `.npz` file: arrays, and a header that tells the format."""

import io
import json
import pathlib
import zipfile

import numpy as np

from tf_deepinversion.core.files import require_local
from tf_deepinversion.core.files import write_atomically


def save_arrays(path, arrays, header):
    """Saves arrays and a header atomically.

    Args:
        path: String or path.
        arrays: Dict from names to arrays.
        header: Dict for JSON, with the entry `format`.
    """
    entry = np.array(json.dumps(header))
    write_atomically(path, lambda file: np.savez(file, **arrays, _header=entry))


def read_arrays(content) -> tuple:
    """Reads the content of a file of `save_arrays`.

    Args:
        content: Bytes.

    Returns:
        A dict from names to arrays, and the header.

    Raises:
        Exception: if the content is damaged; the readers raise anything.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        # np.load does not check the sum of an array that claims to be small.
        damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(f"bad sum of {damaged}")
    with np.load(io.BytesIO(content)) as file:
        arrays = {name: file[name] for name in file.files}
    return arrays, json.loads(str(arrays.pop("_header")))


def load_arrays(path, format, build, expected):
    """Loads a file of `save_arrays`.

    Args:
        path: String or path.
        format: String, the entry of the header.
        build: Function from the dict of arrays and the header to the result.
        expected: String, what the file should be, for the error.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is damaged, or holds something else.

    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/file.npz"
    >>> save_arrays(path, {"a": np.ones(2)}, {"format": "one 1", "b": 3})
    >>> load_arrays(
    ...     path, "one 1", lambda x, header: x["a"] * header["b"], "a file"
    ... )
    array([3., 3.])
    """
    require_local(path=path)
    try:
        content = pathlib.Path(path).read_bytes()
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"Expected {expected}. Received: {path}, which does not exist"
        ) from error
    try:
        arrays, header = read_arrays(content)
        if header["format"] != format:
            raise ValueError(f"its format is {header['format']!r}")
        return build(arrays, header)
    except MemoryError:
        raise
    except Exception as error:  # damage makes the readers raise anything
        raise ValueError(
            f"Expected {expected}. Received: {path} ({error})"
        ) from error


def upper_of(matrices) -> np.ndarray:
    """Returns the upper triangles of symmetric matrices `(..., n, n)`."""
    rows, columns = np.triu_indices(matrices.shape[-1])
    return matrices[..., rows, columns]


def symmetric_of(upper) -> np.ndarray:
    """Returns the symmetric matrices `(..., n, n)` of `upper_of`.

    >>> symmetric_of(upper_of(np.array([[1, 2], [2, 3]])))
    array([[1, 2],
           [2, 3]])
    """
    size = int(np.sqrt(2 * upper.shape[-1]))
    rows, columns = np.triu_indices(size)
    matrices = np.zeros((*upper.shape[:-1], size, size), upper.dtype)
    matrices[..., rows, columns] = upper
    matrices[..., columns, rows] = upper
    return matrices
