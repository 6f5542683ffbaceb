"""The equations for learning new classes and keeping old classes.

Each equation returns one value per image. `old_classes` is the number of
classes of the old network, which are the first classes of the new network.
"""

from keras import ops

from tf_deepinversion.objective.losses import cross_entropy
from tf_deepinversion.objective.losses import kullback_leibler


def local_cross_entropy(labels, logits, old_classes):
    """Computes CE(y, softmax over the new classes only).

    With a single new class the value and its gradient are 0: see
    `check_terms.require_teaching`.

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
    """Computes T^2 KL(p_old || p_new restricted to the old classes).

    Args:
        old_logits: Float tensor `(batch, old_classes)`.
        logits: Float tensor `(batch, classes)`.
        temperature: Float T, which divides the logits of both networks.

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
    """Computes KL(p_old || p_new); p_old is 0 for the new classes.

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
    """Computes the binary cross-entropy of every class.

    The targets are the old network's predictions and the new labels.

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
    # log(1 + e^x) - t x equals -t log s(x) - (1 - t) log(1 - s(x)), and stays
    # exact for large |x|.
    return ops.sum(ops.softplus(logits) - targets * logits, axis=-1)


def feature_distance(kernel, old_features, features):
    """Computes the squared distance of features, weighted by the old head.

    The distance is ||W^T (f_new - f_old)||^2. If the features have positions,
    it is the mean over the positions.

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
    """Averages values of images as if every class were equally frequent.

    Args:
        new: Float tensor `(n,)`, values of images of the new classes.
        replayed: Float tensor `(m,)`, values of images of the old classes.
        old_classes: Int, number of old classes.
        classes: Int, number of all classes.

    Returns:
        A float scalar.
    """
    share = old_classes / classes
    return share * ops.mean(replayed) + (1 - share) * ops.mean(new)
