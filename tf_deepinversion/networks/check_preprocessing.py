"""Whether a network is fed its images as it was in training."""

import typing
import warnings

import keras
import numpy as np
import tensorflow as tf

from tf_deepinversion.core.checks import check_pixels
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
    preprocessing = Preprocessing.of(teacher, preprocessing)  # it warns
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
        reading = classifier.read(preprocessing.fed(tf.constant(image)))
    return keras.ops.convert_to_numpy(keras.ops.softmax(reading.logits))[0]
