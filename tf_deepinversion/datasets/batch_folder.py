"""A folder that many workers fill, without a server, a lock or a lease.

    run.json                     what the batches are of, the same for all
    pool-train.tfrecord-00042    one batch, named by its number
    index-00042                  where its images are
    done/00042.json              written last: the batch counts
    failed/00042.json            what went wrong, and how often

Every file appears whole, by a link, or a request to an object store, that fails
if the name is taken. The first worker that finishes a batch wins; the work of
another is dropped.
"""

import contextlib
import hashlib
import json
import socket

import numpy as np

from tf_deepinversion.core.files import path_of
from tf_deepinversion.core.files import write_content
from tf_deepinversion.core.files import write_first
from tf_deepinversion.core.remote_path import RemotePath
from tf_deepinversion.core.run_state import difference
from tf_deepinversion.datasets import tfrecords
from tf_deepinversion.datasets.shard_index import index_of
from tf_deepinversion.datasets.shard_index import save_index

FORMAT = "tf_deepinversion batches 2"

# What `run.json` says beside the format.
PLAN = {"run", "batches", "images", "image_shape", "classes", "jpeg_quality"}

# How often a batch is tried before it stays a gap.
ATTEMPTS = 2


class BatchFolder:
    """The folder of one pool that many workers fill.

    Args:
        path: String or path, also of an object store, see `core.files.path_of`.
        plan: Dict of `run`, a string that identifies the run, see
            `core.run_state.fingerprints`; `batches`, how many there are;
            `images`, of each; `image_shape`; `classes`; and `jpeg_quality`,
            None for PNG.
    """

    def __init__(self, path, plan):
        self.path, self.plan = path_of(path), plan
        # Refuses images that no shard can hold.
        shape, quality = tuple(plan["image_shape"]), plan["jpeg_quality"]
        tfrecords.make_features(shape, 1, quality)

    @classmethod
    def claim(cls, path, plan, grows=False) -> "BatchFolder":
        """Opens the folder of a run, which the first worker creates.

        Args:
            path: String or path.
            plan: See the class.
            grows: Bool, whether more batches than the folder was made for are
                added. Defaults to False.

        Raises:
            ValueError: if the folder is of another run or has other files.
            OSError: if the folder cannot be written.
        """
        folder = cls(path, plan)
        run = folder.path / "run.json"
        with folder.explained():
            if isinstance(folder.path, RemotePath):
                folder.path.require_creation()
            if not run.exists():
                folder._require_empty()
                folder._require_own_batches()
            write_first(run, _content_of(plan))
        found = cls.existing(path).plan
        if {**found, "batches": plan["batches"]} != plan:
            raise ValueError(
                f"{run} is of another run: "
                f"{difference(plan['run'], found['run'])}. Take another "
                "folder, or start every worker with the same arguments. "
                f"Received: folder={str(path)!r}"
            )
        folder._require_batches(found["batches"], grows)
        return folder

    def _require_batches(self, found, grows):
        """Adds batches to those of the folder, or refuses another number."""
        wanted = self.plan["batches"]
        if grows and wanted > found:
            content = _content_of(self.plan)
            with self.explained():
                write_content(self.path / "run.json", content)
        elif wanted != found:
            raise ValueError(
                f"{self.path} is for {found} batches: ask for as many, or take "
                "another folder. `synthesize` adds batches. "
                f"Received: batches={wanted}"
            )

    @classmethod
    def existing(cls, path) -> "BatchFolder":
        """Opens the folder of a run for reading.

        Raises:
            FileNotFoundError: if there is no run.
            ValueError: if `run.json` is damaged, or of another version.
        """
        run = path_of(path) / "run.json"
        if not run.is_file():
            raise FileNotFoundError(
                "Expected the folder of `synthesize_batches`, with a run.json. "
                f"Received: folder={str(path)!r}"
            )
        try:
            plan = json.loads(run.read_bytes())
            found = plan.pop("format")
            if found == FORMAT and (absent := PLAN - {*plan}):
                raise KeyError(absent.pop())
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(
                f"{run} is damaged ({error!r}). Delete the file: the next "
                "worker writes it again, and its batches stay."
            ) from error
        if found != FORMAT:
            raise ValueError(
                f"{run} is of another version of this library: expected "
                f"{FORMAT!r}. Received: {found!r}. Take another folder."
            )
        return cls(path, plan)

    def _require_own_batches(self):
        """Refuses batches of another run, whose run.json was deleted."""
        for number in sorted(self.done)[:1]:
            made = self.read_marker(number).get("run", self.plan["run"])
            if made != self.plan["run"]:
                raise ValueError(
                    f"{self.path} has batches of another run: "
                    f"{difference(self.plan['run'], made)}. Take another "
                    f"folder. Received: folder={str(self.path)!r}"
                )
        made, wanted = max(self.done, default=-1) + 1, self.plan["batches"]
        if made > wanted:
            raise ValueError(
                f"{self.path} has {made} batches, though its run.json is gone: "
                "ask for as many as before, or take another folder. "
                f"Received: batches={wanted}"
            )

    def _require_empty(self):
        # Another worker may have begun the run just now.
        own = {"run.json", "done", "failed", "state"}
        if self.done:  # what a merge has written
            own |= {"pool.json", "dataset_info.json", "features.json"}
        others = [
            path.name
            for path in (self.path.iterdir() if self.path.exists() else ())
            if path.name[0] != "."
            and path.name not in own
            and not path.name.startswith((tfrecords.PREFIX, "index-"))
        ]
        if "pool.json" in others:
            raise ValueError(
                f"{self.path} holds a pool that no workers have made, but a "
                "`Pool`, `distill`, or the `synthesize` of an earlier version. "
                "Its batches cannot be gone on with: `Pool.open` reads its "
                "images, and another folder takes new ones. "
                f"Received: folder={str(self.path)!r}"
            )
        if others:
            raise ValueError(
                "The batches of a run need a folder of their own, which is new "
                f"or empty. Received: {self.path}, which has {others[0]}"
            )

    def shard(self, number):
        """The path of a batch."""
        return self.path / tfrecords.shard_name(number)

    def marker(self, number):
        """The path of the file by which a batch counts."""
        return self.path / "done" / f"{number:05d}.json"

    def state(self, number):
        """The path of what is kept of an unfinished batch or chain."""
        return self.path / "state" / f"{number:05d}.npz"

    def remove_states(self):
        """Removes what a worker that died kept of batches that are done."""
        done = {self.state(number).name for number in self.done}
        folder = self.path / "state"
        for path in list(folder.iterdir()) if folder.exists() else ():
            if path.name in done:
                path.unlink(missing_ok=True)

    @property
    def done(self) -> set:
        """The numbers of all batches that have a marker and a shard."""
        shards = _numbers(self.path, tfrecords.PREFIX)
        return shards & _numbers(self.path / "done")

    @property
    def attempts(self) -> dict:
        """How often each batch that is not done has failed, by its number."""
        failed = _numbers(self.path / "failed") - self.done
        return {number: self._attempts(number) for number in sorted(failed)}

    def _attempts(self, number) -> int:
        try:
            return int(
                json.loads(self._failure(number).read_bytes())["attempt"]
            )
        except (ValueError, TypeError, KeyError):
            return 1  # a damaged note says that there was one
        except FileNotFoundError:
            return 0  # another worker has just made the batch

    @property
    def missing(self) -> list:
        """The numbers of all batches to make: neither done nor given up."""
        gaps = {n for n, often in self.attempts.items() if often >= ATTEMPTS}
        return sorted(set(range(self.plan["batches"])) - self.done - gaps)

    def read_marker(self, number) -> dict:
        """Returns what the marker of a batch says.

        Raises:
            ValueError: if the marker is damaged, or the size of the shard is
                another.
        """
        marker, shard = self.marker(number), self.shard(number)
        try:
            found = json.loads(marker.read_bytes())
            size = found["bytes"]
            missing = {"images", "recognized", "sha256"} - {*found}
            if missing:
                raise KeyError(missing.pop())
        except (ValueError, TypeError, KeyError) as error:
            raise _to_be_made_again(marker, shard, repr(error)) from error
        if shard.stat().st_size != size:
            reason = f"expected {size} bytes, received {shard.stat().st_size}"
            raise _to_be_made_again(shard, marker, reason)
        return found

    def publish(self, number, arrays, facts):
        """Writes a batch, unless another worker has been faster.

        Args:
            number: Int, number of the batch.
            arrays: Dict of `image`, `label` and `requested`.
            facts: Dict for the marker.
        """
        content = tfrecords.shard_of(arrays, self.plan["jpeg_quality"])
        with self.explained():
            if not write_first(self.shard(number), content):
                content, facts = self.shard(number).read_bytes(), {}
            self._mark(number, content, facts)

    def adopt(self, number) -> bool:
        """Counts a batch whose worker died between its shard and its marker.

        Returns:
            Whether there was one. A damaged one is removed.
        """
        with self.explained():
            if not self.shard(number).exists():
                return False
            content = self.shard(number).read_bytes()
            if not self._is_whole(content):
                self.shard(number).unlink(missing_ok=True)
                return False
            self._mark(number, content, {})
        return True

    def _is_whole(self, content) -> bool:
        try:
            count = tfrecords.count_of(content)
            return count == len(index_of(content)) == self.plan["images"]
        except ValueError:
            return False

    def _mark(self, number, content, facts):
        """Writes the index and the marker of what the shard now holds."""
        index, shard = index_of(content), self.shard(number)
        sha256 = hashlib.sha256(content).hexdigest()
        save_index(self.path, shard.name, index, sha256)
        right = index.labels["label"] == index.labels["requested"]
        told = json.dumps(
            {
                "sha256": sha256,
                "bytes": len(content),
                "images": len(index),
                "recognized": float(np.mean(right)),
                "host": socket.gethostname(),
                "run": self.plan["run"],
                **facts,
            }
        ).encode()
        marker = self.marker(number)
        if not write_first(marker, told):
            # It may be damaged, or that of a shard that was removed since.
            if sha256.encode() not in marker.read_bytes():
                write_content(marker, told)
        self._failure(number).unlink(missing_ok=True)

    def fail(self, number, error):
        """Notes that a batch has failed once more."""
        told = {
            "error": f"{type(error).__name__}: {error}",
            "attempt": self.attempts.get(number, 0) + 1,
            "host": socket.gethostname(),
        }
        content = json.dumps(told).encode()
        with self.explained():
            write_content(self._failure(number), content)

    def _failure(self, number):
        return self.path / "failed" / f"{number:05d}.json"

    @contextlib.contextmanager
    def explained(self):
        """Says what to do where the disk fails."""
        try:
            yield
        except OSError as error:
            raise OSError(
                error.errno,
                f"{self.path} cannot be written ({error.strerror or error}). "
                "Batches that are done are safe. Free disk space, or make the "
                "folder writable, then start the worker again.",
            ) from error


def _content_of(plan) -> bytes:
    return json.dumps({"format": FORMAT, **plan}).encode()


def _numbers(folder, prefix="") -> set:
    """The numbers in the names of a folder's files that begin with `prefix`."""
    found = set()
    with contextlib.suppress(FileNotFoundError):
        for name in [path.name for path in folder.iterdir()]:
            number = name.removeprefix(prefix).removesuffix(".json")
            if name.startswith(prefix) and number.isdecimal():
                found.add(int(number))
    return found


def _to_be_made_again(path, other, reason) -> ValueError:
    return ValueError(
        f"{path} is damaged: {reason}. Delete it and {other}, and start a "
        "worker, which makes the batch again."
    )
