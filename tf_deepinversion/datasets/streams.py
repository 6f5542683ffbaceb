"""Endless streams of batches of images."""

import functools
import math

import numpy as np
import tensorflow as tf

from tf_deepinversion.core.checks import check_pixels
from tf_deepinversion.core.checks import require_seed
from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.core.labels import int32_of
from tf_deepinversion.core.run_state import fingerprint
from tf_deepinversion.datasets.elements import image_and_label
from tf_deepinversion.datasets.elements import of_pixels
from tf_deepinversion.datasets.pool import Pool
from tf_deepinversion.transforms.base import apply
from tf_deepinversion.transforms.base import draw


class Stream:
    """Batches of labeled images that can start at any step; see `as_stream`.

    Args:
        begin: Function from a step to a `tf.data.Dataset` of batches, which
            starts with the batch of that step.
        content: Function without arguments that returns a list of arrays, all
            images and labels; or None if they are not available. Defaults to
            None.

    Example:
        >>> stream = di.datasets.as_stream((images, labels), batch_size=4)
        >>> batch, _ = next(iter(stream(step=0)))
        >>> batch.shape.as_list()
        [4, 8, 8, 1]
    """

    def __init__(self, begin, content=None):
        self._begin, self._content = begin, content

    def __call__(self, step) -> tf.data.Dataset:
        """Returns the batches from a step on: uint8 images, and labels."""
        dataset = self._begin(step)
        if not isinstance(dataset, tf.data.Dataset):
            raise TypeError(
                "Expected a function from a step to a `tf.data.Dataset` of "
                f"batches. Received: a function that returns {type(dataset)}"
            )
        return of_pixels(dataset)

    @property
    def image_shape(self) -> tf.TensorShape:
        """The shape of an image, which may be unknown in part."""
        return self(0).element_spec[0].shape[1:]

    @property
    def identity(self) -> str | None:
        """String, a hash of the current images and labels, or None.

        Of a pool on disk, the SHA-256 of its shards stand for its images.
        """
        return self._content and fingerprint(None, self._content())

    def named(self, run) -> list:
        """Identifies the images, so that a folder resumes with no others.

        Args:
            run: String, the user's name of the images; may be empty.

        Returns:
            A list: `run` and `identity`.

        Raises:
            ValueError: if there is neither an identity nor a name.
        """
        identity = self.identity
        if identity is None and not run:
            raise ValueError(
                "With a folder, the images of a function or of a "
                "`tf.data.Dataset` need a name, because a run must not resume "
                "with other images: pass `run`, a name of your choice, or "
                "pass the images as a `Pool` or as arrays. "
                f"Received: run={run!r}"
            )
        return [run, identity]


def as_stream(images, batch_size=128, seed=0) -> Stream:
    """Makes a stream of batches from images of any kind.

    Batch s of a `Pool`, of arrays, or of a `tf.data.Dataset` with fixed order
    depends only on (seed, s). A stream of a `Pool` does not read ahead.

    Args:
        images: One of

            - a `Pool`: random batches, see `Pool.dataset`;
            - a pair of arrays `(images, labels)`, or a dictionary with
              `"image"` and `"label"`: integers in [0, 255] `(n, height, width,
              channels)`, and integers `(n,)`. Each epoch contains each image
              once, see `epochs_of`;
            - a `tf.data.Dataset` of single images: pairs (image, label), or
              dictionaries as in TensorFlow Datasets. The stream repeats the
              data set without shuffling it. To start at a later step, the
              stream reads all earlier images;
            - a function from a step to a `tf.data.Dataset` of batches that
              starts at that step, such as `lambda step: pool.dataset(128, 0,
              step)`. The stream keeps its batches;
            - a `Stream`, which is returned.
        batch_size: Int, number of images of a batch. Defaults to 128.
        seed: Int in [0, 2**31). Defaults to 0.

    Returns:
        A `Stream`.

    Raises:
        TypeError: if the images are of another kind, or not integers.
        ValueError: if a data set has batches, or says that it is empty, or a
            number is out of range.

    Example:
        >>> pixels, classes = np.zeros((4, 2, 2, 1), "uint8"), np.arange(4)
        >>> stream = di.datasets.as_stream((pixels, classes), batch_size=3)
        >>> next(iter(stream(step=0)))[0].shape.as_list()
        [3, 2, 2, 1]
    """
    require_whole(batch_size=batch_size)
    require_seed(seed)
    if isinstance(images, Stream):
        return images
    if isinstance(images, Pool):
        return Stream(
            lambda step: images.dataset(batch_size, seed, step),
            lambda: [images.identity, images.labels],
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


def require_filled(images):
    """Checks that a `Pool` has images; other images are checked by `as_stream`.

    Raises:
        ValueError: if it has none.
    """
    if isinstance(images, Pool) and not len(images):
        raise ValueError("There are no images. Received: a pool without images")


def _checked(images, labels) -> tuple:
    """Returns arrays of pixels and of as many integer labels, at least one."""
    images, labels = check_pixels(images), np.asarray(labels)
    if labels.shape != (len(images),) or labels.dtype.kind not in "iu":
        raise ValueError(
            "Expected one integer label per image, of shape (n,); if nothing "
            "uses the labels, pass `np.zeros(len(images), int)`. Received: "
            f"{len(images)} images, and labels of {labels.dtype} and shape "
            f"{labels.shape}"
        )
    if not len(images):
        raise ValueError("There are no images. Received: an empty array")
    int32_of(labels, least=None)
    return images, labels


def _stream_of_arrays(images, labels, batch_size, seed):
    images, labels = _checked(images, labels)
    return Stream(
        lambda step: epochs_of(images, labels, batch_size, seed, step),
        lambda: [images, labels],
    )


def stream_for(model, images, batch_size=128, seed=0) -> Stream:
    """Makes a stream of images for a network, see `as_stream`.

    Args:
        model: A `keras.Model`.
        images: As for `as_stream`.
        batch_size: As for `as_stream`.
        seed: As for `as_stream`.

    Raises:
        TypeError: as for `as_stream`.
        ValueError: as for `as_stream`, or if the images have another shape than
            the network's.
    """
    require_filled(images)
    stream = as_stream(images, batch_size, seed)
    fixed = getattr(model, "input_shape", None)
    found = stream.image_shape
    if isinstance(fixed, tuple) and not found.is_compatible_with(fixed[1:]):
        raise ValueError(
            f"The network {model.name!r} takes images of shape {fixed[1:]}. "
            f"Received: images of shape {found}"
        )
    return stream


def _is_label(spec) -> bool:
    return (
        isinstance(spec, tf.TensorSpec)
        and spec.shape.rank == 0
        and spec.dtype.is_integer
    )


def _stream_of_dataset(dataset, batch_size):
    single = of_pixels(dataset)
    spec = single.element_spec
    if spec[0].shape.rank != 3 or not _is_label(spec[1]):
        raise ValueError(
            "Expected a `tf.data.Dataset` of single images and integer labels, "
            "which the stream batches: `unbatch()` a data set of batches. "
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
    """Makes an endless stream of batches; each epoch has each image once.

    Element s depends only on (seed, s). Images that do not fill the last batch
    of an epoch are left out of that epoch.

    Args:
        images: Array `(n, height, width, channels)` of integers in [0, 255].
        labels: Int array `(n,)`.
        batch_size: Int, at least 1. A smaller data set makes one batch.
        seed: Int in [0, 2**31). Defaults to 0.
        first_step: Int, the s of the first element, for a resumed run.
            Defaults to 0.

    Returns:
        A `tf.data.Dataset` of uint8 images and int32 labels.

    Raises:
        TypeError: if the images are not integers.
        ValueError: if there are no images, pixels out of range, or not one
            integer label for each image.

    Example:
        >>> batches = iter(di.datasets.epochs_of(images, labels, batch_size=6))
        >>> epoch = next(batches)[1], next(batches)[1]
        >>> sorted(np.concatenate(epoch).tolist())
        [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]
    """
    require_whole(batch_size=batch_size)
    require_seed(seed)
    images, labels = _checked(images, labels)
    labels = labels.astype("int32", copy=False)
    size = min(batch_size, len(labels))
    steps = steps_of_epoch(len(labels), batch_size)

    @functools.lru_cache(maxsize=2)
    def order(epoch):
        return np.random.default_rng((seed, epoch)).permutation(len(labels))

    def draw(step):
        epoch, place = divmod(int(step), steps)
        chosen = order(epoch)[place * size : (place + 1) * size]
        return images[chosen], labels[chosen]

    def load(step):
        batch = tf.numpy_function(draw, [step], ["uint8", "int32"])
        for tensor, array in zip(batch, (images, labels), strict=True):
            tensor.set_shape((size, *array.shape[1:]))
        return tuple(batch)

    # tf.data's default optimizations insert a prefetch. Its thread may still
    # call Python when the process ends, which crashes the process.
    options = tf.data.Options()
    options.experimental_optimization.apply_default_optimizations = False
    return tf.data.Dataset.counter(first_step).map(load).with_options(options)


def steps_of_epoch(count, batch_size) -> int:
    """The number of complete batches of an epoch, at least 1."""
    return max(1, math.floor(count / batch_size))


def augmented(dataset, transforms, seed, first_step=0):
    """Applies transforms to batches, with new random numbers at every step."""

    def transform_all(step, batch):
        images = tf.cast(batch[0], "float32")
        step = tf.cast(step, "int32")
        numbers = draw(transforms, [seed, 3], step, tf.shape(images)[0])
        return apply(transforms, images, numbers), batch[1]

    steps = tf.data.Dataset.counter(first_step)
    zipped = tf.data.Dataset.zip((steps, dataset))
    return zipped.map(transform_all)
