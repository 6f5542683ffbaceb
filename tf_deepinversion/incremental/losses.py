"""The equations for learning new classes and keeping old classes.

Each equation returns one value per image. `old_classes` is the number of
classes of the old network, which are the first classes of the new network.
"""

from keras import ops

from tf_deepinversion.objective.losses import cross_entropy
from tf_deepinversion.objective.losses import kullback_leibler


def local_cross_entropy(labels, logits, old_classes):
    """CE(y, softmax over the new classes only).

    With a single new class the value and its gradient are 0: see
    `methods.require_teaching`.

    Args:
        labels: Int tensor `(batch,)` in [old_classes, classes).
        logits: Float tensor `(batch, classes)`.
        old_classes: Int.

    Returns:
        A float tensor `(batch,)`.

    Reference:
        - Smith et al., Always Be Dreaming, arXiv:2106.09701
    """
    return cross_entropy(labels - old_classes, logits[:, old_classes:])


def divergence(old_logits, logits, temperature=1.0):
    """T^2 KL(p_old || p_new restricted to the old classes).

    Args:
        old_logits: Float tensor `(batch, old_classes)`.
        logits: Float tensor `(batch, classes)`.
        temperature: Float T, by which both are divided.

    Returns:
        A float tensor `(batch,)`.

    References:
        - Li and Hoiem, Learning without Forgetting, arXiv:1606.09282
        - Yin et al., arXiv:1912.08795
    """
    log_p = ops.log_softmax(old_logits / temperature)
    known = logits[:, : old_logits.shape[-1]]
    log_q = ops.log_softmax(known / temperature)
    return temperature**2 * kullback_leibler(log_p, log_q)


def divergence_over_all(old_logits, logits):
    """KL(p_old || p_new over all classes), p_old being 0 for the new ones.

    Args:
        old_logits: Float tensor `(batch, old_classes)`.
        logits: Float tensor `(batch, classes)`.

    Returns:
        A float tensor `(batch,)`.

    Reference:
        - Yin et al., arXiv:1912.08795
    """
    log_p = ops.log_softmax(old_logits)
    log_q = ops.log_softmax(logits)[:, : old_logits.shape[-1]]
    return kullback_leibler(log_p, log_q)


def binary_cross_entropies(labels, old_logits, logits):
    """BCE of every class: the old network's answers, and the new labels.

    Args:
        labels: Int tensor `(batch,)` in [old_classes, classes).
        old_logits: Float tensor `(batch, old_classes)`.
        logits: Float tensor `(batch, classes)`.

    Returns:
        A float tensor `(batch,)`, the sum over classes.

    Reference:
        - Rebuffi et al., iCaRL, arXiv:1611.07725, where it is called LwF.MC
    """
    old, classes = old_logits.shape[-1], logits.shape[-1]
    new = ops.one_hot(labels - old, classes - old, dtype=logits.dtype)
    targets = ops.concatenate([ops.sigmoid(old_logits), new], axis=-1)
    # log(1 + e^x) - t x, which is -t log s(x) - (1 - t) log(1 - s(x)).
    return ops.sum(ops.softplus(logits) - targets * logits, axis=-1)


def feature_distance(kernel, old_features, features):
    """The squared distance of features, as the old head weights them.

    ||W^T (f_new - f_old)||^2, the mean over places where features have any.

    Args:
        kernel: Float tensor `(features, old_classes)`, W.
        old_features: Float tensor `(batch, ..., features)`.
        features: Float tensor of that shape.

    Returns:
        A float tensor `(batch,)`.

    Reference:
        - Smith et al., Always Be Dreaming, arXiv:2106.09701
    """
    moved = ops.matmul(features - old_features, kernel)
    squares = ops.sum(ops.square(moved), axis=-1)
    return ops.mean(ops.reshape(squares, (ops.shape(squares)[0], -1)), axis=-1)


def balanced_mean(new, replayed, old_classes, classes):
    """The mean of values of images, as if every class were equally frequent.

    Args:
        new: Float tensor `(n,)`, of images of the new classes.
        replayed: Float tensor `(m,)`, of images of the old ones.
        old_classes: Int.
        classes: Int, old and new.

    Returns:
        A float scalar.
    """
    share = old_classes / classes
    return share * ops.mean(replayed) + (1 - share) * ops.mean(new)
