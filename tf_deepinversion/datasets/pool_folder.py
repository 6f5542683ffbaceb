"""A pool on disk, of which no kill, full disk or second writer loses a batch.

A new shard takes a free place. Then `pool.json`, which lists the shards that
count, is replaced: the moment that decides. Then TFDS is told, and then what
has gone is removed. So at every moment both lists are of whole files.
"""

import contextlib
import itertools
import json
import pathlib
import weakref

from tf_deepinversion.core.files import sha256_of_file
from tf_deepinversion.core.files import write_atomically
from tf_deepinversion.core.run_state import difference
from tf_deepinversion.datasets import tfrecords

FORMAT = "tf_deepinversion pool 2"


UNTRUE = "tf_deepinversion pool 1"  # its labels are what was asked for


class PoolFolder:
    """The folder of a `Pool`, for one writer at a time.

    Of each shard it knows `file`, `batch` (its number), `images` (how many)
    and `sha256`, in a dict; of the pool, a list of those, the oldest first.

    Args:
        path: String or path.
        run: String that tells the teacher and the recipe.
        image_shape: Tuple `(height, width, channels)`.
        classes: Int.
        soft_targets: Bool.
    """

    def __init__(self, path, *, run, image_shape, classes, soft_targets):
        if not run:
            raise ValueError(
                "A folder needs `run`, which tells the teacher and the recipe, "
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
        """Takes the folder, makes it if need be, and reads what is there.

        Returns:
            A pair: the list of shards, and a dict from names to arrays, empty
            where there is no shard.

        Raises:
            ValueError: if the folder is damaged or not of this run.
            RuntimeError: if it is in use.
            OSError: if it cannot be written.
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
        """Writes the last of `shards`, made of `arrays`, and then the list."""
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
        """Tells TFDS of the shards, and removes those that have gone."""
        images = {shard["file"]: shard["images"] for shard in shards}
        with self._explained():
            tfrecords.write_metadata(self._path, self._features, images)
            for path in self._path.glob(f"{tfrecords.PREFIX}*"):
                if path.name not in images:
                    path.unlink()

    def close(self):
        """Leaves the folder to others."""
        if self._lock:
            self._lock.close()

    def _take(self):
        try:
            import fcntl
        except ImportError as e:
            raise RuntimeError(
                "A pool on disk is locked by `flock`, which Linux and macOS "
                "have and Windows has not: leave `folder` out, or work on "
                "Linux or macOS, say in WSL. "
                f"Received: folder={str(self._path)!r}"
            ) from e
        self._path.mkdir(parents=True, exist_ok=True)
        if not self._list.exists():
            for path in self._path.iterdir():
                if path.name[0] != ".":
                    raise ValueError(
                        "A pool needs a folder of its own, empty or with a "
                        f"{self._list.name}. Received: one with {path}"
                    )
        self._lock = open(self._path / ".lock", "a")
        weakref.finalize(self, self._lock.close)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            raise RuntimeError(
                f"{self._path} is in use, by another process or by another "
                "`Pool` of this one. Wait for its end or `close` it, or take a "
                "folder of your own."
            ) from e
        for part in self._path.glob(".*.*[0-9].part"):
            part.unlink()  # of a process that was killed
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
                f"{self._list} was written by an earlier version: its `label` "
                "is what was asked for, which is not in all images what the "
                "teacher sees. Make the images anew, in another folder; those "
                "that are here can still be read by "
                f"tfds.builder_from_directory. Received: format={UNTRUE!r}"
            )
        for name, expected in self._identity.items():
            if found.get(name) != expected:
                why = f"{difference(expected, found.get(name))}, " * (
                    name == "run"
                )
                raise ValueError(
                    f"{self._list} is of another pool, say of another teacher "
                    f"or recipe: {why}expected {name}={expected!r}. Received: "
                    f"{found.get(name)!r}. Take another folder, or delete it."
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
                f"Received: {found}. Restore it; or go on without its "
                f"{shard['images']} images: take it out of {self._list}."
            )
        return path

    def _damaged(self, reason):
        return ValueError(
            f"{self._list} is damaged: {reason}. Restore it, or delete the "
            "folder to start anew."
        )

    @contextlib.contextmanager
    def _explained(self):
        try:
            yield
        except OSError as e:
            raise OSError(
                e.errno,
                f"{self._path} cannot be written ({e.strerror or e}). All that "
                "`add` had finished is safe. Make room, or make it writable, "
                "then make the `Pool` again and go on.",
            ) from e
