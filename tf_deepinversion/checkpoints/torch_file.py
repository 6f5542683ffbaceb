"""Reads weight files written by PyTorch before version 1.6, without PyTorch.

Such a file holds five pickles: a magic number, the version of the protocol,
facts about the machine, the dictionary of tensors (which name their storages),
and the list of storages. The storages follow, each after its length.
`safe_pickle` reads the pickles without running code.
"""

import io
import pathlib
import struct

import numpy as np

from tf_deepinversion.checkpoints.safe_pickle import Machine
from tf_deepinversion.checkpoints.safe_pickle import Tensor
from tf_deepinversion.core.files import require_local

MAGIC = 0x1950A86A20F9469CFC6C


PROTOCOL = 1001


def _read_storages(file, storages):
    keys = Machine(file, {}).result
    if type(keys) is not list or not all(type(key) is str for key in keys):
        raise ValueError("the list of its storages is damaged")
    # The order of this list is the order of the contents.
    if sorted(keys) != sorted(storages):
        raise ValueError("its tensors name other storages than its list")
    for storage in map(storages.get, keys):
        if struct.unpack("<q", file.read(8)) != (storage.count,):
            raise ValueError("a storage has another length than its tensors")
        size = storage.count * storage.dtype.itemsize
        storage.content = file.read(size)
        if len(storage.content) < size:
            raise ValueError("it is truncated")
    if file.read(1):
        raise ValueError("data follows its last storage")


def _read(file) -> dict[str, np.ndarray]:
    if Machine(file, {}).result != MAGIC:
        raise ValueError("it does not begin with the magic number")
    if Machine(file, {}).result != PROTOCOL:
        raise ValueError(f"its protocol is not {PROTOCOL}")
    machine = Machine(file, {}).result
    if type(machine) is not dict or machine.get("little_endian") is not True:
        raise ValueError("it was not written on a little-endian machine")
    # The tensors name their storages, whose content follows at the end.
    storages = {}
    tensors = Machine(file, storages).result
    if type(tensors) is not dict or not all(
        type(tensor) is Tensor for tensor in tensors.values()
    ):
        raise ValueError("it does not hold a dictionary of tensors")
    _read_storages(file, storages)
    return {name: tensor.array() for name, tensor in tensors.items()}


def read_torch_legacy(path) -> dict[str, np.ndarray]:
    """Reads a state dictionary in the format of PyTorch before version 1.6.

    The function runs no code of the file, and does not need PyTorch.

    Args:
        path: String or path of the file, usually `*.pth`.

    Returns:
        A dict from names to read-only arrays, in the order of the file.

    Raises:
        ValueError: if the file has another format, is damaged, or holds
            anything but named tensors.

    Example:
        ```python
        tensors = di.checkpoints.read_torch_legacy("weights.pth")
        ```
    """
    require_local(path=path)
    content = pathlib.Path(path).read_bytes()
    if content[:4] == b"PK\x03\x04":
        raise ValueError(
            f"Expected the format of PyTorch before version 1.6: save the "
            "tensors again in PyTorch by torch.save(..., "
            "_use_new_zipfile_serialization=False). "
            f"Received: {path}, a zip archive"
        )
    try:
        return _read(io.BytesIO(content))
    except (
        IndexError,
        KeyError,
        OverflowError,
        TypeError,
        ValueError,
        struct.error,
    ) as e:
        raise ValueError(
            "Expected tensors in the format of PyTorch before version 1.6. "
            f"Received: {path}, which has another format or is damaged: {e}"
        ) from e
