"""What several tests share with datasets_test.py."""

import gzip
import struct


def idx(array):
    """An array of bytes in the idx format, by its definition."""
    return (
        bytes([0, 0, 8, array.ndim])
        + b"".join(struct.pack(">I", size) for size in array.shape)
        + array.tobytes()
    )


def write_split(folder, stem, images, labels, suffix=""):
    for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
        content = idx(array)
        if suffix == ".gz":
            content = gzip.compress(content)
        (folder / f"{stem}-{kind}-ubyte{suffix}").write_bytes(content)
