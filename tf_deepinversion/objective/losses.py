"""Losses on logits: cross-entropy, and divergences of teacher and student."""

import math

from keras import ops


def cross_entropy(labels, logits):
    """Computes the cross-entropy of each image.

    Args:
        labels: Int tensor `(batch,)` in [0, classes).
        logits: Float tensor `(batch, classes)`.

    Returns:
        A float tensor `(batch,)`.
    """
    log_p = ops.log_softmax(logits, axis=-1)
    one_hot = ops.one_hot(labels, logits.shape[-1], dtype=log_p.dtype)
    # A class that is masked has the logit -inf, and 0 times -inf is NaN.
    return -ops.sum(ops.where(one_hot > 0, log_p, 0.0), axis=-1)


def kullback_leibler(log_p, log_q):
    """Computes KL(p || q) of each row.

    Args:
        log_p: Float tensor `(batch, classes)`, logarithms of probabilities;
            -inf for a class that is impossible, which adds 0.
        log_q: Float tensor `(batch, classes)`, logarithms of probabilities.

    Returns:
        A float tensor `(batch,)`.
    """
    never = ops.equal(log_p, -math.inf)
    # Both are replaced, for the gradient too.
    gap = ops.where(never, 0.0, log_p) - ops.where(never, 0.0, log_q)
    return ops.sum(ops.exp(log_p) * gap, axis=-1)


def _at_least(least, log_p):
    """Replaces -inf, of a class that is impossible, by a tiny probability."""
    return ops.where(ops.equal(log_p, -math.inf), least, log_p)


def jensen_shannon(teacher_logits, student_logits, temperature=3.0):
    """Computes JS(p_T, p_S) of each image, between 0 and log 2.

    JS(p, q) = (KL(p||m) + KL(q||m)) / 2 with m = (p + q) / 2. The function
    works on logarithms, so the gradient stays correct for classes whose
    probability is tiny.

    Args:
        teacher_logits: Float tensor `(batch, classes)`.
        student_logits: Float tensor `(batch, classes)`.
        temperature: Float, positive. The function divides the logits by it.
            Defaults to 3.

    Returns:
        A float tensor `(batch,)`.

    Reference:
        - Yin et al., arXiv:1912.08795, eq. 8
    """
    log_p, log_q = (
        _at_least(-100.0, ops.log_softmax(logits / temperature, axis=-1))
        for logits in (teacher_logits, student_logits)
    )
    # `logaddexp` would be shorter, but its gradient is wrong for log_p = log_q.
    log_m = log_q + ops.softplus(log_p - log_q) - math.log(2)
    return (kullback_leibler(log_p, log_m) + kullback_leibler(log_q, log_m)) / 2


def agreed_divergence(teacher_logits, student_logits):
    """Computes KL(p_T || p_S) of each image that both networks classify alike.

    An image on which teacher and student disagree contributes 0: such an
    image already shows the student's mistake. The loss drives the remaining
    images towards the border between agreement and disagreement.

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
    # Images on which the two disagree contribute 0.
    return ops.cast(agreed, kl.dtype) * kl
