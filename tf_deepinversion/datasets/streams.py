"""Endless streams of batches of images."""

import math

import numpy as np
import tensorflow as tf

from tf_deepinversion.core.checks import check_pixels
from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.core.run_state import fingerprint
from tf_deepinversion.datasets.pool import Pool
from tf_deepinversion.datasets.real_images import image_and_label
from tf_deepinversion.datasets.real_images import of_pixels
from tf_deepinversion.transforms.base import apply
from tf_deepinversion.transforms.base import draw


class Stream:
    """Batches of labeled images, from any step on; see `as_stream`.

    Args:
        begin: Function from a step to a `tf.data.Dataset` of batches that
            begins with the batch of that step.
        content: Function without arguments that gives all images and labels,
            a list of arrays; None where the images cannot be looked through.
    """

    def __init__(self, begin, content=None):
        self._begin, self._content = begin, content

    def __call__(self, step) -> tf.data.Dataset:
        """The batches from a step on: uint8 images, and labels."""
        dataset = self._begin(step)
        if not isinstance(dataset, tf.data.Dataset):
            raise TypeError(
                "Expected a function from a step to a `tf.data.Dataset` of "
                f"batches. Received: one that gives {type(dataset)}"
            )
        return of_pixels(dataset)

    @property
    def identity(self) -> str | None:
        """A hash of the images and labels as they now are, or None."""
        return self._content and fingerprint(None, self._content())

    def named(self, run) -> list:
        """What tells these images from others, for a folder to go on with.

        Args:
            run: String, the user's name of the images; may be empty.

        Raises:
            ValueError: if there is neither an identity nor a name.
        """
        identity = self.identity
        if identity is None and not run:
            raise ValueError(
                "A function or a `tf.data.Dataset` does not say which images "
                "it gives, and a folder must not go on with others: pass "
                "`run`, a name of the images, or give the images as a `Pool` "
                f"or as arrays. Received: run={run!r}"
            )
        return [run, identity]


def as_stream(images, batch_size=128, seed=0) -> Stream:
    """Images of any kind as a stream of batches.

    Batch s of a `Pool`, of arrays and of a `tf.data.Dataset` in fixed order is
    a pure function of (seed, s); nothing is read ahead of a `Pool`.

    Args:
        images: One of

            - a `Pool`: batches at random, see `Pool.dataset`;
            - a pair of arrays `(images, labels)`, or a dictionary of
              `"image"` and `"label"`: whole numbers in [0, 255] `(n, height,
              width, channels)` and `(n,)`; each image once an epoch, see
              `epochs_of`;
            - a `tf.data.Dataset` of single images: pairs (image, label), or
              dictionaries of TensorFlow Datasets. It is repeated in its own
              order; `seed` does not shuffle it, and to begin at a step all
              images before are read;
            - a function from a step to a `tf.data.Dataset` of batches that
              begins at that step, such as `lambda step: pool.dataset(128, 0,
              step)`: its batches are as they are;
            - a `Stream`, which is returned.
        batch_size: Int, how many images a batch has.
        seed: Int, 0 or more, of what is drawn.

    Raises:
        TypeError: if the images are of no such kind, or no integers.
        ValueError: if a data set is one of batches, or is empty, or a number
            is out of range.

    >>> pixels, labels = np.zeros((4, 2, 2, 1), "uint8"), np.arange(4)
    >>> batch = next(iter(as_stream((pixels, labels), batch_size=3)(step=0)))
    >>> batch[0].shape.as_list()
    [3, 2, 2, 1]
    """
    require_whole(batch_size=batch_size)
    require_whole(0, seed=seed)
    if isinstance(images, Stream):
        return images
    if isinstance(images, Pool):
        return Stream(
            lambda step: images.dataset(batch_size, seed, step),
            lambda: [images.images, images.labels],
        )
    if isinstance(images, tf.data.Dataset):
        return _stream_of_dataset(images, batch_size)
    if isinstance(images, (tuple, list, dict)):
        return _stream_of_arrays(*image_and_label(images), batch_size, seed)
    if callable(images):
        return Stream(images)
    raise TypeError(
        "Expected images as a `Pool`, a pair of arrays (images, labels), a "
        "`tf.data.Dataset` of single labeled images, or a function from a "
        "step to a `tf.data.Dataset` of batches. "
        f"Received: images of {type(images)}"
    )


def _stream_of_arrays(images, labels, batch_size, seed):
    images, labels = check_pixels(images), np.asarray(labels)
    if labels.shape != (len(images),) or labels.dtype.kind not in "iu":
        raise ValueError(
            "Expected one whole label an image, of shape (n,); where nobody "
            "looks at labels, `np.zeros(len(images), int)` will do. Received: "
            f"{len(images)} images, and labels of {labels.dtype} and shape "
            f"{labels.shape}"
        )
    if not len(images):
        raise ValueError("There are no images. Received: an empty array")
    return Stream(
        lambda step: epochs_of(images, labels, batch_size, seed, step),
        lambda: [images, labels],
    )


def _stream_of_dataset(dataset, batch_size):
    single = of_pixels(dataset)
    spec = single.element_spec
    if spec[0].shape.rank != 3 or spec[1].shape.rank != 0:
        raise ValueError(
            "Expected a `tf.data.Dataset` of single images and labels, which "
            "are put into batches here: `unbatch()` one of batches. "
            f"Received: {spec}"
        )
    if single.cardinality() == 0:
        raise ValueError("There are no images. Received: an empty data set")
    endless = single.repeat()
    return Stream(
        lambda step: endless.skip(step * batch_size).batch(
            batch_size, drop_remainder=True
        )
    )


def epochs_of(images, labels, batch_size, seed=0, first_step=0):
    """An endless stream of batches, each image once an epoch.

    Element s is a pure function of (seed, s). What does not fill a batch at
    the end of an epoch is left out of it.

    Args:
        images: Array of pixels, whole numbers in [0, 255], `(n, height,
            width, channels)`.
        labels: Int array `(n,)`.
        batch_size: Int, at least 1; a smaller data set is one batch.
        seed: Int, 0 or more.
        first_step: Int, the s of the first element, to go on.

    Returns:
        A `tf.data.Dataset` of uint8 images and int32 labels.
    """
    images, labels = check_pixels(images), np.asarray(labels, "int32")
    size = min(batch_size, len(labels))
    steps = steps_of_epoch(len(labels), batch_size)

    def draw(step):
        epoch, place = divmod(int(step), steps)
        order = np.random.default_rng((seed, epoch)).permutation(len(labels))
        chosen = order[place * size : (place + 1) * size]
        return images[chosen], labels[chosen]

    def load(step):
        batch = tf.numpy_function(draw, [step], ["uint8", "int32"])
        for tensor, array in zip(batch, (images, labels), strict=True):
            tensor.set_shape((size, *array.shape[1:]))
        return tuple(batch)

    # Nothing is read ahead: a thread that still calls Python when the process
    # ends would crash it.
    options = tf.data.Options()
    options.experimental_optimization.apply_default_optimizations = False
    return tf.data.Dataset.counter(first_step).map(load).with_options(options)


def steps_of_epoch(count, batch_size) -> int:
    """How many whole batches there are, at least 1."""
    return max(1, math.floor(count / batch_size))


def augmented(dataset, transforms, seed, first_step=0):
    """Batches of images that go through transforms, drawn anew every step."""

    def transform_all(step, batch):
        images = tf.cast(batch[0], "float32")
        step = tf.cast(step, "int32")
        numbers = draw(transforms, [seed, 3], step, tf.shape(images)[0])
        return apply(transforms, images, numbers), batch[1]

    steps = tf.data.Dataset.counter(first_step)
    zipped = tf.data.Dataset.zip((steps, dataset))
    return zipped.map(transform_all)
