"""What a pool by many workers will cost, before anybody rents machines."""

import time
import typing

import numpy as np

from tf_deepinversion.core.progress import duration
from tf_deepinversion.datasets import tfrecords
from tf_deepinversion.inversion.batch_worker import device
from tf_deepinversion.inversion.batches_job import job_of


class BatchesPlan(typing.NamedTuple):
    """What `synthesize_batches` will cost on devices like this one.

    Attributes:
        batches: Int, number of batches.
        images: Int, number of images of all batches.
        seconds: Float, of one batch.
        device_hours: Float, of all batches on one device.
        bytes: Int, of the pool.
        recognized: Float, share of the images of the trial that the teacher
            recognizes as the requested classes.
        device: String, the device of the trial.
    """

    batches: int
    images: int
    seconds: float
    device_hours: float
    bytes: int
    recognized: float
    device: str

    def __str__(self):
        return (
            f"{self.images} images in {self.batches} batches of "
            f"{duration(self.seconds)} each: {self.device_hours:.3g} hours on "
            f"one device like this ({self.device}), and "
            f"{self.bytes / 1e9:.3g} GB - {self.recognized:.1%} recognized"
        )


def plan_batches(
    teacher,
    classes=None,
    *,
    batches=100,
    images=256,
    chain=10,
    seed=0,
    first_steps=None,
    steps=None,
    preprocessing=None,
    recipe=None,
    image_shape=None,
    dtype=None,
    targets=None,
    micro_batch=None,
    jpeg_quality=None,
) -> BatchesPlan:
    """Estimates hours and bytes of `synthesize_batches` by one trial batch.

    The trial includes the tracing of the graphs, which a worker does once, so
    many batches take less. For a recipe with a generator, the trial makes two
    batches of a chain, because the first takes more steps.

    Args:
        teacher: As for `synthesize_batches`, as all arguments.
        classes: As for `synthesize_batches`. Defaults to None.
        batches: As for `synthesize_batches`. Defaults to 100.
        images: As for `synthesize_batches`. Defaults to 256.
        chain: As for `synthesize_batches`. Defaults to 10.
        seed: Int in [0, 2**31). Defaults to 0.
        first_steps: As for `synthesize_batches`.
        steps: As for `synthesize_batches`.
        preprocessing: As for `synthesize_batches`. Defaults to None.
        recipe: As for `synthesize_batches`. Defaults to `"generator"`.
        image_shape: As for `synthesize_batches`. Defaults to the network's.
        dtype: As for `synthesize_batches`. Defaults to the network's.
        targets: As for `synthesize_batches`. Defaults to None.
        micro_batch: As for `synthesize_batches`. Defaults to all.
        jpeg_quality: As for `synthesize_batches`. Defaults to None.

    Returns:
        A `BatchesPlan`.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> noise = di.inversion.GivenImages((8, 8, 1), classes=2)
        >>> plan = di.inversion.plan_batches(noise, batches=50, images=20)
        >>> plan.images, plan.bytes > 50 * 20 * 64
        (1000, True)
    """
    job = job_of(
        teacher,
        classes,
        seed=seed,
        batches=batches,
        images=images,
        chain=chain,
        first_steps=first_steps,
        steps=steps,
        preprocessing=preprocessing,
        recipe=recipe,
        image_shape=image_shape,
        dtype=dtype,
        targets=targets,
        micro_batch=micro_batch,
        jpeg_quality=jpeg_quality,
    )
    trial = _Trial(job)
    # How many batches begin as the first does: each chain has a first batch.
    first = -(-batches // job.chain) if job.chained else 1
    seconds = trial.make(0)
    if batches > first and (job.chained or job.steps != job.first_steps):
        seconds = first * seconds + (batches - first) * trial.make(1)
        seconds /= batches
    return BatchesPlan(
        batches,
        batches * trial.images,
        seconds,
        batches * seconds / 3600,
        batches * trial.bytes,
        trial.recognized,
        device(),
    )


class _Trial:
    """Makes batches that nobody keeps."""

    def __init__(self, job):
        self._job = job

    def make(self, number) -> float:
        """Makes a batch; returns its seconds."""
        begin = time.monotonic()
        job, labels = self._job, self._job.labels(number)
        made = job.synthesizer.make(labels, number, job.steps_of(number))
        seconds = time.monotonic() - begin
        arrays = job.checked(number, *made)
        self.images = len(arrays["image"])
        shard = tfrecords.shard_of(arrays, job.jpeg_quality)
        self.bytes = len(shard)
        right = arrays["label"] == arrays["requested"]
        self.recognized = float(np.mean(right))
        return seconds
