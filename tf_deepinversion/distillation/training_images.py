"""Where the images come from that a student learns by.

Both kinds say what is wrong when they are made, and write nothing before
`open`.
"""

import pathlib

import tensorflow as tf

from tf_deepinversion.callbacks.refresh_pool import RefreshPool
from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.core.labels import balanced_labels
from tf_deepinversion.datasets.pool import Pool
from tf_deepinversion.datasets.streams import as_stream
from tf_deepinversion.inversion._synthesize import require_all


class SynthesizedImages:
    """A pool that a synthesizer fills before rounds of the student.

    Args:
        synthesizer: A `Synthesizer`.
        refresh: A `RefreshPool`, or None for `RefreshPool()`.
        rounds: Int, of the student.
        capacity: Int, of the pool.

    Attributes:
        pool: The `Pool`, once it is open.

    Raises:
        TypeError: if `refresh` is no `RefreshPool`.
        ValueError: if the synthesizer cannot make what `refresh` asks for, or
            the pool cannot hold a batch.
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
        added = refresh.images * synthesizer.images_per_label
        if added > self._capacity:
            raise ValueError(
                f"`capacity` must hold the {added} images of a batch. "
                f"Received: capacity={self._capacity}"
            )
        classes = range(synthesizer.classes)
        require_all(classes, self._batches_by(self._rounds), refresh.images)
        labels = balanced_labels(synthesizer.classes, refresh.images)
        for steps in (refresh.steps, refresh.first_steps):
            synthesizer.check(labels, steps)

    def _batches_by(self, rounds):
        """How many batches so many rounds have asked for."""
        if not rounds:
            return 0
        return self._refresh.batches_by(
            rounds - 1, self._rounds, self._synthesizer, self._capacity
        )

    def settings(self) -> dict:
        """What the images depend on, apart from the networks."""
        made = self._synthesizer.settings()
        return {
            "capacity": self._capacity,
            "refresh": self._refresh.settings(),
            **{f"synthesizer: {name}": part for name, part in made.items()},
        }

    def open(self, folder, run, begun) -> Pool:
        """Opens the pool.

        Args:
            folder: Path of the run's folder, or None.
            run: String that tells this run from others, or None.
            begun: Bool, whether the folder has a state of this run.

        Raises:
            ValueError: if the state is there and its images are not.
        """
        self._folder = folder and pathlib.Path(folder)
        if begun and not (self._folder / "pool" / "pool.json").exists():
            raise ValueError(
                f"{folder} holds the state of a student, whose images in "
                f"{self._folder / 'pool'} are gone: put them back, or delete "
                "the folder to begin anew."
            )
        self.pool = Pool(
            self._capacity,
            self._synthesizer.image_shape,
            self._synthesizer.classes,
            folder=self._folder and self._folder / "pool",
            run=run,
        )
        return self.pool

    def begin(self, done):
        """Says how many rounds are done; the next begins."""
        path = self._folder and self._folder / "synthesis.json"
        self._refresh.bind(
            self.pool, self._synthesizer, self._batches_by(done), path
        )

    def close(self):
        """Leaves the folder to others; the images stay."""
        if self.pool is not None:
            self.pool.close()

    @property
    def callbacks(self) -> list:
        """What makes the images as `fit` goes on."""
        return [self._refresh]

    @property
    def state_variables(self) -> list:
        """What one batch of images leaves to the next."""
        return list(self._synthesizer.state_variables)

    @property
    def synthesis(self) -> dict:
        """The terms of each batch, see `RefreshPool.synthesis`."""
        return self._refresh.synthesis


class GivenStream:
    """Images that are there: a pool, arrays, a data set or a function.

    Args:
        images: As for `as_stream`.
        run: String, the user's name of the images.

    Attributes:
        pool: The images, if they are a `Pool`, or None.
    """

    callbacks, state_variables, synthesis = (), (), {}

    def __init__(self, images, run):
        self._images, self._run = images, run
        self.pool = images if isinstance(images, Pool) else None

    def settings(self) -> dict:
        """What tells the images from others."""
        return {"images": as_stream(self._images).named(self._run)}

    def open(self, folder, run, begun):
        """The images as they were given."""
        return self._images

    def begin(self, done):
        """Does nothing: no image is made."""

    def close(self):
        """Does nothing: the images are the user's."""


def fixed_count(fixed_share, batch_size) -> int:
    """How many images of a batch are fixed ones."""
    return max(1, round(fixed_share * batch_size))


def batches_of(images, fixed_images, fixed_share, batch_size, seed):
    """Batches for a student, with a share of fixed images in each, if any.

    Args:
        images: As for `as_stream`.
        fixed_images: The same, or None.
        fixed_share: Float in (0, 1), the part of a batch that is of
            `fixed_images`.
        batch_size: Int.
        seed: Int.

    Returns:
        A function from a step to a `tf.data.Dataset` that begins there.
    """
    if fixed_images is None:
        return as_stream(images, batch_size, seed)
    fixed = fixed_count(fixed_share, batch_size)
    streams = [
        as_stream(images, batch_size - fixed, seed),
        as_stream(fixed_images, fixed, seed),
    ]

    def begin(step):
        pair = tf.data.Dataset.zip(*(stream(step) for stream in streams))
        return pair.map(_joined)

    return begin


def _joined(new, fixed):
    return tuple(
        tf.concat([a, tf.cast(b, a.dtype)], 0)
        for a, b in zip(new, fixed, strict=True)
    )
