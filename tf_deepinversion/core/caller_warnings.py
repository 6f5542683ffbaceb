"""Warnings at the line of user code that called this package."""

import inspect
import warnings
import weakref


def warn_caller(message):
    """Warns at the line of user code that called this package.

    Frames of Keras are skipped too: Keras's `fit` calls this package's
    callbacks.

    Args:
        message: String.
    """
    frame, level = inspect.currentframe(), 1
    while frame.f_back and _in_package(frame):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, UserWarning, stacklevel=level)


# The messages that users have read about an object.
_READ = weakref.WeakKeyDictionary()


def warn_once(owner, message):
    """Warns like `warn_caller`, but of each object only once by one message.

    Several parts of a job check the same network. Python's own "once" tells
    the lines apart that call this function.

    Args:
        owner: An object, such as a `keras.Model`.
        message: String.
    """
    read = _READ.setdefault(owner, set())
    if message not in read:
        read.add(message)
        warn_caller(message)


def warn_again(owner):
    """Makes `warn_once` repeat what it has said of an object."""
    _READ.pop(owner, None)


def _in_package(frame) -> bool:
    # Code run by `exec` may have no name.
    name = frame.f_globals.get("__name__", "")
    ours = "tf_deepinversion.", "tf_deepinversion_command."
    return f"{name}.".startswith((*ours, "keras.", "tensorflow."))


def warn_if_not_recognized(share):
    """Warns if the teacher recognizes less than 50 % of synthesized images.

    Args:
        share: Float in [0, 1], share of the images that the teacher assigns to
            the requested class.
    """
    if share < 0.5:
        warn_caller(
            f"The teacher recognizes {share:.0%} of the images as the "
            "requested class. Take more steps (`steps`, `first_steps`), or a "
            "recipe with more weight on the cross-entropy."
        )
