"""Synthesised images of old classes, from the network that knew them best."""

import numpy as np

from tf_deepinversion.pool import Pool


def pooled(made, classes):
    """A `Pool` of what `synthesize` made; a function of steps as it is."""
    if isinstance(made, Pool) or callable(made):
        return made
    images, labels = made
    pool = Pool(len(labels), images.shape[1:], classes)
    pool.add(images, labels)
    return pool


class Memory:
    """Synthesises images of the newest classes, and keeps those of others.

    A network that has learnt tasks since remembers a class less well than the
    one that learnt it, and what is synthesised from it is a copy of a copy.
    So of every class the images are those of the first network that knew it:
    synthesised, never the data.

    Args:
        synthesize: As for `learn_task`. Where it returns a function of steps,
            there is nothing to keep, and that is what is returned.
    """

    def __init__(self, synthesize):
        self._synthesize = synthesize
        self._kept = {}  # images by class

    def __call__(self, model, classes, folder, seed):
        """Images and labels of all classes, equally many of each.

        Args:
            model: A `keras.Model`, the network as it is.
            classes: Int, how many classes it has.
            folder: Path for what `synthesize` keeps, or None.
            seed: Int.

        Raises:
            ValueError: if a new class has no image, or a label is out of
                range.
        """
        made = pooled(self._synthesize(model, classes, folder, seed), classes)
        if not isinstance(made, Pool):
            return made
        images, labels = made.images, made.labels
        if len(labels) and labels.max() >= classes:
            raise ValueError(
                f"The labels that `synthesize` gives must lie in [0, {classes})"
                f". Received: {sorted(set(labels.tolist()))}"
            )
        for label in range(classes):
            if label not in self._kept:
                self._kept[label] = images[labels == label]
        counts = [len(self._kept[label]) for label in range(classes)]
        count = min(counts)
        if not count:
            missing = [label for label in range(classes) if not counts[label]]
            raise ValueError(
                "`synthesize` must give images of each class that the network "
                f"knows. Received: {len(labels)} images, without classes "
                f"{missing}"
            )
        return (
            np.concatenate([self._kept[c][:count] for c in range(classes)]),
            np.repeat(np.arange(classes), count),
        )
