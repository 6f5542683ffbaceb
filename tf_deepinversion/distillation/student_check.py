"""Detects a student that agrees with its teacher before distillation."""

import keras
import numpy as np
import tensorflow as tf

from tf_deepinversion.core.caller_warnings import warn_caller

# Keras's initial values of these variables, for any seed.
INITIAL = {
    "bias": 0.0,
    "beta": 0.0,
    "moving_mean": 0.0,
    "gamma": 1.0,
    "moving_variance": 1.0,
}


def is_untouched(model) -> bool:
    """Tells whether variables with constant initial values never changed.

    Args:
        model: A built `keras.Model`.

    Returns:
        True if all biases are 0 and all BatchNormalization layers have their
        initial values. False otherwise, or if there is no such variable.
    """
    found = [
        bool(np.all(keras.ops.convert_to_numpy(v) == INITIAL[v.name]))
        for v in model.variables
        if v.name in INITIAL
    ]
    return bool(found) and all(found)


def smooth_images(shape, count=128, seed=0) -> np.ndarray:
    """Makes random clouds, to which networks react more than to noise.

    Args:
        shape: Tuple `(height, width, channels)`.
        count: Int. Defaults to 128.
        seed: Int. Defaults to 0.

    Returns:
        uint8 array `(count, height, width, channels)`.
    """
    random = np.random.default_rng(seed)
    total = np.zeros((count, *shape), "float32")
    # Few random numbers make large clouds, many make small ones.
    for size in (2, 4, 7, 14):
        coarse = random.normal(size=(count, size, size, shape[-1]))
        fine = tf.image.resize(coarse, shape[:2], method="bicubic")
        total += fine.numpy() / np.sqrt(size)
    total -= total.mean((1, 2, 3), keepdims=True)
    total /= total.std((1, 2, 3), keepdims=True) + 1e-6
    level = random.uniform(60, 200, (count, 1, 1, 1))
    contrast = random.uniform(20, 90, (count, 1, 1, 1))
    return (level + contrast * total).clip(0, 255).astype("uint8")


def likeness(teacher_logits, student_logits) -> tuple[float, float]:
    """Measures how far two networks agree on the classes, beyond chance.

    The classes of an untrained head are interchangeable: any order of the
    classes is equally likely. Let C be the covariances of the teacher's logits
    with the student's, each class scaled to unit variance, minus the means of
    rows and columns. Over all orders of the student's classes, the trace of C
    has the mean 0 and the variance ||C||^2 / (classes - 1). Therefore

        z = tr(C) sqrt(classes - 1) / ||C||

    is approximately N(0, 1) by chance, and at most classes - 1.

    Args:
        teacher_logits: Float array `(n, classes)` of any images.
        student_logits: Float array `(n, classes)` of the same images.

    Returns:
        A pair: z, and the correlation of the logits, each image minus its mean.
    """
    teacher, student = (
        _standardized(np.asarray(x, "float64"))
        for x in (teacher_logits, student_logits)
    )
    images, classes = teacher.shape
    if classes <= images:
        covariances = teacher.T @ student
        size, trace = np.linalg.norm(covariances), np.trace(covariances)
    else:  # ||A' B||^2 = sum(A A' * B B') needs (images, images) only
        both = (teacher @ teacher.T) * (student @ student.T)
        size, trace = np.sqrt(max(0.0, both.sum())), np.sum(teacher * student)
    lengths = np.linalg.norm(teacher) * np.linalg.norm(student)
    if not size:
        return 0.0, 0.0
    return trace * np.sqrt(teacher.shape[1] - 1) / size, trace / lengths


def _standardized(logits):
    logits = logits - logits.mean(axis=0)
    spread = logits.std(axis=0)
    # A logit that never changes stays 0.
    logits = logits / np.where(spread > 0, spread, 1)
    return logits - logits.mean(axis=1, keepdims=True)


def agrees_already(distillation) -> bool:
    """Tells whether the student agrees with its teacher far beyond chance.

    The check needs no data: both networks read random clouds, unless the
    student has Keras's initial values. With five classes or more, the criterion
    is z > 3, see `likeness`. Fewer classes have too few orders, and the
    criterion is a correlation above 0.9. A student trained on something else,
    for instance with ImageNet weights and a new head, does not agree.

    Args:
        distillation: A `Distillation`.
    """
    if is_untouched(distillation.student):
        return False
    images = smooth_images(distillation.image_shape)
    # Random clouds: no data is needed, and networks react to them.
    logits = distillation.answers(images, batch_size=32)
    z, correlation = likeness(*logits)
    return bool(z > 3 if logits[0].shape[1] >= 5 else correlation > 0.9)


def warn_if_trained(distillation):
    """Warns of a student that agrees with its teacher before training."""
    if agrees_already(distillation):
        warn_caller(
            "The student agrees with its teacher before its training begins, "
            "so it seems to be trained already. `distill` continues its "
            "training. To train a student on these images only, create it "
            "anew. To resume an interrupted run, also create it anew, with "
            "the same seed, and pass the same `folder`. If you want to "
            "continue training, ignore this warning."
        )
