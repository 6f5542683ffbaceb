"""Paths of object stores, through fsspec, used as `pathlib.Path` is."""

import re
import types
import uuid

# Stores whose servers refuse to create a name twice, and whose packages for
# fsspec ask for it. Others look first and then write, so two workers could
# both be the first.
PROTOCOLS = (
    ("gs", "gcs"),
    ("s3", "s3a"),
    ("az", "abfs", "abfss"),
    ("memory",),  # of one process
)

# `pathlib` writes "gs://bucket" as "gs:/bucket". One letter is a drive.
REMOTE = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+")


class RemotePath:
    """A path of an object store, with what this library uses of `pathlib`.

    `core.files.path_of` makes it, `write_atomically` and `write_first` write
    to it.

    Args:
        url: String, such as `"gs://bucket/run"`.

    Raises:
        ImportError: if fsspec, or its package for the store, is not installed.
        ValueError: if the store cannot create a name once only.

    Example:
        >>> run = RemotePath("memory://bucket") / "run"
        >>> (run / "a").write(b"12")
        >>> (run / "a").read_bytes(), [path.name for path in run.iterdir()]
        (b'12', ['a'])
    """

    def __init__(self, url):
        scheme = REMOTE.match(str(url))[1].lower()
        rest = str(url)[REMOTE.match(str(url)).end() :].strip("/")
        self._url = f"{scheme}://{rest}"
        self._fs = _store(scheme, self._url)

    def __str__(self):
        return self._url

    def __repr__(self):
        return f"RemotePath({self._url!r})"

    def __eq__(self, other):
        return isinstance(other, RemotePath) and self._url == other._url

    def __hash__(self):
        return hash(self._url)

    def __truediv__(self, name):
        return self._other(f"{self._url}/{name}")

    def _other(self, url):
        path = object.__new__(RemotePath)
        path._url, path._fs = url, self._fs
        return path

    @property
    def name(self) -> str:
        """The part after the last slash."""
        return self._url.rpartition("/")[2]

    def with_name(self, name) -> "RemotePath":
        """The path with another name."""
        return self._other(f"{self._url.rpartition('/')[0]}/{name}")

    def exists(self) -> bool:
        """Whether there is a file, or a folder with files."""
        self._fs.invalidate_cache()
        return self._fs.exists(self._url)

    def is_file(self) -> bool:
        """Whether there is a file."""
        self._fs.invalidate_cache()
        return self._fs.isfile(self._url)

    def stat(self):
        """An object with `st_size`, the bytes of the file."""
        self._fs.invalidate_cache()
        return types.SimpleNamespace(st_size=self._fs.size(self._url))

    def iterdir(self) -> list:
        """The paths of all that is in the folder."""
        self._fs.invalidate_cache()
        found = self._fs.ls(self._url, detail=False)
        names = {str(path).rstrip("/").rpartition("/")[2] for path in found}
        return [self / name for name in sorted(names)]

    def read_bytes(self) -> bytes:
        """The content of the file."""
        return self._fs.cat_file(self._url)

    def write(self, content):
        """Replaces the file: readers see the old content, or the new."""
        self._fs.pipe_file(self._url, content)

    def create(self, content) -> bool:
        """Creates the file; returns whether it was not there before."""
        try:
            self._fs.pipe_file(self._url, content, mode="create")
        except FileExistsError:
            return False
        return True

    def unlink(self, missing_ok=False):
        """Removes the file."""
        try:
            self._fs.rm_file(self._url)
        except FileNotFoundError:
            if not missing_ok:
                raise

    @staticmethod
    def read_ranges(places) -> list:
        """Reads parts of files of one store, at the same time if it can.

        Args:
            places: List of triples: path, first byte, number of bytes.

        Returns:
            A list of bytes.
        """
        if not places:
            return []
        paths, begins, sizes = zip(*places, strict=True)
        ends = [b + size for b, size in zip(begins, sizes, strict=True)]
        return paths[0]._fs.cat_ranges(
            [str(path) for path in paths],
            list(begins),
            ends,
            on_error="raise",
        )

    def require_creation(self):
        """Tries in this folder whether the store creates a name only once.

        Raises:
            ValueError: if the store created a name twice, as some that speak
                the protocol of S3 do.
        """
        probe = self / f".probe-{uuid.uuid4().hex}"
        try:
            if probe.create(b"1") and probe.create(b"2"):
                raise ValueError(
                    "This store creates a file that exists, so that two "
                    "workers could write one batch: work in a local folder, "
                    f"and copy it. Received: {self}"
                )
        finally:
            probe.unlink(missing_ok=True)


def _store(scheme, url):
    """Returns fsspec's object for a store."""
    if not any(scheme in names for names in PROTOCOLS):
        known = ", ".join(f"{names[0]}://" for names in PROTOCOLS)
        raise ValueError(
            f"Expected a store that creates a name only once: {known}. Mount "
            "other stores, or work in a local folder and copy it. "
            f"Received: {url!r}"
        )
    try:
        import fsspec
    except ImportError as error:
        raise ImportError(
            "Paths of object stores need fsspec: pip install fsspec, and "
            f"gcsfs, s3fs or adlfs for the store. Received: {url!r}"
        ) from error
    try:
        store, _ = fsspec.core.url_to_fs(url, use_listings_cache=False)
    except ImportError as error:
        raise ImportError(f"{error}. Received: {url!r}") from error
    return store
