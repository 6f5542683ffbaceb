"""Checks that the arguments of `distill` fit together."""

import keras
import numpy as np
import tensorflow as tf

from tf_deepinversion.callbacks.watches_images import WatchesImages
from tf_deepinversion.core.checks import is_within
from tf_deepinversion.core.checks import require_integers
from tf_deepinversion.core.described import architecture
from tf_deepinversion.core.run_state import fingerprint
from tf_deepinversion.datasets.elements import image_and_label
from tf_deepinversion.datasets.pool import Pool
from tf_deepinversion.datasets.streams import as_stream
from tf_deepinversion.datasets.streams import require_filled
from tf_deepinversion.distillation.training_images import fixed_count


def check_synthesizer(synthesizer, model):
    """Checks that the synthesizer's images suit teacher and student."""
    found = tuple(synthesizer.image_shape), synthesizer.classes
    expected = model.image_shape, model.classes
    if found != expected:
        raise ValueError(
            "Expected a synthesizer of the teacher, with image shape and "
            f"classes {expected}. Received: a synthesizer with {found}"
        )
    # A copy of the teacher with equal weights counts as the teacher.
    seen = synthesizer.teacher
    if seen not in (None, model.teacher) and not _alike(seen, model.teacher):
        raise ValueError(
            "Expected a synthesizer of the teacher. Received: a synthesizer "
            f"of another network, {seen.name!r}"
        )
    rival = synthesizer.student
    if rival is not None and rival is not model.student:
        raise ValueError(
            "The synthesizer competes with another network than the student: "
            "create it with `student=` this student. With several replicas, "
            "create the student in the strategy's scope. "
            f"Received: {rival.name!r}"
        )
    _check_fed(
        "preprocessing",
        (synthesizer.preprocessing, synthesizer.image_shape),
        (model.preprocessing, model.image_shape),
    )
    if rival is not None:
        _check_fed(
            "student_preprocessing",
            (synthesizer.student_preprocessing, synthesizer.student_shape),
            (model.student_preprocessing, model.student_shape),
        )


def _check_fed(name, given, expected):
    """Checks that synthesizer and distillation preprocess images alike."""
    if given[0] is None:  # a custom synthesizer
        return
    if given[1] != expected[1] or not given[0].feeds_as(expected[0]):
        raise ValueError(
            "The synthesizer and the distillation preprocess images "
            f"differently: pass both the same `{name}` and size of images. "
            "Received: "
            f"{given[0].get_config()} of {given[1]}, and "
            f"{expected[0].get_config()} of {expected[1]}"
        )


def _alike(a, b) -> bool:
    """Whether two networks have the same function and the same weights."""
    if fingerprint(architecture(a)) != fingerprint(architecture(b)):
        return False
    pairs = zip(a.get_weights(), b.get_weights(), strict=True)
    return all(np.array_equal(*pair) for pair in pairs)


def check_images(name, images, model):
    """Checks that given images exist and have the teacher's shape."""
    require_filled(images)
    found = as_stream(images, 1).image_shape
    if not found.is_compatible_with(model.image_shape):
        raise ValueError(
            f"`{name}` must be images {model.image_shape}, like the teacher's. "
            f"Received: images {tuple(found)}"
        )


def check_fixed_images(images, share, batch_size, model):
    """Checks that fixed images exist, and leave room for others in a batch."""
    if not is_within(share, "(0, 1)"):
        raise ValueError(
            "`fixed_share` must lie between 0 and 1. "
            f"Received: fixed_share={share}"
        )
    if images is None:
        return
    if not isinstance(images, Pool):
        raise TypeError(
            "`fixed_images` must be a `Pool`, such as Pool.of(images, labels, "
            f"classes). Received: {type(images).__name__}"
        )
    if not len(images):
        raise ValueError(
            "`fixed_images` must be a `Pool` with images: `add` some, or leave "
            "it out. Received: an empty pool"
        )
    check_images("fixed_images", images, model)
    if fixed_count(share, batch_size) >= batch_size:
        raise ValueError(
            "All images of a batch would be fixed images: use a larger "
            "`batch_size` or a smaller `fixed_share`. Received: "
            f"batch_size={batch_size}, fixed_share={share}"
        )


def check_validation(data):
    """Refuses floats now; Keras would read them after the first round."""
    if isinstance(data, tf.data.Dataset):
        images, _ = image_and_label(data.element_spec)
        require_integers(images.dtype.as_numpy_dtype)
    elif isinstance(data, (tuple, list)):
        require_integers(np.asarray(data[0]).dtype)


def check_callbacks(callbacks):
    """Refuses callbacks of an inversion now, not when `fit` begins."""
    for callback in callbacks or []:
        if not isinstance(callback, keras.callbacks.Callback):
            raise TypeError(
                "Expected a list of `keras.callbacks.Callback`. "
                f"Received: {callback!r}"
            )
        if isinstance(callback, WatchesImages):
            raise callback.misplaced("distill")
