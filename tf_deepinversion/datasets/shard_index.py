"""The index of a shard: where its images are, and what they show.

The index is a file beside the shard, so that a pool opens without reading its
images. It holds nothing that the shard does not: without it, it is made anew.
"""

import hashlib
import struct

import numpy as np
import tensorflow as tf

from tf_deepinversion.core.files import write_content
from tf_deepinversion.datasets.tfrecords import PREFIX

# Bytes before and after the data of a record: its length, and sums.
_BEFORE, _AFTER = 12, 4

_DTYPE = "<i8"


class ShardIndex:
    """Where the records of a shard are, and what they show.

    Args:
        rows: Int64 array `(n, 6)`: the place in the file of each example, its
            bytes, the place of its image, the image's bytes, the label,
            and the requested label.
    """

    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    @property
    def bytes(self) -> int:
        """The bytes of the whole shard."""
        return int(self.rows[-1, :2].sum()) + _AFTER if len(self) else 0

    @property
    def labels(self) -> dict:
        """Int32 arrays `label` and `requested`."""
        label, requested = self.rows[:, 4:].T.astype("int32")
        return {"label": label, "requested": requested}


def index_of(content) -> ShardIndex:
    """Finds the records in the bytes of a shard.

    Raises:
        ValueError: if the bytes are not those of a shard of a pool.
    """
    rows, place = [], 0
    while place < len(content):
        (size,) = struct.unpack_from("<Q", content, place)
        begin = place + _BEFORE
        record = content[begin : begin + size]
        features = tf.train.Example.FromString(record).features.feature
        (image,) = features["image"].bytes_list.value
        (label,) = features["label"].int64_list.value
        (requested,) = features["requested"].int64_list.value
        where = begin + record.index(image)
        rows.append([begin, size, where, len(image), label, requested])
        place = begin + size + _AFTER
    return ShardIndex(np.array(rows, _DTYPE).reshape(-1, 6))


def index_name(shard) -> str:
    """The name of a shard's index.

    >>> index_name("pool-train.tfrecord-00007")
    'index-00007'
    """
    return f"index-{shard.removeprefix(PREFIX)}"


def save_index(folder, shard, index, sha256):
    """Writes the index of a shard, atomically.

    Args:
        folder: Path.
        shard: String, name of the shard.
        index: A `ShardIndex`.
        sha256: String, of the shard.
    """
    content = bytes.fromhex(sha256) + index.rows.tobytes()
    content = hashlib.sha256(content).digest() + content
    write_content(folder / index_name(shard), content)


def load_index(folder, shard, sha256) -> ShardIndex | None:
    """Reads the index of a shard.

    Returns:
        A `ShardIndex`; None if there is none, it is damaged, or it is that of a
        shard with another SHA-256.
    """
    try:
        content = (folder / index_name(shard)).read_bytes()
    except FileNotFoundError:
        return None
    own, rest = content[:32], content[32:]
    if hashlib.sha256(rest).digest() != own or rest[:32].hex() != sha256:
        return None
    return ShardIndex(np.frombuffer(rest[32:], _DTYPE).reshape(-1, 6))
