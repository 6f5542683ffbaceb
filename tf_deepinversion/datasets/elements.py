"""Elements of data sets: pairs, or dictionaries, of images and labels."""

import keras
import numpy as np
import tensorflow as tf

from tf_deepinversion.core.checks import check_pixels
from tf_deepinversion.core.checks import require_integers


def image_and_label(element) -> tuple:
    """Splits an element of a data set, or a batch, into image and label.

    Args:
        element: A dictionary with `"image"` and optionally `"label"`, as in
            TensorFlow Datasets; a tuple or list `(image, label, ...)`; or an
            image alone.

    Returns:
        A pair. The label is None if the element has none.

    Raises:
        ValueError: if a dictionary has no `"image"`.

    >>> image_and_label({"id": 7, "image": "i", "label": "l"})
    ('i', 'l')
    >>> image_and_label(("i", "l", "soft")), image_and_label("i")
    (('i', 'l'), ('i', None))
    """
    if isinstance(element, dict):
        if "image" not in element:
            raise ValueError(
                'Expected dictionaries with "image" and "label", as in '
                "TensorFlow Datasets; `map` other dictionaries to pairs. "
                f"Received: a dictionary with the keys {sorted(element)}"
            )
        return element["image"], element.get("label")
    if isinstance(element, (tuple, list)):
        image, label, *_ = *element, None
        return image, label
    return element, None


def in_pairs(data):
    """Maps a `tf.data.Dataset` of dictionaries to pairs; returns others as is.

    Args:
        data: A `tf.data.Dataset`, or any object.
    """
    if isinstance(data, tf.data.Dataset) and isinstance(
        data.element_spec, dict
    ):
        return data.map(image_and_label)
    return data


def of_pixels(dataset) -> tf.data.Dataset:
    """Makes the images of a data set uint8 pixels.

    Args:
        dataset: A `tf.data.Dataset` of tuples (image, label, ...), or of
            dictionaries as in TensorFlow Datasets.

    Returns:
        A `tf.data.Dataset` of tuples. If the images are other integers than
        uint8, the data set checks their range while it is read.

    Raises:
        TypeError: if the images are not integers.
        ValueError: if the elements have another structure.
    """
    dataset = in_pairs(dataset)
    spec = dataset.element_spec
    if (
        not isinstance(spec, tuple)
        or len(spec) < 2
        or not isinstance(spec[0], tf.TensorSpec)
    ):
        raise ValueError(
            "Expected batches of (image, label), or of dictionaries with "
            f'"image" and "label". Received: {spec}'
        )
    dtype = spec[0].dtype
    require_integers(dtype.as_numpy_dtype)
    if dtype == tf.uint8:
        return dataset
    return dataset.map(lambda images, *rest: (_pixels(images), *rest))


def pixels_in(data):
    """Makes the images that `fit` takes uint8 pixels, and checks their range.

    Args:
        data: A `tf.data.Dataset` of elements as of `image_and_label`, or an
            array or tensor of images. Anything else is returned as is.

    Raises:
        TypeError: if the images are not integers.
        ValueError: if the images of an array are not in [0, 255]. A data set
            checks them while it is read.
    """
    if isinstance(data, tf.data.Dataset):
        image, label = image_and_label(data.element_spec)
        if label is not None:
            return of_pixels(data)
        require_integers(image.dtype.as_numpy_dtype)
        if image.dtype == tf.uint8:
            return data
        return data.map(lambda x: _pixels(image_and_label(x)[0]))
    if isinstance(data, (np.ndarray, tf.Tensor)):
        return check_pixels(data)
    return data


def _pixels(images):
    """Casts integers to uint8 inside tf.data: XLA would drop the check."""
    wide = tf.cast(images, "int64")
    check = tf.debugging.Assert(
        tf.reduce_all((wide >= 0) & (wide <= 255)),
        [
            "Expected pixels in [0, 255]. Received: from",
            tf.reduce_min(wide),
            "to",
            tf.reduce_max(wide),
        ],
    )
    with tf.control_dependencies([check]):
        return tf.cast(images, "uint8")


def pixels_and_labels(element) -> tuple:
    """Returns what `image_and_label` does; the images must be integers.

    Raises:
        TypeError: if the images are floats.
    """
    images, labels = image_and_label(element)
    require_integers(keras.backend.standardize_dtype(images.dtype))
    return images, labels
