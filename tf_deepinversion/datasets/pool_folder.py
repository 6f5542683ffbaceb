"""A pool on disk that loses no batch to a kill, a full disk or a second writer.

`add` first writes a new shard under a free name. It then replaces `pool.json`,
which lists the valid shards; this replacement decides whether the batch counts.
Next it updates the metadata of TensorFlow Datasets, and last it removes dropped
shards. Both lists therefore name only complete files at any moment.
"""

import contextlib
import itertools
import json
import pathlib
import weakref

from tf_deepinversion.core.files import require_local
from tf_deepinversion.core.files import sha256_of_file
from tf_deepinversion.core.files import write_atomically
from tf_deepinversion.core.run_state import difference
from tf_deepinversion.datasets import tfrecords

FORMAT = "tf_deepinversion pool 2"

# In this format, labels are the requested classes, not the teacher's.
UNTRUE = "tf_deepinversion pool 1"


class PoolFolder:
    """The folder of a `Pool`, for one writer at a time.

    A dict describes each shard: `file`, `batch` (its number), `images` (how
    many) and `sha256`. The list of shards starts with the oldest.

    Args:
        path: String or path.
        run: String that identifies teacher and recipe.
        image_shape: Tuple `(height, width, channels)`.
        classes: Int.
        soft_targets: Bool.
    """

    def __init__(self, path, *, run, image_shape, classes, soft_targets):
        require_local(folder=path)
        if not run:
            raise ValueError(
                "A folder needs `run`, which identifies teacher and recipe, "
                f"see `core.run_state.fingerprint`. Received: run={run!r}"
            )
        self._path, self._lock = pathlib.Path(path), None
        self._list = self._path / "pool.json"
        self._features = tfrecords.make_features(
            image_shape, classes, soft_targets
        )
        self._identity = {
            "format": FORMAT,
            "run": run,
            "image_shape": list(image_shape),
            "classes": classes,
            "soft_targets": soft_targets,
        }

    def open(self):
        """Locks the folder, creates it if necessary, and reads its images.

        Returns:
            A pair: the list of shards, and a dict from names to arrays, which
            is empty without shards.

        Raises:
            ValueError: if the folder is damaged or belongs to another run.
            RuntimeError: if the folder is in use.
            OSError: if the folder cannot be written.
        """
        with contextlib.ExitStack() as stack:
            stack.callback(self.close)
            with self._explained():
                self._take()
            shards = self._read_list()
            paths = [self._checked(shard) for shard in shards]
            arrays = (
                tfrecords.read_shards(paths, self._features) if paths else {}
            )
            images = sum(shard["images"] for shard in shards)
            if images != len(arrays.get("label", ())):
                raise self._damaged(f"there are not {images} images")
            self.publish(shards)
            stack.pop_all()
        return shards, arrays

    def commit(self, shards, arrays):
        """Writes the last of `shards` with the data `arrays`, then the list."""
        if self._lock.closed:
            raise ValueError(f"{self._path} is closed: open it again.")
        with self._explained():
            names = map(tfrecords.shard_name, itertools.count())
            name = next(n for n in names if not (self._path / n).exists())
            sha256 = tfrecords.write_shard(
                self._path / name, self._features, arrays
            )
            shards[-1].update(file=name, sha256=sha256)
            self._write_list(shards)

    def publish(self, shards):
        """Updates the metadata of TFDS and removes dropped shards."""
        images = {shard["file"]: shard["images"] for shard in shards}
        with self._explained():
            tfrecords.write_metadata(self._path, self._features, images)
            for path in self._path.glob(f"{tfrecords.PREFIX}*"):
                if path.name not in images:
                    path.unlink()

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
        content = json.dumps({**self._identity, "shards": shards}, indent=1)
        write_atomically(self._list, lambda file: file.write(content.encode()))

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
                why = f"{difference(expected, found.get(name))}, " * (
                    name == "run"
                )
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

    def _checked(self, shard):
        path = self._path / shard["file"]
        found = sha256_of_file(path) if path.is_file() else "no file"
        if found != shard["sha256"]:
            raise ValueError(
                f"{path} is damaged: expected the SHA-256 {shard['sha256']}. "
                f"Received: {found}. Restore the file, or remove it from "
                f"{self._list} to continue without its {shard['images']} "
                "images."
            )
        return path

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
