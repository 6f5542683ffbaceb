"""What stands where a synthesizer does: real images, or noise.

They give the ceiling and the floor of what images are worth to a student.
"""

import numpy as np


class GivenImages:
    """As a synthesizer to `distill` and `RefreshPool`; nothing is made.

    Args:
        image_shape: Tuple `(height, width, channels)`.
        classes: Int.
        real: A pair, uint8 images and labels, of which each batch gives the
            next ones in an order of the seed; None for uniform noise.
        seed: Int, 0 or more.

    >>> given = GivenImages((2, 2, 1), classes=3)
    >>> given.fit([0, 1, 2])
    >>> given.images.shape, given.labels
    ((3, 2, 2, 1), [0, 1, 2])
    """

    carried, snapshots, images_per_label, can_draw = (), (), 1, False

    def __init__(self, image_shape, classes, real=None, seed=0):
        self.image_shape, self.classes = tuple(image_shape), int(classes)
        self._seed, self._real = int(seed), None
        if real is not None:
            images, labels = real
            if images.shape[1:] != self.image_shape:
                raise ValueError(
                    f"Expected images of shape {self.image_shape}. "
                    f"Received: {images.shape[1:]}"
                )
            order = np.random.default_rng(seed).permutation(len(images))
            self._real = images[order], labels[order]

    def settings(self):
        """As of a synthesizer: what the images depend on."""
        kind = "noise" if self._real is None else "real images"
        return {"source": kind, "seed": self._seed}, list(self._real or ())

    def fit(self, labels, steps=None, *, batch_index=0, verbose=0):
        """Takes the images of a batch; `labels` are their number, or theirs."""
        n, self.labels = len(labels), labels
        if self._real is None:
            random = np.random.default_rng((self._seed, batch_index))
            self.images = random.integers(
                0, 256, (n, *self.image_shape), "uint8"
            )
            return
        rows = (np.arange(n) + batch_index * n) % len(self._real[0])
        self.images, self.labels = (part[rows] for part in self._real)
