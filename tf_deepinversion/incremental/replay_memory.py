"""Synthesized images of old classes, from the network that knew them best."""

import numpy as np

from tf_deepinversion.core.checks import warn_caller
from tf_deepinversion.datasets.pool import Pool
from tf_deepinversion.networks.replace_statistics import restated


def require_pool(made, classes) -> Pool:
    """What `synthesize` gave, if it can be replayed.

    Args:
        made: A `Pool`.
        classes: Int, how many classes the network knows.

    Raises:
        TypeError: if it is no `Pool`.
        ValueError: if a label is out of range.
    """
    if not isinstance(made, Pool):
        raise TypeError(
            "`synthesize` must give a `Pool`, as `di.synthesize` does; "
            "`Pool.of(images, labels)` makes one of arrays. Received: "
            f"{type(made)}"
        )
    if len(made) and made.labels.max() >= classes:
        raise ValueError(
            "The labels that `synthesize` gives must lie in "
            f"[0, {classes}). Received: {sorted(set(made.labels.tolist()))}"
        )
    return made


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
            "There must be images of each class. Received: "
            f"{len(labels)} images, without classes {missing}"
        )
    count = max(min(counts), sum(counts) // (2 * len(counts)))
    chosen = np.concatenate([np.resize(found, count) for found in places])
    return images[chosen], np.repeat(classes, count)


def shown(pool, classes) -> list:
    """Which classes the images of a pool are of, by its labels.

    Args:
        pool: A `Pool`.
        classes: List of ints, those wanted.

    Returns:
        A list of ints.

    Warns:
        UserWarning: if some were asked for, and no image is of them.

    Raises:
        ValueError: if some were not even asked for.
    """
    missing = sorted(set(classes) - set(pool.labels.tolist()))
    never = sorted(set(missing) - set(pool.requested.tolist()))
    if never:
        raise ValueError(
            "`synthesize` must give images of each class that the network "
            f"knows. Received: {len(pool)} images, without classes {never}"
        )
    if missing:
        warn_caller(
            f"Of {len(pool)} images the network takes none for what some were "
            f"made for, classes {missing}: those are not replayed, and may be "
            "forgotten. Have more images made, by more steps, or with more "
            "weight on the cross-entropy."
        )
    return [label for label in classes if label not in missing]


def balanced(pool, classes) -> Pool:
    """A pool of as many images of each class, or one more, as it is.

    Another becomes one of `equally_many`.

    Args:
        pool: A `Pool`.
        classes: List of ints, those that images are of.
    """
    counts = [np.sum(pool.labels == label) for label in classes]
    if np.ptp(counts) <= 1 and sum(counts) == len(pool):
        return pool
    return Pool.of(
        *equally_many(pool.images, pool.labels, classes), pool.classes
    )


class Memory:
    """Synthesizes images of the newest classes, and keeps those of others.

    A network that has learned tasks since remembers a class less well than the
    one that learned it, and what is synthesized from it is a copy of a copy.
    So of every class the images are those of the first network that knew it:
    synthesized, never the data. Which class an image is of the network says,
    not who asked for it: the labels of a `Pool` are its answers. Its moving
    statistics are of new and of replayed images, mixed: those of the new ones
    alone are measured while they are there, and the images are synthesized by
    these.

    Args:
        synthesize: As for `learn_task`; it is asked for the newest classes
            alone, and images with labels of others are left out. A class that
            no image is of is not replayed, with a warning, and asked for again
            at the next task.
    """

    def __init__(self, synthesize):
        self._synthesize = synthesize
        self._kept = {}  # images by class
        self._measured = None  # a network and its restated copy

    def measure(self, model, images, preprocessing=None):
        """Keeps the statistics of the images of the newest classes.

        Args:
            model: A `keras.Model`, the network that has learned them.
            images: uint8 array `(n, height, width, channels)`.
            preprocessing: The network's `Preprocessing`; None if known by
                name.

        Raises:
            ValueError: as for `restated`.
        """
        self._measured = model, restated(model, images, preprocessing)

    def __call__(self, model, classes, folder, seed) -> Pool:
        """Images of all classes, equally many of each; see `equally_many`.

        Args:
            model: A `keras.Model`, the network as it is.
            classes: List of ints, all that it knows: 0, 1, ...
            folder: Path for what `synthesize` keeps, or None.
            seed: Int.

        Warns:
            UserWarning: if no image is of a class that was asked for.

        Raises:
            TypeError: if `synthesize` gives no `Pool`.
            ValueError: if a new class was not even asked for, or a label is
                out of range.
        """
        newest = [c for c in classes if c not in self._kept]
        if self._measured is not None and self._measured[0] is model:
            model = self._measured[1]
        made = require_pool(
            self._synthesize(model, newest, folder, seed), len(classes)
        )
        for label in shown(made, newest):
            self._kept[label] = made.images[made.labels == label]
        present = [label for label in classes if label in self._kept]
        kept = [self._kept[label] for label in present]
        labels = np.repeat(present, list(map(len, kept)))
        chosen = equally_many(np.concatenate(kept), labels, present)
        return Pool.of(*chosen, len(classes))
