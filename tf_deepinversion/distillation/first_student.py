"""A student that a function makes from the first images."""

import keras

from tf_deepinversion.callbacks.refresh_pool import RefreshPool
from tf_deepinversion.core.kept_values import kept_values
from tf_deepinversion.core.labels import balanced_labels
from tf_deepinversion.core.progress import Progress
from tf_deepinversion.inversion.synthesizer import Synthesizer


def first_student(make, images, refresh, verbose) -> keras.Model:
    """Calls a function with images and checks the student that it makes.

    Args:
        make: Function from images, of any kind that `as_stream` takes, to a
            `keras.Model`.
        images: Existing images, or a `Synthesizer`, whose first batch the
            function gets. The synthesizer's state stays as it is.
        refresh: `RefreshPool`, or None, which sets the size of the batch.
        verbose: See `Progress`.

    Returns:
        A `keras.Model`.

    Raises:
        TypeError: if the function returns anything else.
        ValueError: if the synthesizer needs a student to make images.
    """
    if isinstance(images, Synthesizer):
        images = _first_batch(images, refresh or RefreshPool(), verbose)
    student = make(images)
    if not isinstance(student, keras.Model):
        raise TypeError(
            "A function passed as `student` must return a `keras.Model`, such "
            "as lambda images: di.pruning.narrow(teacher, images). "
            f"Received: student={student!r}"
        )
    return student


def _first_batch(synthesizer, refresh, verbose):
    if synthesizer.student is not None:
        raise ValueError(
            "These images compete with the student, so no image exists before "
            "the student: pass a `keras.Model`, or a synthesizer without "
            f"`student`. Received: a function, and {synthesizer!r}"
        )
    labels = balanced_labels(synthesizer.classes, refresh.images)
    steps = refresh.first_steps or refresh.steps
    progress = Progress("First images", 1, "batch", verbose)
    with kept_values(synthesizer.state_variables):
        made = synthesizer.make(labels, 0, steps, verbose=0)
    progress.advance(synthesizer.logs)
    return made
