"""Optimizers of students, with their learning-rate schedules."""

import math

import keras

from tf_deepinversion.core.checks import require_positive
from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.optimizers.conv_muon import ConvMuon


def warmed_cosine(steps, peak, warmup):
    """Makes a learning rate that rises from 0 to `peak`, then falls to 0.

    Args:
        steps: Int, number of steps of the whole training.
        peak: Float, the highest learning rate.
        warmup: Int, number of steps of the linear rise. A half cosine spans
            the remaining steps. A training of as many steps ends in the rise.

    Returns:
        A `keras.optimizers.schedules.CosineDecay`.

    Raises:
        ValueError: if a number is out of range.

    Example:
        >>> rate = di.optimizers.warmed_cosine(10, peak=0.1, warmup=2)
        >>> [round(float(rate(step)), 3) for step in (0, 2, 6, 10)]
        [0.0, 0.1, 0.05, 0.0]
    """
    require_whole(0, steps=steps, warmup=warmup)
    require_positive(peak=peak)
    # Keras warms up from the initial rate, 0, to the target, and then decays.
    return keras.optimizers.schedules.CosineDecay(
        0.0,
        max(1, steps - warmup),
        warmup_target=peak,
        warmup_steps=warmup,
    )


def _student_rate(steps, peak):
    require_whole(0, steps=steps)
    # The rise begins with a rate of 0, so a single step has no rise.
    warmup = min(500, math.ceil(steps / 10), max(0, steps - 1))
    return warmed_cosine(steps, peak, warmup)


def muon(steps, learning_rate=0.03):
    """Makes a `ConvMuon` with a warmed cosine schedule.

    AdamW, which moves all variables other than convolutions, takes 20% of the
    learning rate. The learning rate rises during the first 10% of the steps,
    at most 500 steps.

    Args:
        steps: Int, number of steps of the whole training.
        learning_rate: Float, the peak. Defaults to 0.03.

    Returns:
        A `ConvMuon`.

    Example:
        >>> optimizer = di.optimizers.muon(steps=1000)
        >>> optimizer.weight_decay, optimizer.adam_lr_ratio
        (0.005, 0.2)
    """
    return ConvMuon(
        _student_rate(steps, learning_rate),
        weight_decay=5e-3,
        adam_weight_decay=None,
        adam_lr_ratio=0.2,
    )


def sgd(steps, learning_rate=0.1, *, weight_decay=5e-4, warmup=None):
    """Makes an SGD with Nesterov momentum 0.9 and a warmed cosine schedule.

    Args:
        steps: Int, number of steps of the whole training.
        learning_rate: Float, the peak. Defaults to 0.1.
        weight_decay: Float or None. Each step shrinks the weights by this
            number times the learning rate. Defaults to 5e-4.
        warmup: Int, number of steps in which the rate rises. Defaults to 10%
            of all steps, at most 500.

    Returns:
        A `keras.optimizers.SGD`.

    Example:
        >>> optimizer = di.optimizers.sgd(steps=1000)
        >>> optimizer.momentum, optimizer.weight_decay
        (0.9, 0.0005)
    """
    rate = _student_rate(steps, learning_rate)
    if warmup is not None:
        rate = warmed_cosine(steps, learning_rate, warmup)
    return keras.optimizers.SGD(
        rate, momentum=0.9, nesterov=True, weight_decay=weight_decay
    )


OPTIMIZERS = {"muon": muon, "sgd": sgd}
