"""Images of old classes, synthesized from the network that knew them best."""

import numpy as np

from tf_deepinversion.core.caller_warnings import warn_caller
from tf_deepinversion.datasets.pool import Pool
from tf_deepinversion.incremental.task_statistics import statistics_for


def require_pool(made, classes) -> Pool:
    """Checks the result of `synthesize`.

    Args:
        made: A `Pool`.
        classes: Int, number of classes that the network knows.

    Raises:
        TypeError: if `made` is not a `Pool`.
        ValueError: if a label is out of range.
    """
    if not isinstance(made, Pool):
        raise TypeError(
            "`synthesize` must return a `Pool`, as `di.synthesize` does; "
            "`Pool.of(images, labels)` makes a pool from arrays. Received: "
            f"{type(made)}"
        )
    if len(made) and made.labels.max() >= classes:
        raise ValueError(
            "The labels of `synthesize`'s images must lie in "
            f"[0, {classes}). Received: {sorted(set(made.labels.tolist()))}"
        )
    return made


def equally_many(images, labels, classes) -> tuple:
    """Selects equally many images of each class.

    The number is that of the rarest class, but at least 50% of the mean: a
    network may hardly remember one class, and the other classes should not
    shrink for it. Images of a rarer class repeat.

    Args:
        images: Array `(n, ...)`.
        labels: Int array `(n,)`.
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
            "Expected images of each class. Received: "
            f"{len(labels)} images, without classes {missing}"
        )
    # The rarest class sets the number, but at least 50 % of the mean number.
    count = max(min(counts), sum(counts) // (2 * len(counts)))
    # `np.resize` repeats the images of rarer classes.
    chosen = np.concatenate([np.resize(found, count) for found in places])
    return images[chosen], np.repeat(classes, count)


def shown(pool, classes) -> list:
    """Lists the classes that the images of a pool show, by its labels.

    Args:
        pool: A `Pool`.
        classes: List of ints, the requested classes.

    Returns:
        A list of ints.

    Warns:
        UserWarning: if images of a class were requested and none shows it.

    Raises:
        ValueError: if images of a class were never requested.
    """
    missing = sorted(set(classes) - set(pool.labels.tolist()))
    # A class that was never requested is an error of `synthesize`. A class that
    # was requested but not recognized is only a warning.
    never = sorted(set(missing) - set(pool.requested.tolist()))
    if never:
        raise ValueError(
            "`synthesize` must make images of each class that the network "
            f"knows. Received: {len(pool)} images, without classes {never}"
        )
    if missing:
        warn_caller(
            f"The network assigns none of {len(pool)} images to the classes "
            f"{missing}, although such images were requested. These classes "
            "are not replayed and may be forgotten: synthesize more images, "
            "with more steps, or with more weight on the cross-entropy."
        )
    return [label for label in classes if label not in missing]


def balanced(pool, classes) -> Pool:
    """Returns a pool with equally many images of each class, up to one.

    A pool with other numbers becomes a selection by `equally_many`.

    Args:
        pool: A `Pool`.
        classes: List of ints, the classes of its images.
    """
    counts = [np.sum(pool.labels == label) for label in classes]
    if np.ptp(counts) <= 1 and sum(counts) == len(pool):
        return pool
    return Pool.of(
        *equally_many(pool.images, pool.labels, classes), pool.classes
    )


class Memory:
    """Synthesizes images of the newest classes, and keeps those of old classes.

    A network forgets a class a little with each later task, and images
    synthesized from it later are copies of copies. `Memory` therefore keeps,
    for every class, images of the first network that knew the class. All are
    synthesized, none is from the data. The network decides which class an image
    shows, as in a `Pool`. A network's moving statistics mix new and replayed
    images; `measure` computes the statistics of the new images alone while they
    are available, and the synthesis uses these.

    Args:
        synthesize: As for `learn_task`. `Memory` requests only the newest
            classes, and drops images with other labels. A class without an
            image is not replayed, with a warning, and requested again at the
            next task, unless each class has its own targets. With `targets`,
            the function gets a fifth argument, the `FeatureTargets` of the
            network that it gets.
        targets: `FeatureTargets` of the first network, or None. `measure` then
            measures targets of the same layers, and changes no network. Or a
            list of targets, one for each class of the first network: `measure`
            then measures each class, and each class is synthesized on its own.
            Defaults to None.

    Attributes:
        last: The `Pool` of the last call, or None.

    Example:
        >>> def synthesize(network, classes, folder, seed):
        ...     return di.Pool.of(images, labels)
        >>> memory = di.incremental.Memory(synthesize)
        >>> pool = memory(teacher, [0, 1, 2], folder=None, seed=0)
        >>> len(pool), pool.classes
        (12, 3)
    """

    def __init__(self, synthesize, targets=None):
        self._synthesize = synthesize
        self._statistics = statistics_for(targets)
        self._kept = {}  # images by class
        self.last = None

    def measure(self, model, images, labels, preprocessing=None):
        """Measures the statistics of the images of the newest classes.

        Args:
            model: A `keras.Model`, the network that learned these classes.
            images: uint8 array `(n, height, width, channels)`.
            labels: Int array `(n,)`, the classes of the images.
            preprocessing: The network's `Preprocessing`, or None if the network
                is known by its name. Defaults to None.

        Raises:
            ValueError: if a BatchNormalization lacks gamma or beta, or as for
                `FeatureTargets.measure`.
        """
        self._statistics.measure(model, images, labels, preprocessing)

    @property
    def kept_bytes(self) -> int:
        """Int, number of bytes of the kept images and measured statistics."""
        kept = [images.nbytes for images in self._kept.values()]
        for one in self._statistics.layers:
            # float32, of mean and variance
            kept.append(2 * 4 * int(np.prod(one.moving_mean.shape)))
        return sum(kept)

    def __call__(self, model, classes, folder, seed) -> Pool:
        """Returns equally many images of all classes.

        Args:
            model: A `keras.Model`, the current network.
            classes: List of ints, all its classes: 0, 1, ...
            folder: Path for the images of `synthesize`, or None.
            seed: Int.

        Returns:
            A `Pool`.

        Warns:
            UserWarning: if no image shows a requested class.

        Raises:
            TypeError: if `synthesize` does not return a `Pool`.
            ValueError: if images of a new class were never requested, or a
                label is out of range.
        """
        # Older classes keep the images from the first network that knew them.
        newest = [
            c
            for c in classes
            if c not in self._kept and self._statistics.knows(c)
        ]
        if newest:
            made = self._statistics.make(
                self._synthesize,
                model,
                newest,
                folder,
                seed,
                lambda made: require_pool(made, len(classes)),
            )
            for label in shown(made, newest):
                self._kept[label] = made.images[made.labels == label]
        present = [label for label in classes if label in self._kept]
        kept = [self._kept[label] for label in present]
        labels = np.repeat(present, list(map(len, kept)))
        chosen = equally_many(np.concatenate(kept), labels, present)
        self.last = Pool.of(*chosen, len(classes))
        return self.last
