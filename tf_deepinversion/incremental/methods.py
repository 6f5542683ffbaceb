"""Methods of learning new classes: short lists of weighted terms."""

import dataclasses
from collections.abc import Callable
from typing import Any
from typing import NamedTuple

from keras import ops

from tf_deepinversion.incremental import losses
from tf_deepinversion.objective.losses import cross_entropy


class View(NamedTuple):
    """The outputs of the old and the new network for one stream of images.

    Attributes:
        labels: Int tensor `(batch,)`, the classes that the images show. For a
            synthesized image this is the prediction of the network that it was
            synthesized from, as in a `Pool`, not the requested class.
        logits: Float tensor `(batch, classes)`, the new network's.
        head_logits: Float tensor `(batch, classes)`, the same numbers. Their
            gradient reaches only the head.
        features: Float tensor `(batch, ..., features)`, the new network's.
        old_logits: Float tensor `(batch, old_classes)`.
        old_features: Float tensor of the shape of `features`, the old
            network's.

    Example:
        >>> view = di.incremental.View([0], *[np.zeros((1, 3))] * 5)
        >>> view.logits.shape
        (1, 3)
    """

    labels: Any
    logits: Any
    head_logits: Any
    features: Any
    old_logits: Any
    old_features: Any


class Step(NamedTuple):
    """The input of a method's terms.

    Attributes:
        new: The `View` of images of new classes.
        replayed: The `View` of images of old classes, or None.
        old_kernel: Float tensor `(features, old_classes)`, the old head's.

    Example:
        >>> view = di.incremental.View([3], *[np.zeros((1, 5))] * 5)
        >>> step = di.incremental.Step(view, None, np.zeros((4, 3)))
        >>> step.old_classes, step.classes
        (3, 5)
    """

    new: View
    replayed: View | None
    old_kernel: Any

    @property
    def old_classes(self) -> int:
        return self.old_kernel.shape[-1]

    @property
    def classes(self) -> int:
        return self.new.logits.shape[-1]


@dataclasses.dataclass(frozen=True)
class Term:
    """A weighted term of a method.

    Attributes:
        name: String, the name in the progress bar.
        weight: Float, finite, at least 0.
        equation: Function from a `Step`, and `settings`, to a float scalar.
        replays: Bool, whether the term needs images of old classes. Defaults to
            False.
        settings: Dict of further arguments of the equation. Defaults to `{}`.
        teaches: Int, smallest number of new classes that the term can teach; 0
            if the term teaches none. 2 for a term that only distinguishes new
            classes from each other. Defaults to 1.

    Raises:
        ValueError: if the weight is out of range.

    Example:
        >>> term = di.incremental.Term(
        ...     "size", 0.1, lambda step: keras.ops.mean(step.new.logits**2)
        ... )
        >>> view = di.incremental.View([3], *[np.ones((1, 5))] * 5)
        >>> float(term(di.incremental.Step(view, None, np.zeros((4, 3)))))
        1.0
    """

    name: str
    weight: float
    equation: Callable
    replays: bool = False
    settings: dict = dataclasses.field(default_factory=dict)
    teaches: int = 1

    def __post_init__(self):
        if not 0 <= self.weight < float("inf"):
            raise ValueError(
                "The weight of a term must be finite and not negative. "
                f"Received: {self.name}={self.weight}"
            )

    def __call__(self, step):
        """Computes the term of a `Step`, before weighting."""
        return self.equation(step, **self.settings)

    def identity(self) -> list:
        """Identifies the term, for a fingerprint."""
        return [self.equation, self.weight, sorted(self.settings.items())]


def _new_cross_entropy(step):
    return ops.mean(cross_entropy(step.new.labels, step.new.logits))


def _local_cross_entropy(step):
    return ops.mean(
        losses.local_cross_entropy(
            step.new.labels, step.new.logits, step.old_classes
        )
    )


def _balanced_cross_entropy(step):
    new, replayed = (
        cross_entropy(view.labels, view.head_logits)
        for view in (step.new, step.replayed)
    )
    return losses.balanced_mean(new, replayed, step.old_classes, step.classes)


def _new_divergence(step, temperature):
    view = step.new
    return ops.mean(
        losses.divergence(view.old_logits, view.logits, temperature)
    )


def _replayed_divergence(step):
    view = step.replayed
    return ops.mean(losses.divergence_over_all(view.old_logits, view.logits))


def _binary_cross_entropies(step):
    return ops.mean(
        losses.binary_cross_entropies(
            step.new.labels, step.new.old_logits, step.new.logits
        )
    )


def _feature_distance(step):
    distances = [
        losses.feature_distance(
            step.old_kernel, view.old_features, view.features
        )
        for view in (step.new, step.replayed)
    ]
    return ops.mean(ops.concatenate(distances))


def _local(name, weight):
    return Term(name, weight, _local_cross_entropy, teaches=2)


def _distillation(weight, temperature):
    return Term(
        "distillation",
        weight,
        _new_divergence,
        settings={"temperature": temperature},
        teaches=0,
    )


def finetune(new=1.0) -> list:
    """Makes one term: the new images' cross-entropy over all classes.

    Args:
        new: Float, finite, at least 0, weight of the cross-entropy over all
            classes. Defaults to 1.

    Returns:
        A list of `Term`.

    Raises:
        ValueError: if the weight is out of range.

    Example:
        >>> [term.name for term in di.incremental.methods.finetune()]
        ['new']
    """
    return [Term("new", new, _new_cross_entropy)]


def lwf(new=1.0, distillation=1.0, temperature=2.0) -> list:
    """Makes Learning without Forgetting, without images of old classes.

    The method only distinguishes new classes from each other, so there must be
    at least two.

    Args:
        new: Float, finite, at least 0, weight of the cross-entropy among the
            new classes. Defaults to 1.
        distillation: Float, finite, at least 0, weight of the divergence from
            the old network's outputs for new images. Defaults to 1.
        temperature: Float, positive, which divides the logits of both networks.
            Defaults to 2.

    Returns:
        A list of `Term`.

    Raises:
        ValueError: if a weight is out of range.

    Example:
        >>> [term.name for term in di.incremental.methods.lwf()]
        ['new', 'distillation']

    Reference:
        - Li and Hoiem, arXiv:1606.09282
    """
    return [
        _local("new", new),
        _distillation(distillation, temperature),
    ]


def lwf_mc(new=1.0) -> list:
    """Makes LwF.MC: a binary cross-entropy for every class.

    Args:
        new: Float, finite, at least 0, weight of the binary cross-entropies of
            all classes. Defaults to 1.

    Returns:
        A list of `Term`.

    Raises:
        ValueError: if the weight is out of range.

    Example:
        >>> [term.name for term in di.incremental.methods.lwf_mc()]
        ['new']

    Reference:
        - Rebuffi et al., iCaRL, arXiv:1611.07725
    """
    return [Term("new", new, _binary_cross_entropies)]


def replay(replayed=1.0, new=1.0, distillation=1.0) -> list:
    """Makes the paper's three terms, on synthesized and on new images.

    Args:
        replayed: Float, finite, at least 0, weight of the divergence from the
            old network's outputs for images of old classes. Defaults to 1.
        new: Float, finite, at least 0, weight of the cross-entropy of new
            images over all classes. Defaults to 1.
        distillation: Float, finite, at least 0, weight of the divergence from
            the old network's outputs for new images. Defaults to 1.

    Returns:
        A list of `Term`.

    Raises:
        ValueError: if a weight is out of range.

    Example:
        >>> terms = di.incremental.methods.replay(new=0.5)
        >>> [(term.name, term.weight) for term in terms]
        [('replayed', 1.0), ('new', 0.5), ('distillation', 1.0)]

    Reference:
        - Yin et al., arXiv:1912.08795
    """
    return [
        Term("replayed", replayed, _replayed_divergence, True, teaches=0),
        Term("new", new, _new_cross_entropy),
        _distillation(distillation, 1.0),
    ]


def abd(local=1.0, balance=1.0, distillation=0.2) -> list:
    """Makes Always Be Dreaming, which does not separate real from synthesized.

    The first term distinguishes new classes from each other. The second term
    trains only the head to distinguish old from new classes. The third term
    distills features. Only the second term uses the labels of images of old
    classes. The default weights are not from the paper.

    Args:
        local: Float, finite, at least 0, weight of the cross-entropy among the
            new classes. Defaults to 1.
        balance: Float, finite, at least 0, weight of the head's cross-entropy
            over all classes. Defaults to 1.
        distillation: Float, finite, at least 0, weight of the distance of the
            features. Defaults to 0.2.

    Returns:
        A list of `Term`.

    Raises:
        ValueError: if a weight is out of range.

    Example:
        >>> [term.name for term in di.incremental.methods.abd()]
        ['local', 'balance', 'distillation']

    Reference:
        - Smith et al., arXiv:2106.09701
    """
    return [
        _local("local", local),
        Term("balance", balance, _balanced_cross_entropy, True),
        Term("distillation", distillation, _feature_distance, True, teaches=0),
    ]


METHODS = {
    method.__name__: method for method in (finetune, lwf, lwf_mc, replay, abd)
}


def method(name, **weights) -> list:
    """Returns the terms of a method by its name, for instance from a flag.

    In Python, `methods.abd(distillation=0.2)` does the same.

    Args:
        name: String, one of `METHODS`.
        **weights: Arguments of that function.

    Returns:
        A list of `Term`.

    Raises:
        TypeError: if the function has no such argument.
        ValueError: if the name is unknown, or a weight is out of range.

    Example:
        >>> terms = di.incremental.method("replay", new=0.5)
        >>> [(term.name, term.weight) for term in terms]
        [('replayed', 1.0), ('new', 0.5), ('distillation', 1.0)]
    """
    if name not in METHODS:
        raise ValueError(
            f"`name` must be one of {sorted(METHODS)}. Received: name={name!r}"
        )
    return METHODS[name](**weights)
