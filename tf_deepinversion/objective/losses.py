"""Losses on logits: cross-entropy, and where teacher and student differ."""

import math

from keras import ops


def cross_entropy(labels, logits):
    """CE(f(x), y) of each image.

    Args:
        labels: Int tensor `(batch,)` in [0, classes).
        logits: Float tensor `(batch, classes)`.

    Returns:
        A float tensor `(batch,)`.
    """
    log_p = ops.log_softmax(logits, axis=-1)
    one_hot = ops.one_hot(labels, logits.shape[-1], dtype=log_p.dtype)
    return -ops.sum(one_hot * log_p, axis=-1)


def kullback_leibler(log_p, log_q):
    """KL(p || q) of each row of logarithms of probabilities.

    Args:
        log_p: Float tensor `(batch, classes)`.
        log_q: Float tensor `(batch, classes)`.

    Returns:
        A float tensor `(batch,)`.
    """
    return ops.sum(ops.exp(log_p) * (log_p - log_q), axis=-1)


def jensen_shannon(teacher_logits, student_logits, temperature=3.0):
    """JS(p_T, p_S) of each image, between 0 and log 2.

    JS(p, q) = (KL(p||m) + KL(q||m)) / 2 with m = (p + q) / 2, computed from
    logarithms, so that its gradient stays right for improbable classes.

    Args:
        teacher_logits: Float tensor `(batch, classes)`.
        student_logits: Float tensor `(batch, classes)`.
        temperature: Float, by which the logits are divided. Defaults to 3.

    Returns:
        A float tensor `(batch,)`.

    Reference:
        - Yin et al., arXiv:1912.08795, eq. 8
    """
    log_p = ops.log_softmax(teacher_logits / temperature, axis=-1)
    log_q = ops.log_softmax(student_logits / temperature, axis=-1)
    # Not `logaddexp`, whose gradient is wrong where the two are equal.
    log_m = log_q + ops.softplus(log_p - log_q) - math.log(2)
    return (kullback_leibler(log_p, log_m) + kullback_leibler(log_q, log_m)) / 2


def agreed_divergence(teacher_logits, student_logits):
    """KL(p_T || p_S) of each image that both take for the same class, else 0.

    Where they disagree there is nothing to look for: it is found. What is
    wanted is more of what lies near the border between the two.

    Args:
        teacher_logits: Float tensor `(batch, classes)`.
        student_logits: Float tensor `(batch, classes)`.

    Returns:
        A float tensor `(batch,)`.

    Reference:
        - Fang et al., arXiv:2112.06253
    """
    log_p = ops.log_softmax(teacher_logits, axis=-1)
    log_q = ops.log_softmax(student_logits, axis=-1)
    kl = kullback_leibler(log_p, log_q)
    agreed = ops.argmax(log_p, axis=-1) == ops.argmax(log_q, axis=-1)
    return ops.cast(agreed, kl.dtype) * kl
