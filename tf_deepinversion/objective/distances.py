"""R_feature: the distance between a batch's statistics and the stored ones."""

from keras import ops

from tf_deepinversion.networks.batch_norm_moments import Moments
from tf_deepinversion.networks.batch_norm_moments import epsilon_of
from tf_deepinversion.networks.batch_norm_moments import mean_and_variance_gaps
from tf_deepinversion.objective.priors import norm


def plain_distance(sums: Moments, layer):
    """Computes ||mu(x) - moving_mean||_2 + ||var(x) - moving_variance||_2.

    Args:
        sums: `Moments` of the batch that the layer received.
        layer: The `BatchNormalization` layer.

    Returns:
        A scalar tensor.

    Reference:
        - Yin et al., arXiv:1912.08795, eq. 4
    """
    mean_gap, variance_gap = mean_and_variance_gaps(sums, layer)
    return norm(mean_gap) + norm(variance_gap)


def relative_distance(sums: Moments, layer):
    """Computes the distance of one call, relative to the layer's statistics.

    The distance is ||mu - m|| / ||sqrt(v + eps)|| + ||var - v|| / ||v + eps||.
    If all features of a layer are c times as large, the distance is the same,
    so one weight serves any network. Within a layer, channels of large variance
    count most, as in the plain distance. The paper does not have this form.

    Args:
        sums: `Moments` of the batch that the layer received.
        layer: The `BatchNormalization` layer.

    Returns:
        A scalar tensor.
    """
    mean_gap, variance_gap = mean_and_variance_gaps(sums, layer)
    spread = _spread(layer, mean_gap.dtype)
    of_means = norm(mean_gap) / norm(ops.sqrt(spread))
    return of_means + norm(variance_gap) / norm(spread)


def normalized_distance(sums: Moments, layer):
    """Computes the distance of one call in units of standard deviations.

    The distance is rms((mu - m) / sqrt(v + eps)) + rms((var - v) / (v + eps)),
    where rms is the 2-norm divided by sqrt(channels). The paper does not have
    this form. If moving variances span orders of magnitude, a few channels
    dominate the plain distance. In this form every channel counts alike.

    Args:
        sums: `Moments` of the batch that the layer received.
        layer: The `BatchNormalization` layer.

    Returns:
        A scalar tensor.
    """
    mean_gap, variance_gap = mean_and_variance_gaps(sums, layer)
    spread = _spread(layer, mean_gap.dtype)
    channels = mean_gap.shape[0]
    return (
        norm(mean_gap / ops.sqrt(spread)) + norm(variance_gap / spread)
    ) / channels**0.5


def _spread(layer, dtype):
    """Returns v + eps, the square of the layer's divisor."""
    return ops.cast(layer.moving_variance, dtype) + epsilon_of(layer)


# The distance for each `form` of `FeatureStatistics`.
DISTANCES = {
    "plain": plain_distance,
    "relative": relative_distance,
    "normalized": normalized_distance,
}
