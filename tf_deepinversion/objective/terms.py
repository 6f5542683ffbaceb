"""The objective: a list of weighted terms (arXiv:1912.08795, eqs. 2-8).

A term is a function of *sums over the images*. `sums(view)` returns tensors
that add up over replicas and over pieces of a batch. `value(sums, batch_norms)`
computes the scalar of the whole batch from these sums. With S the sums over all
images,

    d value(S) / d images_r = (d value / dS) (d S_r / d images_r)

Devices therefore exchange only S, and the gradient of a piece is exact for any
split of the batch.
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
    """Base class of the weighted terms of an objective.

    A subclass defines `name`, `sums` and `value`.

    Args:
        weight: Float, finite and at least 0. The term's factor in the
            objective. Defaults to 1.

    Example:
        >>> class Brightness(di.objective.Term):
        ...     name = "brightness"
        ...
        ...     def sums(self, view):
        ...         return [keras.ops.sum(view.images)]
        ...
        ...     def value(self, sums, batch_norms):
        ...         return sums[0]
        >>> view = di.objective.View(np.ones((1, 2, 2, 1)), [0], None, [])
        >>> term = Brightness(0.5)
        >>> float(term.value(term.sums(view), []))
        4.0
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
        """Draws the random numbers of a step; `sums` reads `view.numbers`.

        Args:
            key: Int tensor `(2,)`, a key of stateless random numbers.
            count: Int, number of images in the whole batch.
            features: Int, number of inputs of the teacher's dense head, or
                None.

        Returns:
            A tensor with one row per image. The default has no columns.
        """
        return tf.zeros((count, 0))

    def sums(self, view):
        """Computes tensors that add up over the pieces of a batch.

        Args:
            view: `View` of a piece of the batch.

        Returns:
            A list of tensors, or of named tuples of tensors.
        """
        raise NotImplementedError

    def value(self, sums, batch_norms):
        """Computes the term of the whole batch, before weighting.

        Args:
            sums: The results of `sums`, added up over the batch.
            batch_norms: List of the layers of `View.batch_norm_calls`, in
                that order.

        Returns:
            A scalar.
        """
        raise NotImplementedError

    def without_features(self):
        """Returns the term for a teacher without a dense head."""
        return self

    def get_config(self):
        return {"weight": self.weight}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


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
        if not 0 <= feature_dropout < 1:
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
    """R_feature: matches batch statistics to BatchNormalization's stored ones.

    mu and var are the mean and variance of a layer's input over the
    synthesized batch. m and v are the layer's moving mean and variance.

    Args:
        weight: Float, at least 0. Defaults to 1.
        normalized: Bool. False is the paper's form: the sum over the calls of
            ||mu - m|| + ||var - v||. True is not in the paper: the *mean* over
            the calls of the root mean square over channels of
            (mu - m)/sqrt(v + eps) plus that of (var - v)/(v + eps). For noise
            its value is near 1 in any network. Defaults to False.
        first_weight: Float, at least 0. Factor of the first call; the paper's
            ImageNet recipe uses 10. Defaults to 1.
        synchronized: Bool. True measures the statistics of the whole batch.
            False measures each replica and each micro-batch by itself and
            averages the distances. Defaults to True.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> term = di.FeatureStatistics(5.0, normalized=True)
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
    """R_TV: penalizes differences between neighboring pixels.

    Args:
        weight: Float, at least 0. Defaults to 1.
        form: `"l2"`, the paper's form, adds the norms of the differences over
            the whole batch. `"l1"` adds the means of their absolute values.
            Defaults to `"l2"`.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> images = np.array([[0.0, 1.0], [0.0, 1.0]], "float32")
        >>> view = di.objective.View(images[None, :, :, None], [0], None, [])
        >>> term = di.TotalVariation(form="l1")
        >>> float(term.value(term.sums(view), []))
        3.0
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
    """R_l2: penalizes the size of the pixel values.

    Args:
        weight: Float, at least 0. Defaults to 1.
        over: `"batch"` takes the norm of the batch as one vector, as the
            paper does for CIFAR-10. `"images"` takes the mean of the images'
            norms, as the paper does for ImageNet. Defaults to `"batch"`.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> images = np.array([3.0, 4.0], "float32").reshape(2, 1, 1, 1)
        >>> view = di.objective.View(images, [0, 1], None, [])
        >>> whole, each = di.L2(), di.L2(over="images")
        >>> float(whole.value(whole.sums(view), []))
        5.0
        >>> float(each.value(each.sums(view), []))
        3.5
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
    """R_compete = 1 - JS(p_T, p_S): rewards images that the student misjudges.

    Args:
        weight: Float, at least 0. Defaults to 1.
        temperature: Float, positive. Divides both networks' logits. Defaults
            to 3.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> logits = np.array([[2.0, 0.0]], "float32")
        >>> view = di.objective.View(None, [0], logits, [], logits)
        >>> term = di.Competition()
        >>> float(term.value(term.sums(view), []))  # teacher and student agree
        1.0

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
    """-KL(p_T || p_S) of images that teacher and student classify alike.

    An alternative to `Competition`. This term has no lower bound, whereas
    `Competition` levels off, so only the feature statistics restrain it.

    Args:
        weight: Float, at least 0. Defaults to 1.

    Example:
        >>> teacher = np.array([[2.0, 0.0]], "float32")
        >>> student = np.array([[1.0, 0.0]], "float32")
        >>> view = di.objective.View(None, [0], teacher, [], student)
        >>> term = di.AgreedDivergence()
        >>> round(float(term.value(term.sums(view), [])), 4)
        -0.0672

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
    """Draws the random numbers of one step for a list of terms.

    Args:
        terms: List of `Term`.
        seed: Int tensor `(2,)`.
        step: Int scalar tensor.
        count: Int, number of images in the whole batch.
        features: Int, number of inputs of the teacher's dense head, or None.

    Returns:
        A list with one tensor per term, each with `count` rows.
    """
    # The transforms fold in the steps 0, 1, ...; the terms take -1, -2, ...
    # so that no term shares a key with a transform.
    key = fold_in(seed, -1 - step)
    return [
        term.draw(fold_in(key, 1 + i) if i else key, count, features)
        for i, term in enumerate(terms)
    ]


def weighted_values(terms, sums, batch_norms):
    """Computes the weighted terms of the whole batch; their sum is the loss.

    Args:
        terms: List of `Term`.
        sums: List with the sums of each term, added up over the batch.
        batch_norms: List of layers, see `Term.value`.

    Returns:
        A list of scalars.

    Raises:
        ValueError: if the value of a term is not a scalar.
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
