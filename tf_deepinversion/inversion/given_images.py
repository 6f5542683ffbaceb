"""A synthesizer of existing images or of noise.

These images give the upper and the lower limit for a student.
"""

import numpy as np

from tf_deepinversion.core.checks import check_pixels
from tf_deepinversion.core.checks import require_seed
from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.core.labels import check_labels
from tf_deepinversion.inversion.synthesizer import Synthesizer


class GivenImages(Synthesizer):
    """Returns existing images, or uniform noise, instead of synthesizing.

    Args:
        image_shape: Tuple `(height, width, channels)`.
        classes: Int.
        real: A pair, uint8 images and labels, or None for uniform noise. Each
            batch gets the next images in an order that depends on `seed`,
            regardless of the requested labels. Defaults to None.
        seed: Int in [0, 2**31). Defaults to 0.

    Raises:
        ValueError: if the images have another shape, their labels do not
            fit, or a number is out of range.

    Example:
        >>> noise = di.inversion.GivenImages((2, 2, 1), classes=3)
        >>> made, shown = noise.make([0, 1, 2], batch_index=0)
        >>> made.shape, shown.tolist()
        ((3, 2, 2, 1), [0, 1, 2])
    """

    means_labels = False  # the images are of their own labels

    def __init__(self, image_shape, classes, real=None, seed=0):
        require_whole(classes=classes)
        require_seed(seed)
        self.image_shape, self.classes = tuple(image_shape), int(classes)
        self._seed, self._real = int(seed), None
        if real is not None:
            self._real = self._in_order(*real)

    def _in_order(self, images, labels):
        images = check_pixels(images)
        labels = check_labels(labels, self.classes)
        if images.shape[1:] != self.image_shape:
            raise ValueError(
                f"Expected images of shape {self.image_shape}. "
                f"Received: {images.shape[1:]}"
            )
        if len(images) != len(labels):
            raise ValueError(
                "Expected one label per image. "
                f"Received: {len(images)} images and {len(labels)} labels"
            )
        order = np.random.default_rng(self._seed).permutation(len(images))
        return images[order], labels[order]

    def make(self, labels, batch_index, steps=None, verbose=0):
        """Returns the images of a batch; see `Synthesizer.make`.

        Returns:
            A pair: real images with their own labels, or noise with `labels`.
        """
        n = len(labels)
        if self._real is None:
            random = np.random.default_rng((self._seed, batch_index))
            noise = random.integers(0, 256, (n, *self.image_shape), "uint8")
            return noise, check_labels(labels, self.classes)
        # The batches walk through all images, again and again.
        rows = (np.arange(n) + batch_index * n) % len(self._real[0])
        images, labels = self._real
        return images[rows], labels[rows]

    def settings(self) -> dict:
        """Returns the settings on which the images depend."""
        kind = "noise" if self._real is None else "real images"
        return {"source": kind, "seed": self._seed, "real": self._real}
