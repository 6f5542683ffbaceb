"""Writes files atomically, here or in an object store, and hashes files."""

import contextlib
import errno
import hashlib
import io
import json
import os
import pathlib
import tempfile
import uuid

import keras

from tf_deepinversion.core.remote_path import REMOTE
from tf_deepinversion.core.remote_path import RemotePath

# What systems say that have no links, such as mounted object stores.
_NO_LINKS = errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP


def path_of(path):
    """Returns a path for reading, `write_atomically` and `write_first`.

    Args:
        path: String or path. With a scheme, as `"gs://bucket/run"`, it is one
            of an object store.

    Returns:
        An absolute `pathlib.Path`, which another working directory does not
        move, or a `RemotePath`.

    Raises:
        ImportError: as for `RemotePath`.
        ValueError: as for `RemotePath`.

    >>> path_of("memory://bucket/run") / "a"
    RemotePath('memory://bucket/run/a')
    """
    if isinstance(path, RemotePath):
        return path
    remote = REMOTE.match(str(path))
    return RemotePath(path) if remote else pathlib.Path(path).absolute()


def require_local(**paths):
    """Refuses paths of object stores and other remote systems.

    Python would create a local folder named `gs:` and write into it.

    Args:
        **paths: Strings, paths or None, by the names of their arguments. A
            `RemotePath` is one that its owner has decided to take.

    Raises:
        ValueError: if a path begins with a scheme, as `gs://` and `s3://` do.

    >>> require_local(folder="runs/1", path=None)
    >>> require_local(folder="gs://bucket/run")
    Traceback (most recent call last):
    ValueError: `folder` must be a path of this machine's file system: ...
    """
    for name, path in paths.items():
        if isinstance(path, RemotePath) or path is None:
            continue
        if REMOTE.match(str(path)):
            raise ValueError(
                f"`{name}` must be a path of this machine's file system: mount "
                "the store (gcsfuse, mount-s3, rclone mount) and pass the "
                "mounted folder, or work in a local folder and copy it by "
                "`gcloud storage rsync`, `aws s3 sync` or `rclone sync`. "
                f"Received: {name}={str(path)!r}"
            )


def write_atomically(path, write):
    """Calls `write` with a binary file that then replaces `path`.

    Args:
        path: String or path of the file to replace or create. If it is a link,
            the file that it leads to is replaced.
        write: Function that gets a binary file object.
    """
    require_local(path=path)
    if isinstance(path, RemotePath):
        content = io.BytesIO()
        write(content)
        path.write(content.getvalue())
        return
    path = pathlib.Path(os.path.realpath(path))
    with _part_of(path, write) as part:
        os.replace(part, path)


def write_content(path, content):
    """Writes bytes, or a string in UTF-8, atomically; see `write_atomically`.

    Args:
        path: String or path of the file to replace or create.
        content: Bytes or string.
    """
    if isinstance(content, str):
        content = content.encode()
    write_atomically(path, lambda file: file.write(content))


def read_json(path, build, advice):
    """Reads a JSON file of this package.

    Args:
        path: String or path of a file that exists.
        build: Function from the content to the result.
        advice: String, what to do if the file is damaged.

    Raises:
        ValueError: if the file is damaged.
    """
    try:
        return build(json.loads(path_of(path).read_bytes()))
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged ({error!r}): {advice}") from error


def bytes_of_network(network) -> bytes:
    """Returns the content of a `.keras` file of a network."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "network.keras")
        network.save(path)
        return path.read_bytes()


def network_of_bytes(content) -> keras.Model:
    """Returns the network of `bytes_of_network`, not compiled."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "network.keras")
        path.write_bytes(content)
        return keras.models.load_model(path, compile=False)


def save_network(path, network):
    """Saves a network as a `.keras` file, whole or not at all.

    Args:
        path: String or path that ends in `.keras`. Its folder is made.
        network: A `keras.Model`.
    """
    require_local(path=path)
    write_content(path, bytes_of_network(network))


def write_first(path, content) -> bool:
    """Writes a file atomically, unless another process has been faster.

    Args:
        path: String or path of the file to create.
        content: Bytes.

    Returns:
        Whether the file is this call's; a file that exists stays as it is.

    Example:
        >>> import tempfile
        >>> path = tempfile.mkdtemp() + "/first"
        >>> write_first(path, b"mine"), write_first(path, b"yours")
        (True, False)
    """
    require_local(path=path)
    if isinstance(path, RemotePath):
        return path.create(content)
    with _part_of(pathlib.Path(path), lambda f: f.write(content)) as part:
        try:
            # A link, which fails if the name is taken; a rename replaces.
            os.link(part, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            if pathlib.Path(path).exists():
                return False
            os.replace(part, path)  # two at the same instant: the last wins
    return True


@contextlib.contextmanager
def _part_of(path, write):
    """Writes a complete file beside `path`, which is removed at the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder, because a rename is atomic within one file system
    # only. Containers on several machines often have the same process number.
    name = f".{path.name}.{uuid.uuid4().hex[:8]}.{os.getpid()}.part"
    part = path.with_name(name)
    try:
        with open(part, "wb") as file:
            write(file)
            file.flush()
            # Otherwise a crash could leave the new name with no content.
            os.fsync(file.fileno())
        yield part
    finally:
        part.unlink(missing_ok=True)


def sha256_of_file(path) -> str:
    """Computes the SHA-256 of a file, in hexadecimal.

    Args:
        path: String or path.

    Returns:
        A string of 64 characters.
    """
    require_local(path=path)
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()
