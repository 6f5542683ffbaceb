"""Prepares the teacher's images for a student."""

from keras import ops

from tf_deepinversion.networks.preprocessing import Preprocessing


def preprocessing_of_student(student, given, teacher) -> Preprocessing:
    """Chooses a student's preprocessing.

    The order is: `given`, the student's own if its name is known, the
    teacher's.

    Args:
        student: A `keras.Model`.
        given: A `Preprocessing` or None.
        teacher: The teacher's `Preprocessing`.

    Raises:
        TypeError: if `given` is not a `Preprocessing`.
    """
    if given is not None:
        return Preprocessing.of(student, given)
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
    return tuple(o or t for o, t in zip(own[1:], image_shape, strict=True))


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
    if tuple(pixels.shape[1:3]) != tuple(student_shape[:2]):
        pixels = ops.image.resize(pixels, student_shape[:2])
    return preprocessing.fed(pixels)
