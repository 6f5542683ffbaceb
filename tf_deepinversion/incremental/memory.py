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


class Memory:
    """Synthesises images of the newest classes, and keeps those of others.

    A network that has learnt tasks since remembers a class less well than the
    one that learnt it, and what is synthesised from it is a copy of a copy.
    So of every class the images are those of the first network that knew it:
    synthesised, never the data. That network's moving statistics are of new
    and of replayed images, mixed: those of the new ones alone are measured
    while they are there, and the images are synthesised by these.

    Args:
        synthesize: As for `learn_task`; it is asked for the newest classes
            alone. Where it returns a function of steps, there is nothing to
            keep, and that is what is returned.
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
        for label in newest:
            self._kept[label] = images[labels == label]
        counts = [len(self._kept[label]) for label in classes]
        count = min(counts)
        if not count:
            missing = [label for label in classes if not counts[label]]
            raise ValueError(
                "`synthesize` must give images of each class that the network "
                f"knows. Received: {len(labels)} images, without classes "
                f"{missing}"
            )
        return (
            np.concatenate([self._kept[c][:count] for c in classes]),
            np.repeat(classes, count),
        )
