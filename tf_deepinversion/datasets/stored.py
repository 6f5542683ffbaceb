"""Columns of a pool on disk, whose rows are read from its shards."""

import functools
import os

import numpy as np
import tensorflow as tf

from tf_deepinversion.datasets import png
from tf_deepinversion.datasets.joined import Joined


class ShardFile:
    """A shard on disk.

    Args:
        path: Path.
        sha256: String.
        index: Its `ShardIndex`.
    """

    def __init__(self, path, sha256, index):
        self.path, self._sha256, self.index = path, sha256, index

    def __len__(self):
        return len(self.index)

    @property
    def file(self) -> int:
        """The number of the open file.

        Raises:
            ValueError: if the file is not there any more.
        """
        try:
            return _opened(self.path, self._sha256).number
        except FileNotFoundError as error:
            raise ValueError(
                f"{self.path} is not there any more: its batch was dropped to "
                "make room for a newer one, or the file was removed. Take "
                "`images` of the pool again."
            ) from error

    def damaged(self, error) -> ValueError:
        """An error that names the file, for one that does not."""
        return ValueError(
            f"{self.path} is damaged ({error}): `verify` of the pool tells "
            "what to do."
        )


class _File:
    """An open file, closed once nobody has it."""

    def __init__(self, path):
        self.number = os.open(path, os.O_RDONLY)

    def __del__(self):
        if hasattr(self, "number"):
            os.close(self.number)


@functools.lru_cache(256)
def _opened(path, sha256) -> _File:
    # The name of a dropped shard is given again; its content has another sum.
    return _File(path)


class StoredImages(Joined):
    """The images of several `ShardFile`, read as one array; see `Joined`."""

    def _rows(self, rows):
        places, files = np.empty((len(rows), 2), "int64"), [None] * len(rows)
        for part, where, own in self._by_part(rows):
            places[where] = part.index.rows[own, 2:4]
            for i in where.tolist():
                files[i] = part
        size, shape = png.size_of(self.shape[1:]), self.shape[1:]
        if (places[:, 1] == size).all():
            contents = np.zeros((len(rows), size), "uint8")
            begins = places[:, 0].tolist()
            read = [
                os.preadv(file.file, [content], begin)
                for file, content, begin in zip(
                    files, contents, begins, strict=True
                )
            ]
            found = png.stored(contents, shape)
            if found is not None and read == [size] * len(read):
                return np.ascontiguousarray(found)
        return self._of_any_encoder(files, places)

    def _of_any_encoder(self, files, places):
        found = np.empty((len(files), *self.shape[1:]), "uint8")
        for i, (begin, size) in enumerate(places.tolist()):
            content = os.pread(files[i].file, size, begin)
            try:
                found[i] = png.decoded(content, self.shape[1:])
            except ValueError as error:
                raise files[i].damaged(error) from error
        return found


class StoredTargets(Joined):
    """The soft targets of several `ShardFile`, read as one array."""

    def _rows(self, rows):
        found = np.empty((len(rows), *self.shape[1:]), self.dtype)
        values = tf.io.FixedLenFeature(self.shape[1:], tf.float32)
        for part, where, own in self._by_part(rows):
            records = [
                os.pread(part.file, size, begin)
                for begin, size in part.index.rows[own, :2].tolist()
            ]
            try:
                examples = tf.io.parse_example(
                    records, {"soft_targets": values}
                )
            except tf.errors.InvalidArgumentError as error:
                raise part.damaged(error.message) from error
            found[where] = examples["soft_targets"]
        return found
