"""The objective: a list of weighted terms (arXiv:1912.08795, eqs. 2-8).

A term is a function of *sums over the images*: `sums(view)` gives tensors that
add up over replicas and pieces of a batch, and `value(sums, batch_norms)`
makes the scalar of the whole batch from them. With S the sums of all images,

    d value(S) / d images_r = (d value / dS) (d S_r / d images_r)

so what crosses devices is S, and the gradient of a piece is exact however the
batch is cut.
"""

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tf_deepinversion.core.checks import require_positive
from tf_deepinversion.core.random_keys import fold_in
from tf_deepinversion.networks import batch_norm_moments
from tf_deepinversion.networks.ending import masked_logits
from tf_deepinversion.objective import losses
from tf_deepinversion.objective import priors
from tf_deepinversion.objective.distances import normalized_distance
from tf_deepinversion.objective.distances import plain_distance
from tf_deepinversion.objective.priors import mean_sums
from tf_deepinversion.objective.priors import mean_value


class Term:
    """A weighted term. Subclasses define `name`, `sums` and `value`.

    Args:
        weight: Float, finite and at least 0: the term's factor in the
            objective.
    """

    name = None
    needs_batch_norms = False
    needs_student = False
    needs_features = False

    def __init__(self, weight=1.0):
        if not np.isfinite(weight) or weight < 0:
            raise ValueError(
                "`weight` must be finite and not negative. "
                f"Received: weight={weight} for {type(self).__name__}"
            )
        self.weight = float(weight)

    def draw(self, key, count, features):
        """Random numbers of a step, which `sums` finds in `view.numbers`.

        Args:
            key: Int tensor `(2,)`.
            count: Int, the images of the whole batch.
            features: Int, how many features feed the teacher's head, or None.

        Returns:
            A tensor with a row for each image; by default of no numbers.
        """
        return tf.zeros((count, 0))

    def sums(self, view):
        """What adds up over the pieces of a batch.

        Args:
            view: `View` of a piece of the batch.

        Returns:
            A list of tensors, or of named tuples of tensors.
        """
        raise NotImplementedError

    def value(self, sums, batch_norms):
        """The term of the whole batch, not yet weighted.

        Args:
            sums: What `sums` gave, added up over the batch.
            batch_norms: List of the layers of `View.batch_norm_calls`, in
                that order.

        Returns:
            A scalar.
        """
        raise NotImplementedError

    def without_features(self):
        """The term for a teacher whose head no feature can be left out of."""
        return self

    def get_config(self):
        return {"weight": self.weight}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


@keras.saving.register_keras_serializable("tf_deepinversion")
class CrossEntropy(Term):
    """Mean of CE(f_T(x) / t, y): the images belong to their labels.

    Args:
        weight: Float, not negative. Defaults to 1.
        temperature: Float t, positive: the higher, the surer the teacher has
            to be of an image before the term lets go of it. Defaults to 1.
        feature_dropout: Float in [0, 1), the probability with which each
            feature that feeds the teacher's dense head is left out of f_T, at
            each step anew for each image, so that an image must show all that
            its class is known by (ours). Defaults to 0.
    """

    name = "cross_entropy"

    def __init__(self, weight=1.0, temperature=1.0, feature_dropout=0.0):
        super().__init__(weight)
        require_positive(temperature=temperature)
        if not 0 <= feature_dropout < 1:
            raise ValueError(
                "`feature_dropout` must lie in [0, 1). "
                f"Received: feature_dropout={feature_dropout}"
            )
        self.temperature = float(temperature)
        self.feature_dropout = float(feature_dropout)

    @property
    def needs_features(self):
        """Bool, whether the teacher's logits must be those of a `Dense`."""
        return self.feature_dropout > 0

    def draw(self, key, count, features):
        if not self.feature_dropout:
            return super().draw(key, count, features)
        return tf.random.stateless_uniform((count, features), key, alg="philox")

    def sums(self, view):
        logits = view.logits
        if self.feature_dropout:
            kept = 1 - self.feature_dropout
            mask = ops.cast(view.numbers < kept, view.images.dtype) / kept
            logits = masked_logits(view.head, mask)
        return mean_sums(
            losses.cross_entropy(view.labels, logits / self.temperature)
        )

    def value(self, sums, batch_norms):
        return mean_value(sums)

    def without_features(self):
        return CrossEntropy(self.weight, self.temperature)

    def get_config(self):
        return {
            **super().get_config(),
            "temperature": self.temperature,
            "feature_dropout": self.feature_dropout,
        }


@keras.saving.register_keras_serializable("tf_deepinversion")
class FeatureStatistics(Term):
    """R_feature: what the teacher's BatchNormalizations see fits what they saw.

    Args:
        weight: Float, not negative. Defaults to 1.
        normalized: Bool. False, the paper's: the sum over the calls of
            ||mu - m|| + ||var - v||. True, ours: the *mean* over the calls of
            the root mean square over channels of (mu - m)/sqrt(v + eps) and
            of (var - v)/(v + eps), a number near 1 for noise in any network.
        first_weight: Float, not negative: the factor of the first call, 10 in
            the paper's ImageNet recipe. Defaults to 1.
        synchronized: Bool. True: the statistics are those of the whole batch.
            False: each replica, and each micro-batch, is measured by itself,
            and the distance is the mean of theirs.

    Reference:
        - Yin et al., arXiv:1912.08795, eq. 4
    """

    name = "feature_statistics"
    needs_batch_norms = True

    def __init__(
        self,
        weight=1.0,
        normalized=False,
        first_weight=1.0,
        synchronized=True,
    ):
        super().__init__(weight)
        if not np.isfinite(first_weight) or first_weight < 0:
            raise ValueError(
                "`first_weight` must be finite and not negative. "
                f"Received: first_weight={first_weight}"
            )
        self.normalized = bool(normalized)
        self.first_weight = float(first_weight)
        self.synchronized = bool(synchronized)

    def sums(self, view):
        calls = view.batch_norm_calls
        moments = [batch_norm_moments.moments(call) for call in calls]
        if self.synchronized:
            return moments
        own = self._distance(moments, [call.layer for call in calls])
        return [own, ops.ones_like(own)]

    def value(self, sums, batch_norms):
        if self.synchronized:
            return self._distance(sums, batch_norms)
        return mean_value(sums)

    def _distance(self, moments, batch_norms):
        distance = normalized_distance if self.normalized else plain_distance
        pairs = zip(moments, batch_norms, strict=True)
        distances = [distance(sums, layer) for sums, layer in pairs]
        distances[0] = distances[0] * self.first_weight
        total = sum(distances)
        return total / len(distances) if self.normalized else total

    def get_config(self):
        return {
            **super().get_config(),
            "normalized": self.normalized,
            "first_weight": self.first_weight,
            "synchronized": self.synchronized,
        }


@keras.saving.register_keras_serializable("tf_deepinversion")
class TotalVariation(Term):
    """R_TV: neighboring pixels are alike.

    Args:
        weight: Float, not negative. Defaults to 1.
        form: `"l2"`, the paper's: the norms of the differences of the whole
            batch. `"l1"`: the means of their absolute values.
    """

    name = "total_variation"

    def __init__(self, weight=1.0, form="l2"):
        super().__init__(weight)
        if form not in ("l1", "l2"):
            raise ValueError(
                f'`form` must be "l1" or "l2". Received: form={form!r}'
            )
        self.form = form
        self._prior = (
            priors.total_variation_l1
            if form == "l1"
            else priors.total_variation_l2
        )

    def sums(self, view):
        return self._prior.sums(view.images)

    def value(self, sums, batch_norms):
        return self._prior.value(sums)

    def get_config(self):
        return {**super().get_config(), "form": self.form}


@keras.saving.register_keras_serializable("tf_deepinversion")
class L2(Term):
    """R_l2: the images are not larger than they need be.

    Args:
        weight: Float, not negative. Defaults to 1.
        over: `"batch"`, the norm of the batch as one vector (the CIFAR-10
            recipe), or `"images"`, the mean of the images' norms (ImageNet).
    """

    name = "l2"

    def __init__(self, weight=1.0, over="batch"):
        super().__init__(weight)
        if over not in ("batch", "images"):
            raise ValueError(
                f'`over` must be "batch" or "images". Received: over={over!r}'
            )
        self.over = over
        self._prior = (
            priors.l2_of_images if over == "images" else priors.l2_of_batch
        )

    def sums(self, view):
        return self._prior.sums(view.images)

    def value(self, sums, batch_norms):
        return self._prior.value(sums)

    def get_config(self):
        return {**super().get_config(), "over": self.over}


@keras.saving.register_keras_serializable("tf_deepinversion")
class Competition(Term):
    """R_compete = 1 - JS(p_T, p_S): images on which the student still differs.

    Args:
        weight: Float, not negative. Defaults to 1.
        temperature: Float, positive. Defaults to 3.

    Reference:
        - Yin et al., arXiv:1912.08795, eq. 8 (Adaptive DeepInversion)
    """

    name = "competition"
    needs_student = True

    def __init__(self, weight=1.0, temperature=3.0):
        super().__init__(weight)
        require_positive(temperature=temperature)
        self.temperature = float(temperature)

    def sums(self, view):
        return mean_sums(
            losses.jensen_shannon(
                view.logits, view.student_logits, self.temperature
            )
        )

    def value(self, sums, batch_norms):
        return 1 - mean_value(sums)

    def get_config(self):
        return {**super().get_config(), "temperature": self.temperature}


@keras.saving.register_keras_serializable("tf_deepinversion")
class AgreedDivergence(Term):
    """-KL(p_T || p_S) where the two agree: the other form of competition.

    It grows without bound where `Competition` levels off; the statistics hold
    it back.

    Args:
        weight: Float, not negative. Defaults to 1.

    Reference:
        - Fang et al., arXiv:2112.06253
    """

    name = "agreed_divergence"
    needs_student = True

    def sums(self, view):
        return mean_sums(
            losses.agreed_divergence(view.logits, view.student_logits)
        )

    def value(self, sums, batch_norms):
        return -mean_value(sums)


def draw(terms, seed, step, count, features) -> list:
    """The random numbers of one step for a list of terms.

    Args:
        terms: List of `Term`.
        seed: Int tensor `(2,)`.
        step: Int scalar tensor.
        count: Int, number of images of the whole batch.
        features: Int, how many features feed the teacher's head, or None.

    Returns:
        A list of tensors, one a term, each with `count` rows.
    """
    # Numbers below 0: those of the steps are the transforms'.
    key = fold_in(seed, -1 - step)
    return [
        term.draw(fold_in(key, 1 + i) if i else key, count, features)
        for i, term in enumerate(terms)
    ]


def weighted_values(terms, sums, batch_norms):
    """The weighted terms of the whole batch; their sum is the loss.

    Args:
        terms: List of `Term`.
        sums: List of what each term's `sums` gave, added up over the batch.
        batch_norms: List of layers, see `Term.value`.

    Returns:
        A list of scalars.
    """
    values = [
        term.weight * term.value(own, batch_norms)
        for term, own in zip(terms, sums, strict=True)
    ]
    for term, value in zip(terms, values, strict=True):
        if ops.ndim(value):
            raise ValueError(
                f"`value` of the term {term.name!r} must be a scalar. "
                f"Received: a tensor of shape {tuple(ops.shape(value))}"
            )
    return values
