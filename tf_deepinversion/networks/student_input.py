"""Prepares the teacher's images for a student."""

from keras import ops

from tf_deepinversion.networks.image_shape import filled
from tf_deepinversion.networks.preprocessing import Preprocessing
from tf_deepinversion.networks.preprocessing import normalize_layer


def preprocessing_of_student(
    student, given, teacher, network=None
) -> Preprocessing:
    """Chooses a student's preprocessing.

    The order is: `given`; what the student's own first layer tells; the
    teacher's, if the student has the teacher's name, as a copy has; what the
    student's name tells; the teacher's.

    Args:
        student: A `keras.Model`.
        given: A `Preprocessing` or None.
        teacher: The teacher's `Preprocessing`.
        network: The teacher, a `keras.Model`, or None.

    Raises:
        TypeError: if `given` is not a `Preprocessing`.
    """
    if given is not None:
        return Preprocessing.of(student, given)
    alike = network is not None and student.name == network.name
    if alike and normalize_layer(student) is None:
        return teacher
    try:
        return Preprocessing.known(student) or teacher
    except ValueError:
        return teacher


def check_channels(image_shape, student_shape, preprocessing):
    """Checks that images have the student's number of channels.

    A preprocessing with several means turns a gray image into a color image.

    Raises:
        ValueError: if the number of channels does not fit.
    """
    given = max(image_shape[-1], preprocessing.channels)
    if given != student_shape[-1]:
        raise ValueError(
            f"The student's images have {student_shape[-1]} channels: to feed "
            "it gray images, pass a `student_preprocessing` with one mean per "
            f"channel. Received: images of {image_shape[-1]} channels, and "
            f"student_preprocessing with mean={preprocessing.mean}"
        )


def shape_of_student(student, image_shape) -> tuple:
    """Returns the student's image shape, open sizes being the teacher's."""
    own = getattr(student, "input_shape", None)
    if not isinstance(own, tuple) or len(own) != 4:
        return tuple(image_shape)
    return filled(own[1:], image_shape)


def student_input(pixels, student_shape, preprocessing):
    """Converts pixels in [0, 255] to the student's input, at its size.

    Args:
        pixels: Float tensor `(batch, height, width, channels)`.
        student_shape: Tuple `(height, width, channels)`.
        preprocessing: The student's `Preprocessing`.

    Returns:
        A float32 tensor `(batch, *student_shape)`, differentiable.
    """
    # Differentiable, because a competing student sends a gradient back.
    sizes = [*zip(pixels.shape[1:3], student_shape[:2], strict=True)]
    # Interpolation alone skips pixels of images that shrink by more than 2, and
    # XLA cannot compile Keras's antialiasing.
    factors = [max(1, given // wanted) for given, wanted in sizes]
    size = [n * wanted for n, (_, wanted) in zip(factors, sizes, strict=True)]
    if size != list(pixels.shape[1:3]):
        pixels = ops.image.resize(pixels, size)
    if factors != [1, 1]:
        pixels = ops.average_pool(pixels, factors, factors)
    return preprocessing.fed(pixels)
