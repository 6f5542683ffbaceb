"""Columns of a pool on disk, whose rows are read from its shards."""

import collections
import os

import numpy as np

from tf_deepinversion.core.remote_path import RemotePath
from tf_deepinversion.datasets import image_bytes
from tf_deepinversion.datasets import png
from tf_deepinversion.datasets.joined import Joined

# The files that were read last, the latest at the end.
_OPEN = collections.OrderedDict()

# Systems allow a process 1,024 open files, often.
MOST_OPEN = 256


class ShardFile:
    """A shard on disk.

    Args:
        path: Path.
        sha256: String.
        index: Its `ShardIndex`.
    """

    def __init__(self, path, sha256, index):
        self.path, self.index = path, index
        # The name of a dropped shard is given again, to another content.
        self._key = path, sha256

    def __len__(self):
        return len(self.index)

    @property
    def file(self) -> "OpenFile":
        """The open file; who reads keeps it, so that it stays open.

        Raises:
            ValueError: if the file is not there any more.
        """
        try:
            found = _OPEN.pop(self._key, None) or OpenFile(self.path)
        except FileNotFoundError as error:
            raise ValueError(
                f"{self.path} is not there any more: its batch was dropped to "
                "make room for a newer one, or the file was removed. Take "
                "`images` of the pool again."
            ) from error
        _OPEN[self._key] = found
        while len(_OPEN) > MOST_OPEN:
            _OPEN.popitem(last=False)
        return found

    @property
    def remote(self) -> bool:
        """Whether it is in an object store, and so is never open."""
        return isinstance(self.path, RemotePath)

    def __del__(self, opened=_OPEN):  # at the end Python forgets globals
        # Otherwise a dropped shard would take room on the disk.
        opened.pop(self._key, None)

    def damaged(self, error) -> ValueError:
        """Returns an error that names the file and the error of a reader."""
        return ValueError(
            f"{self.path} is damaged ({error}): `verify` of the pool tells "
            "what to do."
        )


def parts_of(files, places) -> list:
    """Reads parts of shards.

    Args:
        files: List of `ShardFile`, of one pool.
        places: List of pairs: first byte, and number of bytes.

    Returns:
        A list of bytes, less than asked for where a file ends.

    Raises:
        ValueError: if a file is not there any more.
    """
    asked = list(zip(files, places, strict=True))
    if not any(file.remote for file in files):
        return [file.file.read(*place) for file, place in asked]
    try:
        return RemotePath.read_ranges([(f.path, *p) for f, p in asked])
    except FileNotFoundError as error:
        raise ValueError(f"{error} is not there any more.") from error


class OpenFile:
    """An open file, closed once nobody has it.

    Args:
        path: Path.

    Attributes:
        number: Int, for `os.pread`.
    """

    def __init__(self, path):
        self.number = os.open(path, os.O_RDONLY)

    def read(self, begin, size) -> bytes:
        """Reads a part of the file, less than asked for where it ends."""
        return os.pread(self.number, size, begin)

    def __del__(self, close=os.close):
        if hasattr(self, "number"):
            close(self.number)


class StoredImages(Joined):
    """The images of several `ShardFile`, read as one array; see `Joined`."""

    def _rows(self, rows):
        places, files = np.empty((len(rows), 2), "int64"), [None] * len(rows)
        for part, where, own in self._by_part(rows):
            places[where] = part.index.rows[own, 2:4]
            for i in where.tolist():
                files[i] = part
        size, shape = png.size_of(self.shape[1:]), self.shape[1:]
        near = not any(part.remote for part in self.parts)
        if near and (places[:, 1] == size).all():
            contents = np.zeros((len(rows), size), "uint8")
            begins = places[:, 0].tolist()
            opened = [file.file for file in files]
            read = [
                os.preadv(file.number, [content], begin)
                for file, content, begin in zip(
                    opened, contents, begins, strict=True
                )
            ]
            found = png.stored(contents, shape)
            if found is not None and read == [size] * len(read):
                return np.ascontiguousarray(found)
        return self._of_any_encoder(files, places)

    def _of_any_encoder(self, files, places):
        found = np.empty((len(files), *self.shape[1:]), "uint8")
        for i, content in enumerate(parts_of(files, places.tolist())):
            try:
                found[i] = image_bytes.decoded(content, self.shape[1:])
            except ValueError as error:
                raise files[i].damaged(error) from error
        return found
