"""How a student is fed the images that its teacher sees."""

from keras import ops

from tf_deepinversion.networks.preprocessing import Preprocessing


def preprocessing_of_student(student, given, teacher) -> Preprocessing:
    """What is given, or the student's own if known by name, or its teacher's.

    Args:
        student: A `keras.Model`.
        given: A `Preprocessing` or None.
        teacher: The teacher's `Preprocessing`.

    Raises:
        TypeError: if what is given is no `Preprocessing`.
    """
    if given is not None:
        return Preprocessing.of(student, given)
    try:
        return Preprocessing.of(student)
    except ValueError:
        return teacher


def check_channels(image_shape, student_shape, preprocessing):
    """A gray image becomes one of colors by a mean of as many.

    Raises:
        ValueError: if that does not give the student's channels.
    """
    given = max(image_shape[-1], preprocessing.channels)
    if given != student_shape[-1]:
        raise ValueError(
            f"The student's images have {student_shape[-1]} channels: of gray "
            "ones a `student_preprocessing` of as many values makes them. "
            f"Received: images of {image_shape[-1]} channels, and "
            f"student_preprocessing with mean={preprocessing.mean}"
        )


def shape_of_student(student, image_shape) -> tuple:
    """The student's own size and channels, where it has them."""
    own = getattr(student, "input_shape", None)
    if not isinstance(own, tuple) or len(own) != 4:
        return tuple(image_shape)
    return tuple(o or t for o, t in zip(own[1:], image_shape, strict=True))


def student_input(pixels, student_shape, preprocessing):
    """Pixels in [0, 255] to what the student is fed, at its size.

    Args:
        pixels: Float tensor `(batch, height, width, channels)`.
        student_shape: Tuple `(height, width, channels)`.
        preprocessing: The student's `Preprocessing`.

    Returns:
        A float32 tensor `(batch, *student_shape)`, differentiable.
    """
    if tuple(pixels.shape[1:3]) != tuple(student_shape[:2]):
        pixels = ops.image.resize(pixels, student_shape[:2])
    return preprocessing.fed(pixels)
