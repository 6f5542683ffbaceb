"""The sources of a student's training images.

Both classes check their arguments on creation, and write nothing before `open`.
"""

import pathlib

import tensorflow as tf

from tf_deepinversion.callbacks.refresh_pool import RefreshPool
from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.core.labels import balanced_labels
from tf_deepinversion.datasets.pool import Pool
from tf_deepinversion.datasets.pool_filling import require_capacity
from tf_deepinversion.datasets.streams import as_stream
from tf_deepinversion.inversion.batches_job import require_all


class SynthesizedImages:
    """A pool that a synthesizer fills before the student's rounds.

    Args:
        synthesizer: A `Synthesizer`.
        refresh: A `RefreshPool`, or None for `RefreshPool()`.
        rounds: Int, number of the student's rounds.
        capacity: Int, capacity of the pool.

    Attributes:
        pool: The `Pool`, after `open`.

    Raises:
        TypeError: if `refresh` is not a `RefreshPool`.
        ValueError: if the synthesizer cannot make the requested images, or the
            pool cannot hold a batch.
    """

    def __init__(self, synthesizer, refresh, rounds, capacity):
        refresh = RefreshPool() if refresh is None else refresh
        if not isinstance(refresh, RefreshPool):
            raise TypeError(
                "`refresh` must be a `RefreshPool`, such as "
                f"RefreshPool(images=256). Received: {type(refresh)}"
            )
        require_whole(capacity=capacity)
        self._synthesizer, self._refresh = synthesizer, refresh
        self._rounds, self._capacity = rounds, capacity
        self.pool = self._folder = None
        self._require_possible()

    def _require_possible(self):
        synthesizer, refresh = self._synthesizer, self._refresh
        require_capacity(synthesizer, refresh.images, self._capacity)
        # What could fail in a later round is refused before the first batch.
        classes = range(synthesizer.classes)
        require_all(classes, self._batches_by(self._rounds), refresh.images)
        labels = balanced_labels(synthesizer.classes, refresh.images)
        for steps in (refresh.steps, refresh.first_steps):
            synthesizer.check(labels, steps)

    def _batches_by(self, rounds):
        """Returns the number of batches that the first `rounds` rounds need."""
        if not rounds:
            return 0
        return self._refresh.batches_by(
            rounds - 1, self._rounds, self._synthesizer, self._capacity
        )

    def work(self) -> list:
        """Lists the work of each batch, see `Synthesizer.work`.

        The list is empty if the work is unknown, or there is none.
        """
        refresh = self._refresh
        first, rest = (
            self._synthesizer.work(refresh.images, steps)
            for steps in (refresh.first_steps or refresh.steps, refresh.steps)
        )
        if not first or not rest:
            return []
        return [first, *(self._batches_by(self._rounds) - 1) * [rest]]

    def settings(self) -> dict:
        """Returns the settings that affect the images, without the networks."""
        made = self._synthesizer.settings()
        return {
            "capacity": self._capacity,
            "refresh": self._refresh.settings(),
            "labels": "in turn over all batches",
            **{f"synthesizer: {name}": part for name, part in made.items()},
        }

    def open(self, folder, run, begun) -> Pool:
        """Opens the pool.

        Args:
            folder: Path of the run's folder, or None.
            run: String that identifies the run, or None.
            begun: Bool, whether the folder has a state of this run.

        Returns:
            A `Pool`.

        Raises:
            ValueError: if the state exists and its images do not.
        """
        self._folder = folder and pathlib.Path(folder)
        if begun and not (self._folder / "pool" / "pool.json").exists():
            raise ValueError(
                f"{folder} holds the state of a student, but its images in "
                f"{self._folder / 'pool'} are missing: restore the images, or "
                "delete the folder to start again."
            )
        # The pool locks its folder until `close`.
        self.pool = Pool(
            self._capacity,
            self._synthesizer.image_shape,
            self._synthesizer.classes,
            folder=self._folder and self._folder / "pool",
            run=run,
        )
        return self.pool

    def begin(self, done, job=None):
        """Sets the number of finished rounds before the next round begins.

        Args:
            done: Int.
            job: `JobProgress` that the batches are told to, or None.
        """
        path = self._folder and self._folder / "synthesis.json"
        self._refresh.bind(
            self.pool, self._synthesizer, self._batches_by(done), path, job
        )

    def close(self):
        """Releases the folder; the images stay."""
        if self.pool is not None:
            self.pool.close()

    @property
    def callbacks(self) -> list:
        """The callbacks of `fit` that make the images."""
        return [self._refresh]

    @property
    def state_variables(self) -> list:
        """The state that one batch of images leaves to the next."""
        return list(self._synthesizer.state_variables)

    @property
    def title(self) -> str:
        """Name of the training's bar, as part of the whole job."""
        job = self._rounds, self._synthesizer, self._capacity
        return self._refresh.titles(*job)[1]

    @property
    def synthesis(self) -> dict:
        """The terms of each batch, see `RefreshPool.synthesis`."""
        return self._refresh.synthesis


class GivenStream:
    """Existing images: a pool, arrays, a data set or a function.

    Args:
        images: As for `as_stream`.
        run: String, the user's name of the images.

    Attributes:
        pool: The images if they are a `Pool`, or None.
    """

    callbacks, state_variables, synthesis = (), (), {}
    title = "Training"

    def __init__(self, images, run):
        self._images, self._run = images, run
        self.pool = images if isinstance(images, Pool) else None

    def settings(self) -> dict:
        """Identifies the images."""
        return {"images": as_stream(self._images).named(self._run)}

    def open(self, folder, run, begun):
        """Returns the images as given."""
        return self._images

    def begin(self, done, job=None):
        """Does nothing, because no image is made."""

    def work(self):
        """Lists no batch, because no image is made."""
        return []

    def close(self):
        """Does nothing, because the images belong to the user."""


def fixed_count(fixed_share, batch_size) -> int:
    """Returns the number of fixed images in a batch."""
    return max(1, round(fixed_share * batch_size))


def batches_of(images, fixed_images, fixed_share, batch_size, seed):
    """Makes batches for a student, optionally with a share of fixed images.

    Args:
        images: As for `as_stream`.
        fixed_images: As for `as_stream`, or None.
        fixed_share: Float in (0, 1), share of `fixed_images` in a batch.
        batch_size: Int.
        seed: Int.

    Returns:
        A function from a step to a `tf.data.Dataset` that starts at that step.
    """
    if fixed_images is None:
        return as_stream(images, batch_size, seed)
    fixed = fixed_count(fixed_share, batch_size)
    streams = [
        as_stream(images, batch_size - fixed, seed),
        as_stream(fixed_images, fixed, seed),
    ]

    def begin(step):
        # Both streams start at the same step, so resuming keeps them together.
        pair = tf.data.Dataset.zip(*(stream(step) for stream in streams))
        return pair.map(_joined)

    return begin


def _joined(new, fixed):
    # The labels of the two streams may differ in their integer type.
    return tuple(
        tf.concat([a, tf.cast(b, a.dtype)], 0)
        for a, b in zip(new, fixed, strict=True)
    )
