"""A pool on disk that loses no batch to a kill, a full disk or a second writer.

`add` first writes a new shard under a free name, and its index. It then
replaces `pool.json`, which lists the valid shards; this replacement decides
whether the batch counts. Next it updates the metadata of TensorFlow Datasets,
and last it removes dropped shards. Both lists therefore name only complete
files at any moment.
"""

import contextlib
import hashlib
import itertools
import json
import weakref

from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.core.files import path_of
from tf_deepinversion.core.files import write_content
from tf_deepinversion.core.run_state import difference
from tf_deepinversion.datasets import tfrecords
from tf_deepinversion.datasets.shard_index import ShardIndex
from tf_deepinversion.datasets.shard_index import index_name
from tf_deepinversion.datasets.shard_index import index_of
from tf_deepinversion.datasets.shard_index import load_index
from tf_deepinversion.datasets.shard_index import save_index
from tf_deepinversion.datasets.stored import ShardFile

FORMAT = "tf_deepinversion pool 2"

LIST = "pool.json"

# In this format, labels are the requested classes, not the teacher's.
UNTRUE = "tf_deepinversion pool 1"


class PoolFolder:
    """The folder of a `Pool`, for one writer at a time.

    A dict describes each shard: `file`, `batch` (its number), `images` (how
    many), `sha256` and `index`, a `ShardIndex`. The list of shards starts with
    the oldest.

    Args:
        path: String or path. One of an object store is for `replace` and
            reading, because it has no lock.
        run: String that identifies teacher and recipe.
        image_shape: Tuple `(height, width, channels)`.
        classes: Int.
        jpeg_quality: Int in [1, 100], or None for PNG. Defaults to None.
    """

    def __init__(
        self,
        path,
        *,
        run,
        image_shape,
        classes,
        jpeg_quality=None,
    ):
        if not run:
            raise ValueError(
                "A folder needs `run`, a string that names teacher and recipe: "
                f"another string is refused later. Received: run={run!r}"
            )
        self._path, self._lock = path_of(path), None
        self._list = self._path / LIST
        self._features = tfrecords.make_features(
            image_shape, classes, jpeg_quality
        )
        self._identity = {
            "format": FORMAT,
            "run": run,
            "image_shape": list(image_shape),
            "classes": classes,
            "jpeg_quality": jpeg_quality and int(jpeg_quality),
        }

    @classmethod
    def existing(cls, path) -> "PoolFolder":
        """The folder of an existing pool, with the identity that it has.

        Raises:
            FileNotFoundError: if there is no pool.
            ValueError: if the list of its shards is damaged.
        """
        listed = path_of(path) / LIST
        if not listed.is_file():
            raise FileNotFoundError(
                f"Expected the folder of a `Pool`, with a {LIST}. "
                f"Received: folder={str(path)!r}"
            )
        names = "run", "image_shape", "classes"
        try:
            found = json.loads(listed.read_bytes())
            require_whole(classes=found["classes"])
            return cls(
                path,
                **{name: found[name] for name in names},
                jpeg_quality=found.get("jpeg_quality"),
            )
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(
                f"{listed} is damaged: {error!r}. Restore the file."
            ) from error

    @property
    def identity(self) -> dict:
        """A dict of the format and of the arguments besides the path."""
        return dict(self._identity)

    def open(self) -> list:
        """Locks the folder, and creates it if necessary.

        Returns:
            The list of shards, each with its `index`.

        Raises:
            ValueError: if the folder is damaged or belongs to another run.
            RuntimeError: if the folder is in use.
            OSError: if the folder cannot be written.
        """
        with contextlib.ExitStack() as stack:
            stack.callback(self.close)
            with self._explained():
                self._take()
            shards = self.read(self._save_index)
            self.publish(shards)
            stack.pop_all()
        return shards

    def read(self, keep=None) -> list:
        """Reads the list of shards and their indices, without a lock.

        Sizes are compared, not contents, which `verify` does.

        Args:
            keep: Function that gets a shard whose index was made anew, or None.

        Returns:
            As `open`.

        Raises:
            ValueError: if the folder is damaged or belongs to another run.
        """
        shards = self._read_list()
        for shard in shards:
            shard["index"] = index = self._index_of(shard, keep)
            if len(index) != shard["images"]:
                raise self._damaged(
                    f"there are not {shard['images']} images in {shard['file']}"
                )
        return shards

    def verify(self, shards):
        """Compares the content of each shard with its SHA-256.

        Raises:
            ValueError: if one differs.
        """
        for shard in shards:
            self._content_of(shard)

    def stored(self, shard) -> ShardFile:
        """A shard whose images are read when asked for."""
        path = self._path / shard["file"]
        return ShardFile(path, shard["sha256"], shard["index"])

    def commit(self, shards, arrays):
        """Writes the last of `shards` with the data `arrays`, then the list."""
        if self._lock is None or self._lock.closed:
            if (self._path / "run.json").exists():
                raise ValueError(
                    f"{self._path} is of `synthesize` or `synthesize_batches`, "
                    "which alone add images to it: `join_pools` joins this "
                    "pool and one of other images."
                )
            raise ValueError(
                f"{self._path} is closed: open it again, by `Pool(...)` as it "
                "was made; `Pool.open` is for reading alone."
            )
        content = tfrecords.shard_of(arrays, self._identity["jpeg_quality"])
        shards[-1].update(
            file=self._free_name(shards),
            sha256=hashlib.sha256(content).hexdigest(),
            index=index_of(content),
        )
        with self._explained():
            write_content(self._path / shards[-1]["file"], content)
            self._save_index(shards[-1])
            self._write_list(shards)

    def _free_name(self, shards) -> str:
        """The first name after the newest that no other shard has."""
        used = {shard["file"] for shard in shards if "file" in shard}
        # Dropped shards are still there while the next one is written.
        used |= tfrecords.shard_names(self._path)
        # A reader that holds an old list must not find other images under a
        # name of that list.
        numbers = [int(name.rpartition("-")[2]) for name in used]
        newest = max(numbers, default=-1)
        for number in itertools.count(newest + 1):
            name = tfrecords.shard_name(number % tfrecords.MAX_SHARDS)
            if name not in used:
                return name

    def replace(self, shards):
        """Lists shards that others have written, without a lock.

        Args:
            shards: List of dicts with `file`, `batch`, `images`, `sha256`.

        Raises:
            ValueError: if a shard is damaged.
            OSError: if the folder cannot be written.
        """
        with self._explained():
            self._write_list(shards)
        self.read(self._save_index)
        images = {shard["file"]: shard["images"] for shard in shards}
        with self._explained():
            tfrecords.write_metadata(self._path, self._features, images)

    def publish(self, shards):
        """Updates the metadata of TFDS and removes dropped shards."""
        images = {shard["file"]: shard["images"] for shard in shards}
        with self._explained():
            tfrecords.write_metadata(self._path, self._features, images)
            self._remove_all_but(images)

    def _remove_all_but(self, shards):
        names = tfrecords.shard_names(self._path)
        indices = tfrecords.shard_names(self._path, index_name(""))
        gone = (names - {*shards}) | (indices - {*map(index_name, shards)})
        for name in sorted(gone):
            (self._path / name).unlink()

    def _save_index(self, shard):
        with self._explained():
            save_index(
                self._path, shard["file"], shard["index"], shard["sha256"]
            )

    def close(self):
        """Releases the lock."""
        if self._lock:
            self._lock.close()

    def _take(self):
        try:
            import fcntl
        except ImportError as e:
            raise RuntimeError(
                "A pool on disk needs the lock `flock`, which Windows lacks: "
                "leave `folder` out, or work on Linux or macOS, for instance "
                "in WSL. "
                f"Received: folder={str(self._path)!r}"
            ) from e
        self._path.mkdir(parents=True, exist_ok=True)
        if (self._path / "run.json").exists():
            raise ValueError(
                "The workers of `synthesize_batches` fill this folder, and a "
                "`Pool` would remove their batches: `merge_batches` lists the "
                "batches, and `Pool.open` opens them for reading. "
                f"Received: folder={str(self._path)!r}"
            )
        if not self._list.exists():
            for path in self._path.iterdir():
                if path.name[0] != ".":
                    raise ValueError(
                        "A pool needs a folder of its own, empty or with a "
                        f"{self._list.name}. Received: a folder with {path}"
                    )
        self._lock = open(self._path / ".lock", "a")
        weakref.finalize(self, self._lock.close)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            raise RuntimeError(
                f"{self._path} is in use by another process, or by another "
                "`Pool` of this process. Wait, `close` the other pool, or use "
                "another folder."
            ) from e
        for part in self._path.glob(".*.*[0-9].part"):
            part.unlink()  # a killed process left it
        if not self._list.exists():
            self._write_list([])

    def _write_list(self, shards):
        names = "file", "sha256", "batch", "images"
        listed = [{name: shard[name] for name in names} for shard in shards]
        told = {**self._identity, "shards": listed}
        if told["jpeg_quality"] is None:
            del told["jpeg_quality"]  # as in the lists of earlier versions
        write_content(self._list, json.dumps(told, indent=1))

    def _read_list(self):
        try:
            found = json.loads(self._list.read_bytes())
            shards = [
                {"file": s["file"], "sha256": s["sha256"]}
                | {"batch": int(s["batch"]), "images": int(s["images"])}
                for s in found["shards"]
            ]
        except (ValueError, TypeError, KeyError) as e:
            raise self._damaged(repr(e)) from e
        if found.get("format") == UNTRUE:
            raise ValueError(
                f"{self._list} was written by an earlier version, whose "
                "`label` is the requested class and not the teacher's. "
                "Synthesize the images again, in another folder. "
                "tfds.builder_from_directory still reads the old images. "
                f"Received: format={UNTRUE!r}"
            )
        for name, expected in self._identity.items():
            if found.get(name) != expected:
                why = ""
                if name == "run":
                    why = f"{difference(expected, found.get(name))}, "
                raise ValueError(
                    f"{self._list} belongs to another pool, for instance of "
                    f"another teacher or recipe: {why}expected "
                    f"{name}={expected!r}. Received: {found.get(name)!r}. Use "
                    "another folder, or delete this one."
                )
        batches = [shard["batch"] for shard in shards]
        if batches != sorted(set(batches)):
            raise self._damaged(f"its batches are {batches}")
        return shards

    def _index_of(self, shard, keep) -> ShardIndex:
        """The index of a shard: of its file, or else made anew."""
        index = load_index(self._path, shard["file"], shard["sha256"])
        path = self._path / shard["file"]
        if index is None:
            index = shard["index"] = index_of(self._content_of(shard))
            if keep:
                keep(shard)
        elif not path.is_file() or path.stat().st_size != index.bytes:
            self._content_of(shard)
        return index

    def _content_of(self, shard) -> bytes:
        path = self._path / shard["file"]
        content = path.read_bytes() if path.is_file() else None
        found = hashlib.sha256(content or b"").hexdigest()
        if content is None or found != shard["sha256"]:
            found = "no file" if content is None else found
            raise ValueError(
                f"{path} is damaged: expected the SHA-256 {shard['sha256']}. "
                f"Received: {found}. {self._way_out(shard)}"
            )
        return content

    def _way_out(self, shard):
        if (self._path / "run.json").exists():
            return (
                f"Delete the file and done/{shard['batch']:05d}.json, and "
                "start a worker or `synthesize`, which makes the batch again."
            )
        return (
            f"Restore the file, or remove it from {self._list} to continue "
            f"without its {shard['images']} images."
        )

    def _damaged(self, reason):
        return ValueError(
            f"{self._list} is damaged: {reason}. Restore the file, or delete "
            "the folder to start again."
        )

    @contextlib.contextmanager
    def _explained(self):
        try:
            yield
        except OSError as e:
            raise OSError(
                e.errno,
                f"{self._path} cannot be written ({e.strerror or e}). Batches "
                "that `add` finished are safe. Free disk space, or make the "
                "folder writable, then create the `Pool` again to resume.",
            ) from e
