"""Synthesized batches of a pool, see `Pool.fill`."""

import numpy as np

from tf_deepinversion.core.caller_warnings import warn_if_not_recognized
from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.core.labels import balanced_labels
from tf_deepinversion.core.labels import check_labels
from tf_deepinversion.core.progress import Progress


class PoolFilling:
    """Fills a pool with the batches of a synthesizer.

    Args:
        pool: A `Pool`.
        synthesizer: A `Synthesizer` of the pool's image shape and classes.
        images: Int, number of labels of a batch.

    Raises:
        ValueError: if pool and synthesizer do not fit.
    """

    def __init__(self, pool, synthesizer, images):
        require_whole(images=images)
        self._pool, self._synthesizer, self._images = pool, synthesizer, images
        self._require_fitting()

    def _require_fitting(self):
        pool, synthesizer = self._pool, self._synthesizer
        found = tuple(synthesizer.image_shape), synthesizer.classes
        if found != (pool.image_shape, pool.classes):
            raise ValueError(
                f"Expected a synthesizer of images {pool.image_shape} of "
                f"{pool.classes} classes, like the pool. Received: a "
                f"synthesizer of images {found[0]} of {found[1]} classes"
            )
        require_capacity(synthesizer, self._images, pool.capacity)

    def run(
        self,
        numbers,
        *,
        classes,
        steps,
        first_steps,
        after_batch,
        verbose,
        title,
    ):
        """Makes batches and adds those that the pool lacks.

        Args:
            numbers: Range of the batches' numbers.
            classes: List of ints, or None for all classes.
            steps: See `Pool.fill`, as the other arguments.
            first_steps: See `Pool.fill`.
            after_batch: See `Pool.fill`.
            verbose: See `Pool.fill`.
            title: See `Pool.fill`.
        """
        pool, synthesizer = self._pool, self._synthesizer
        wanted = range(pool.classes) if classes is None else classes
        wanted = check_labels(list(wanted), pool.classes)
        first_steps = steps if first_steps is None else first_steps
        first = synthesizer.first_takes(
            numbers, self._images, first_steps, steps
        )
        progress = Progress(title, len(numbers), "batch", verbose, first)
        for number in numbers:
            labels = wanted[balanced_labels(len(wanted), self._images, number)]
            found = synthesizer.make(
                labels, number, first_steps if number == 0 else steps
            )
            self._add(labels, number, *found)
            if after_batch is not None:
                after_batch(number)
            progress.advance(synthesizer.logs)
        if synthesizer.means_labels and len(numbers):
            warn_if_not_recognized((pool.labels == pool.requested).mean())

    def _add(self, labels, number, images, shown):
        """Adds a batch, unless a resumed run repeats one of the pool's."""
        expected = len(labels) * self._synthesizer.images_per_label
        if len(images) != expected:
            raise ValueError(
                f"Expected {expected} images of {len(labels)} labels, as "
                "`images_per_label` of the synthesizer says. "
                f"Received: {len(images)}"
            )
        if number >= self._pool.batches:
            requested = np.resize(labels, expected)
            self._pool.add(images, shown, number=number, requested=requested)


def require_capacity(synthesizer, images, capacity):
    """Checks that a pool holds the images of a batch.

    Args:
        synthesizer: A `Synthesizer`.
        images: Int, number of labels of a batch.
        capacity: Int, number of images that the pool holds.

    Raises:
        ValueError: if the pool is too small.
    """
    added = images * synthesizer.images_per_label
    if added > capacity:
        raise ValueError(
            f"`capacity` must hold the {added} images of a batch. "
            f"Received: capacity={capacity}"
        )
