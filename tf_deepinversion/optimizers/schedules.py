"""What students are trained by: a rate that rises and falls, an optimizer."""

import math

import keras

from tf_deepinversion.optimizers.conv_muon import ConvMuon


def warmed_cosine(steps, peak, warmup):
    """A rate that rises from 0 to `peak` in `warmup` steps, then falls to 0.

    Args:
        steps: Int, of the whole training.
        peak: Float.
        warmup: Int, the first steps; the others are half a cosine.
    """
    return keras.optimizers.schedules.CosineDecay(
        0.0,
        max(1, steps - warmup),
        warmup_target=peak,
        warmup_steps=warmup,
    )


def _student_rate(steps, peak):
    return warmed_cosine(steps, peak, min(500, math.ceil(steps / 10)))


def muon(steps, learning_rate=0.03):
    """`ConvMuon`, a cosine over all steps, and AdamW at a fifth of the rate.

    Args:
        steps: Int, of the whole training; a tenth of them, at most 500, warm
            up.
        learning_rate: Float, the peak.
    """
    return ConvMuon(
        _student_rate(steps, learning_rate),
        weight_decay=5e-3,
        adam_weight_decay=None,
        adam_lr_ratio=0.2,
    )


def sgd(steps, learning_rate=0.1, *, weight_decay=5e-4, warmup=None):
    """SGD with Nesterov momentum 0.9, and a cosine after a warm-up.

    Args:
        steps: Int, of the whole training.
        learning_rate: Float, the peak.
        weight_decay: Float, decoupled: times the learning rate; or None.
        warmup: Int, the first steps, in which the rate rises; None for a
            tenth of all, at most 500.
    """
    rate = _student_rate(steps, learning_rate)
    if warmup is not None:
        rate = warmed_cosine(steps, learning_rate, warmup)
    return keras.optimizers.SGD(
        rate, momentum=0.9, nesterov=True, weight_decay=weight_decay
    )


OPTIMIZERS = {"muon": muon, "sgd": sgd}
