"""One pool of the batches of many workers, and how far they are."""

import typing

from tf_deepinversion.core.progress import duration
from tf_deepinversion.datasets.batch_folder import ATTEMPTS
from tf_deepinversion.datasets.batch_folder import BatchFolder
from tf_deepinversion.datasets.pool import Pool
from tf_deepinversion.datasets.pool_folder import PoolFolder


def merge_batches(folder) -> Pool:
    """Makes the batches of `synthesize_batches` one pool.

    The merge writes metadata alone: `pool.json`, and what TensorFlow Datasets
    reads. It may be repeated, also while workers go on.

    Args:
        folder: Path of the folder of `synthesize_batches`.

    Returns:
        A `Pool` for reading, of all batches that are done.

    Raises:
        FileNotFoundError: if there is no run.
        ValueError: if no batch is done, or one is damaged.
        OSError: if the folder cannot be written.

    Example:
        ```python
        pool = di.datasets.merge_batches("run")
        di.distill(teacher, student, pool, rounds=100)
        ```
    """
    batches = BatchFolder.existing(folder)
    shards = [
        {"file": batches.shard(number).name, "batch": number}
        | {name: marker[name] for name in ("images", "sha256")}
        for number, marker in _markers(batches)
    ]
    if not shards:
        raise ValueError(
            "No batch is done yet: start a worker by `synthesize_batches`. "
            f"Received: folder={str(folder)!r}"
        )
    plan = batches.plan
    PoolFolder(
        folder,
        run=plan["run"],
        image_shape=tuple(plan["image_shape"]),
        classes=plan["classes"],
        jpeg_quality=plan["jpeg_quality"],
    ).replace(shards)
    return Pool.open(folder)


def _markers(batches):
    return [(n, batches.read_marker(n)) for n in sorted(batches.done)]


class BatchesStatus(typing.NamedTuple):
    """How far the workers of `synthesize_batches` are.

    Attributes:
        batches: Int, number of batches of the whole pool.
        done: Int, number of finished batches.
        images: Int, number of images of the finished batches.
        recognized: Float, share of these images that the teacher recognizes
            as the requested classes, or None without images.
        failed: List of the numbers of batches that failed and are tried
            again. Of `synthesize_batches`, those that failed in this call.
        gaps: List of the numbers of batches that failed twice and stay out.
        speed: Dict from hosts to images a second, of all their workers.
        seconds_left: Float, or None before the first batch is done.
        stopped: Bool, whether SIGTERM has ended this worker. Defaults to False.
    """

    batches: int
    done: int
    images: int
    recognized: float | None
    failed: list
    gaps: list
    speed: dict
    seconds_left: float | None
    stopped: bool = False

    def __str__(self):
        parts = [
            f"{self.done} of {self.batches} batches",
            f"{self.images} images",
        ]
        if self.recognized is not None:
            parts.append(f"{self.recognized:.1%} recognized")
        parts += [f"{host}: {s:.3g} images/s" for host, s in self.speed.items()]
        if self.failed:
            parts.append(f"failed, to be tried again: {self.failed}")
        if self.gaps:
            parts.append(f"failed twice, left out: {self.gaps}")
        if self.seconds_left:
            parts.append(f"{duration(self.seconds_left)} left")
        return " - ".join(parts)


def status_of_batches(folder) -> BatchesStatus:
    """Says how far the workers of `synthesize_batches` are, by their markers.

    No clock of one machine is compared with that of another: the speed of a
    worker is that of its batches, and the time left that of all workers that
    have done one, if they go on.

    Args:
        folder: Path of the folder of `synthesize_batches`.

    Returns:
        A `BatchesStatus`.

    Raises:
        FileNotFoundError: if there is no run.
        ValueError: if a marker is damaged, or a shard of another size.

    Example:
        ```python
        print(di.datasets.status_of_batches("run"))
        ```
    """
    batches = BatchFolder.existing(folder)
    markers = [marker for _, marker in _markers(batches)]
    attempts, count = batches.attempts, len(batches.missing)
    images = sum(marker["images"] for marker in markers)
    speed, left = _speed(markers), None
    if speed:
        left = count * batches.plan["images"] / sum(speed.values())
    right = sum(marker["images"] * marker["recognized"] for marker in markers)
    return BatchesStatus(
        batches.plan["batches"],
        len(markers),
        images,
        right / images if images else None,
        [n for n, often in attempts.items() if often < ATTEMPTS],
        [n for n, often in attempts.items() if often >= ATTEMPTS],
        speed,
        left,
    )


def _speed(markers) -> dict:
    """Images a second by host: the sum over the workers of each."""
    sums = {}
    for marker in markers:
        if marker.get("seconds"):
            place = marker["host"], marker["worker"]
            images, seconds = sums.get(place, (0, 0.0))
            sums[place] = (
                images + marker["images"],
                seconds + marker["seconds"],
            )
    speed = {}
    for (host, _), (images, seconds) in sorted(sums.items()):
        speed[host] = speed.get(host, 0.0) + images / seconds
    return speed
