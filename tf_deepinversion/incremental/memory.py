"""Synthesised images of old classes, from the network that knew them best."""

import numpy as np

from tf_deepinversion.pool import Pool
from tf_deepinversion.restatement import restated


def pooled(made, classes):
    """A `Pool` of what `synthesize` made; a function of steps as it is."""
    if isinstance(made, Pool) or callable(made):
        return made
    images, labels = made
    pool = Pool(len(labels), images.shape[1:], len(classes))
    pool.add(images, labels)
    return pool


def equally_many(images, labels, classes) -> tuple:
    """Images of classes, as many of each.

    As many as there are of the rarest, but at least half of the mean: few
    images may be of a class that a network hardly remembers, and the others
    need not go for that. Of what is rarer still, images are repeated.

    Args:
        images: Array `(n, ...)`.
        labels: Int array `(n,)`, what the images show.
        classes: List of ints.

    Returns:
        A pair of arrays, class by class.

    Raises:
        ValueError: if a class has no image.

    >>> labels = np.array([0] * 9 + [1])
    >>> images, labels = equally_many(np.arange(10), labels, [0, 1])
    >>> images.tolist(), labels.tolist()
    ([0, 1, 9, 9], [0, 0, 1, 1])
    """
    places = [np.flatnonzero(labels == label) for label in classes]
    counts = list(map(len, places))
    if not min(counts):
        missing = [c for c, n in zip(classes, counts, strict=True) if not n]
        raise ValueError(
            "There must be images of each class that the network knows, such "
            "as are of it by their labels: have more images made, by more "
            "steps, or with more weight on the cross-entropy. Received: "
            f"{len(labels)} images, without classes {missing}"
        )
    count = max(min(counts), sum(counts) // (2 * len(counts)))
    chosen = np.concatenate([np.resize(found, count) for found in places])
    return images[chosen], np.repeat(classes, count)


def balanced(pool, classes):
    """A `Pool` of as many images of each class, or one more, as it is.

    Another becomes one of `equally_many`; a function of steps, or a pool with
    labels of no class, is returned as it is.

    Args:
        pool: What `pooled` returns.
        classes: List of ints, 0, 1, ...

    Raises:
        ValueError: if a class has no image.
    """
    if not isinstance(pool, Pool):
        return pool
    counts = np.bincount(pool.labels, minlength=len(classes))
    if len(counts) > len(classes) or (counts.min() and np.ptp(counts) <= 1):
        return pool
    return pooled(equally_many(pool.images, pool.labels, classes), classes)


class Memory:
    """Synthesises images of the newest classes, and keeps those of others.

    A network that has learnt tasks since remembers a class less well than the
    one that learnt it, and what is synthesised from it is a copy of a copy.
    So of every class the images are those of the first network that knew it:
    synthesised, never the data. Which class an image is of the network says,
    not who asked for it: the labels of a `Pool` are its answers. Its moving
    statistics are of new and of replayed images, mixed: those of the new ones
    alone are measured while they are there, and the images are synthesised by
    these.

    Args:
        synthesize: As for `learn_task`; it is asked for the newest classes
            alone, and images with labels of others are left out. Where it
            returns a function of steps, there is nothing to keep, and that is
            what is returned.
    """

    def __init__(self, synthesize):
        self._synthesize = synthesize
        self._kept = {}  # images by class
        self._measured = None  # a network and its restated copy

    def measure(self, model, images, preprocessing=None):
        """Keeps the statistics of the images of the newest classes.

        Args:
            model: A `keras.Model`, the network that has learnt them.
            images: uint8 array `(n, height, width, channels)`.
            preprocessing: The network's `Preprocessing`; None if known by
                name.

        Raises:
            ValueError: as for `restated`.
        """
        self._measured = model, restated(model, images, preprocessing)

    def __call__(self, model, classes, folder, seed):
        """Images and labels of all classes, equally many of each.

        See `equally_many`.

        Args:
            model: A `keras.Model`, the network as it is.
            classes: List of ints, all that it knows: 0, 1, ...
            folder: Path for what `synthesize` keeps, or None.
            seed: Int.

        Raises:
            ValueError: if a new class has no image, or a label is out of
                range.
        """
        newest = [c for c in classes if c not in self._kept]
        if self._measured is not None and self._measured[0] is model:
            model = self._measured[1]
        made = pooled(self._synthesize(model, newest, folder, seed), classes)
        if not isinstance(made, Pool):
            return made
        images, labels = made.images, made.labels
        if len(labels) and labels.max() >= len(classes):
            raise ValueError(
                "The labels that `synthesize` gives must lie in "
                f"[0, {len(classes)}). Received: {sorted(set(labels.tolist()))}"
            )
        new = {label: images[labels == label] for label in newest}
        kept = [{**self._kept, **new}[label] for label in classes]
        found = equally_many(
            np.concatenate(kept),
            np.repeat(classes, list(map(len, kept))),
            classes,
        )
        self._kept.update(new)
        return found
