"""Terms for images that resemble the teacher's training data."""

import keras
import tensorflow as tf
from keras import ops

from tf_deepinversion.core.checks import is_within
from tf_deepinversion.core.checks import require_positive
from tf_deepinversion.networks import batch_norm_moments
from tf_deepinversion.networks.ending import masked_logits
from tf_deepinversion.objective import losses
from tf_deepinversion.objective.distances import DISTANCES
from tf_deepinversion.objective.priors import mean_sums
from tf_deepinversion.objective.priors import mean_value
from tf_deepinversion.objective.terms import Term


@keras.saving.register_keras_serializable("tf_deepinversion")
class CrossEntropy(Term):
    """Mean of CE(f_T(x) / t, y), which makes images show their labels.

    Args:
        weight: Float, at least 0. Defaults to 1.
        temperature: Float t, positive. With a higher temperature the term
            keeps pulling on an image until the teacher is more certain.
            Defaults to 1.
        feature_dropout: Float in [0, 1). The probability with which the term
            drops each input feature of the teacher's dense head, drawn anew
            for each image and step. An image must then show all features of
            its class. Not in the paper. Defaults to 0.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> view = di.objective.View(
        ...     images=np.zeros((1, 2, 2, 1), "float32"),
        ...     labels=np.array([0]),
        ...     logits=np.zeros((1, 2), "float32"),
        ...     batch_norm_calls=[],
        ... )
        >>> term = di.CrossEntropy()
        >>> round(float(term.value(term.sums(view), [])), 4)  # log(2)
        0.6931
    """

    name = "cross_entropy"

    def __init__(self, weight=1.0, temperature=1.0, feature_dropout=0.0):
        super().__init__(weight)
        require_positive(temperature=temperature)
        if not is_within(feature_dropout, "[0, 1)"):
            raise ValueError(
                "`feature_dropout` must lie in [0, 1). "
                f"Received: feature_dropout={feature_dropout}"
            )
        self.temperature = float(temperature)
        self.feature_dropout = float(feature_dropout)

    @property
    def needs_features(self):
        """Bool, whether the teacher must end with a `Dense` layer."""
        return self.feature_dropout > 0

    def draw(self, key, count, features):
        if not self.feature_dropout:
            return super().draw(key, count, features)
        return tf.random.stateless_uniform((count, features), key, alg="philox")

    def sums(self, view):
        logits = view.logits
        if self.feature_dropout:
            kept = 1 - self.feature_dropout
            # As in dropout, the division keeps the mean of the features.
            mask = ops.cast(view.numbers < kept, view.images.dtype) / kept
            logits = masked_logits(view.head, mask)
        return mean_sums(
            losses.cross_entropy(view.labels, logits / self.temperature)
        )

    def value(self, sums, batch_norms):
        return mean_value(sums)

    def without_features(self):
        if not self.feature_dropout:
            return self
        return self.from_config({**self.get_config(), "feature_dropout": 0.0})

    def get_config(self):
        return {
            **super().get_config(),
            "temperature": self.temperature,
            "feature_dropout": self.feature_dropout,
        }


@keras.saving.register_keras_serializable("tf_deepinversion")
class FeatureStatistics(Term):
    """R_feature: matches batch statistics to BatchNormalization's stored ones.

    mu and var are the mean and variance of a layer's input over the
    synthesized batch. m and v are the layer's moving mean and variance.

    Args:
        weight: Float, at least 0. Defaults to 1.
        form: `"plain"`, the paper's form: the sum over the calls of
            ||mu - m|| + ||var - v||. The other forms are not in the paper. They
            are the *mean* over the calls of distances that stay the same if
            all features of a layer become c times as large, so that one weight
            serves any network. `"relative"`: ||mu - m|| / ||sqrt(v + eps)|| +
            ||var - v|| / ||v + eps||. `"normalized"`: the root mean square over
            channels of (mu - m)/sqrt(v + eps) plus that of
            (var - v)/(v + eps). Defaults to `"plain"`.
        first_weight: Float, at least 0. Factor of the first call; the paper's
            ImageNet recipe uses 10. Defaults to 1.
        synchronized: Bool. True measures the statistics of the whole batch.
            False measures each replica and each micro-batch by itself and
            averages the distances. Defaults to True.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> term = di.FeatureStatistics(5.0, form="normalized")
        >>> term.name, term.weight
        ('feature_statistics', 5.0)

    Reference:
        - Yin et al., arXiv:1912.08795, eq. 4
    """

    name = "feature_statistics"
    needs_batch_norms = True

    def __init__(
        self,
        weight=1.0,
        form="plain",
        first_weight=1.0,
        synchronized=True,
    ):
        super().__init__(weight)
        if not is_within(first_weight, "[0, inf)"):
            raise ValueError(
                "`first_weight` must be finite and not negative. "
                f"Received: first_weight={first_weight}"
            )
        if form not in DISTANCES:
            raise ValueError(
                f"`form` must be one of {', '.join(DISTANCES)}. "
                f"Received: form={form!r}"
            )
        self.form = form
        self.first_weight = float(first_weight)
        self.synchronized = bool(synchronized)

    def sums(self, view):
        calls = view.batch_norm_calls
        moments = [batch_norm_moments.moments(call) for call in calls]
        if self.synchronized:
            return moments
        # Each piece has its own distance; `value` averages the distances.
        own = self._distance(moments, [call.layer for call in calls])
        return [own, ops.ones_like(own)]

    def value(self, sums, batch_norms):
        if self.synchronized:
            return self._distance(sums, batch_norms)
        return mean_value(sums)

    def _distance(self, moments, batch_norms):
        distance = DISTANCES[self.form]
        pairs = zip(moments, batch_norms, strict=True)
        distances = [distance(sums, layer) for sums, layer in pairs]
        distances[0] = distances[0] * self.first_weight
        total = sum(distances)
        # The paper adds up the layers; the other forms do not grow with their
        # number.
        return total if self.form == "plain" else total / len(distances)

    def get_config(self):
        return {
            **super().get_config(),
            "form": self.form,
            "first_weight": self.first_weight,
            "synchronized": self.synchronized,
        }
