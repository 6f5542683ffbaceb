"""Checks that a network receives images as in its training."""

import typing
import warnings

import keras
import numpy as np
import tensorflow as tf

from tf_deepinversion.core.caller_warnings import warn_again
from tf_deepinversion.core.checks import check_pixels
from tf_deepinversion.core.checks import is_whole
from tf_deepinversion.networks.classifier import Classifier
from tf_deepinversion.networks.preprocessing import Preprocessing
from tf_deepinversion.networks.remembered_input import RememberedInput
from tf_deepinversion.networks.remembered_input import contradict
from tf_deepinversion.networks.remembered_input import input_of

_CONVENTIONS = {
    "(0, 255)": (0, 255),
    "(0, 1)": (0, 1),
    "(-1, 1)": (-1, 1),
    '"normalized"': "normalized",
}


class PreprocessingCheck(typing.NamedTuple):
    """The result of `check_preprocessing`.

    Attributes:
        told: `RememberedInput`, mean and deviation of the training images after
            the preprocessing.
        remembered: `RememberedInput`, mean and deviation that the network's
            first BatchNormalization implies, or None if they are unknown.
        contradicts: Bool, whether the two contradict each other.
        probabilities: Dict from a `pixel_range` to the probability that the
            network then assigns to the image's label; None without an image.
    """

    told: RememberedInput
    remembered: RememberedInput | None
    contradicts: bool
    probabilities: dict | None = None


def check_preprocessing(
    teacher, preprocessing=None, image=None, label=None
) -> PreprocessingCheck:
    """Compares a network's preprocessing with what the network remembers.

    The check needs no data. It traces the moving mean and variance of the first
    BatchNormalization back to the values that the network received in training.
    One image with its label adds a second check.

    Args:
        teacher: A `keras.Model` classifier.
        preprocessing: The `Preprocessing` to check. Defaults to the one known
            from the network's name.
        image: Array `(height, width, channels)` of integers in [0, 255].
            Defaults to None.
        label: Int, the class that the image shows. Defaults to None.

    Returns:
        A `PreprocessingCheck`.

    Warns:
        UserWarning: if the network remembers other values than it receives, or
            if it recognizes the image only with another `pixel_range`.

    Raises:
        TypeError: if the teacher is not a `keras.Model`, or `preprocessing` is
            not a `Preprocessing`.
        ValueError: if image or label do not fit, or if one is given without the
            other.

    Example:
        ```python
        teacher = di.load_pretrained("fashion_mnist_resnet20")
        found = di.check_preprocessing(teacher)
        found.told, found.remembered  # both near mean 73, deviation 90
        ```
    """
    if not isinstance(teacher, keras.Model):
        raise TypeError(
            "Expected a `keras.Model`: load a file by "
            f"`keras.models.load_model`. Received: teacher={teacher!r}"
        )
    warn_again(teacher)  # whoever asks again is told again
    preprocessing = Preprocessing.of(teacher, preprocessing)
    told, remembered = preprocessing.training_input(), input_of(teacher)
    contradicts = remembered is not None and contradict(told, remembered)
    check = PreprocessingCheck(told, remembered, contradicts)
    if (image is None) != (label is None):
        raise ValueError(
            "Expected an image with its label, or neither. "
            f"Received: label={label}, image={type(image)}"
        )
    if image is None:
        return check
    image = check_pixels(np.asarray(image)[None])
    classifier = Classifier(teacher, image.shape[1:])
    found = _with_an_image(classifier, preprocessing, image, label)
    return check._replace(probabilities=found)


def _with_an_image(classifier, preprocessing, image, label):
    if not is_whole(label, 0) or label >= classifier.classes:
        raise ValueError(
            f"Expected a label in [0, {classifier.classes}). "
            f"Received: label={label}"
        )
    given = preprocessing.get_config()
    # The same mean and deviation, with each common range of inputs.
    answers = {"as given": _answer(classifier, preprocessing, image)}
    for name, pixel_range in _CONVENTIONS.items():
        other = Preprocessing(**{**given, "pixel_range": pixel_range})
        answers[name] = _answer(classifier, other, image)
    sure = {k: v for k, v in answers.items() if v.argmax() == label}
    if "as given" not in sure and sure:
        best = max(sure, key=lambda name: sure[name][label])
        warnings.warn(
            f"With pixel_range={best} the teacher assigns the image to class "
            f"{label}; with the given preprocessing, to class "
            f"{answers['as given'].argmax()}.",
            stacklevel=3,
        )
    return {name: float(v[label]) for name, v in answers.items()}


def _answer(classifier, preprocessing, image):
    with classifier.open():
        reading = classifier.read(preprocessing.fed(tf.constant(image)))
    return keras.ops.convert_to_numpy(keras.ops.softmax(reading.logits))[0]
