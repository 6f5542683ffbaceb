"""Whether a network is fed its images as it was in training."""

import typing
import warnings
import weakref

import keras
import numpy as np
import tensorflow as tf

from tf_deepinversion.core.checks import check_pixels
from tf_deepinversion.networks.classifier import Classifier
from tf_deepinversion.networks.preprocessing import Preprocessing
from tf_deepinversion.networks.remembered_input import RememberedInput
from tf_deepinversion.networks.remembered_input import remembered_input

# Deviations further apart than this factor, or means further apart than one
# deviation, are a contradiction: [0, 1] and [-1, 1] differ by a factor of 2.
_FACTOR = 1.7

_CONVENTIONS = {
    "(0, 255)": (0, 255),
    "(0, 1)": (0, 1),
    "(-1, 1)": (-1, 1),
    '"normalised"': "normalised",
}

_remembered = weakref.WeakKeyDictionary()  # by network


class PreprocessingCheck(typing.NamedTuple):
    """What `check_preprocessing` found.

    Attributes:
        told: `RememberedInput`, the mean and the deviation of the training
            images as the preprocessing feeds them.
        remembered: `RememberedInput`, the same as the network's first
            BatchNormalization tells them; None where it does not tell.
        contradicts: Bool, whether the two contradict each other.
        probabilities: Dict from a `pixel_range` to the probability that the
            network then gives the label of the image; None without an image.
    """

    told: RememberedInput
    remembered: RememberedInput | None
    contradicts: bool
    probabilities: dict | None = None


def check_preprocessing(
    teacher, preprocessing=None, image=None, label=None
) -> PreprocessingCheck:
    """Checks how a network is fed against what the network remembers.

    No data is needed: the first BatchNormalization's moving mean and variance
    are traced back to the values that the network was fed in training, see
    `remembered_input`. One image with its label adds a second check.

    Args:
        teacher: A `keras.Model` classifier.
        preprocessing: The `Preprocessing` to check; None: the one known by the
            network's name.
        image: Array of pixels, whole numbers in [0, 255], of shape `(height,
            width, channels)`; or None.
        label: Int, the class that the image shows.

    Returns:
        A `PreprocessingCheck`.

    Warns:
        UserWarning: if the network remembers other values than it is fed, or
            if it recognizes the image only by another `pixel_range`.

    Raises:
        TypeError: if the preprocessing is none.
        ValueError: if the image or the label does not fit, or if one is given
            without the other.

    Example:

    ```python
    teacher = tf_deepinversion.load_pretrained("fashion_mnist_resnet20")
    found = tf_deepinversion.check_preprocessing(teacher)
    found.told, found.remembered  # both near a mean of 73, a deviation of 90
    ```
    """
    preprocessing = Preprocessing.of(teacher, preprocessing)
    classifier = Classifier(teacher, None if image is None else image.shape)
    check = _without_data(teacher, preprocessing, classifier.image_shape)
    if (image is None) != (label is None):
        raise ValueError(
            "Expected an image with its label, or neither. "
            f"Received: label={label}, image={type(image)}"
        )
    if image is None:
        return check
    return check._replace(
        probabilities=_with_an_image(classifier, preprocessing, image, label)
    )


def warn_of_contradiction(teacher, preprocessing, image_shape):
    """Warns, without data, if a network remembers other values than it is fed.

    Args:
        teacher: A `keras.Model`.
        preprocessing: A `Preprocessing`.
        image_shape: Tuple `(height, width, channels)`.
    """
    _without_data(teacher, preprocessing, image_shape)


def _without_data(teacher, preprocessing, image_shape):
    if teacher not in _remembered:
        _remembered[teacher] = remembered_input(teacher, image_shape)
    remembered, told = _remembered[teacher], _told(preprocessing)
    contradicts = remembered is not None and _contradict(told, remembered)
    if contradicts:
        warnings.warn(
            "The teacher's first BatchNormalization remembers inputs of mean "
            f"{remembered.mean:.3g} and deviation {remembered.deviation:.3g}; "
            f"the preprocessing feeds it a mean of {told.mean:.3g} and a "
            f"deviation of {told.deviation:.3g}. Images made for wrong inputs "
            "show nothing: compare `pixel_range`, `mean` and `std` with what "
            "the teacher was trained on.",
            stacklevel=4,
        )
    return PreprocessingCheck(told, remembered, contradicts)


def _told(preprocessing) -> RememberedInput:
    """The mean and the deviation of training images, as they are fed."""
    z = np.float32([-1, 0, 1]).reshape(3, 1, 1, 1)
    z = z * np.ones((1, 1, 1, preprocessing.channels), "float32")
    fed = keras.ops.convert_to_numpy(preprocessing.teacher_input(z))
    return RememberedInput(
        float(fed[1].mean()), float((fed[2] - fed[0]).mean() / 2)
    )


def _contradict(told, remembered) -> bool:
    ratio = remembered.deviation / told.deviation
    gap = abs(remembered.mean - told.mean)
    widest = max(remembered.deviation, told.deviation)
    return not 1 / _FACTOR < ratio < _FACTOR or gap > widest


def _with_an_image(classifier, preprocessing, image, label):
    image = check_pixels(np.asarray(image)[None])
    if not 0 <= label < classifier.classes:
        raise ValueError(
            f"Expected a label in [0, {classifier.classes}). "
            f"Received: label={label}"
        )
    given = preprocessing.get_config()
    answers = {"as given": _answer(classifier, preprocessing, image)}
    for name, pixel_range in _CONVENTIONS.items():
        other = Preprocessing(**{**given, "pixel_range": pixel_range})
        answers[name] = _answer(classifier, other, image)
    sure = {k: v for k, v in answers.items() if v.argmax() == label}
    if "as given" not in sure and sure:
        best = max(sure, key=lambda name: sure[name][label])
        warnings.warn(
            f"The teacher takes the image for class {label} by pixel_range="
            f"{best}, and for class {answers['as given'].argmax()} as the "
            "preprocessing feeds it.",
            stacklevel=3,
        )
    return {name: float(v[label]) for name, v in answers.items()}


def _answer(classifier, preprocessing, image):
    with classifier.open():
        logits, _ = classifier(preprocessing.fed(tf.constant(image)))
    return keras.ops.convert_to_numpy(keras.ops.softmax(logits))[0]
