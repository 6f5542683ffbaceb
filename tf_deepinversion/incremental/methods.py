"""Methods of learning new classes: small lists of weighted terms."""

import dataclasses
from collections.abc import Callable
from typing import Any
from typing import NamedTuple

from keras import ops

from tf_deepinversion.core.checks import warn_caller
from tf_deepinversion.incremental import losses
from tf_deepinversion.objective.losses import cross_entropy


class View(NamedTuple):
    """What the old and the new network make of one stream of images.

    Attributes:
        labels: Int tensor `(batch,)`, what the images show: of synthesized
            ones what the network that made them takes them for, as the
            `labels` of a `Pool` are. What they were asked for they may not be.
        logits: Float tensor `(batch, classes)`, the new network's.
        head_logits: The same; their gradient reaches the head alone.
        features: Float tensor `(batch, ..., features)`, the new network's.
        old_logits: Float tensor `(batch, old_classes)`.
        old_features: As `features`, the old network's.
    """

    labels: Any
    logits: Any
    head_logits: Any
    features: Any
    old_logits: Any
    old_features: Any


class Step(NamedTuple):
    """What the terms of a method are computed of.

    Attributes:
        new: The `View` of images of the new classes.
        replayed: The `View` of images of old classes, or None.
        old_kernel: Float tensor `(features, old_classes)`, the old head's.
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
        name: String, under which the bar shows it.
        weight: Float, finite, 0 or more.
        equation: Function from a `Step`, and `settings`, to a float scalar.
        replays: Bool, whether it needs images of old classes.
        settings: Dict of further arguments of the equation.
        teaches: Int, from how many new classes on the term teaches them; 0 if
            it never does. 2 of what tells them from each other alone.

    Raises:
        ValueError: if the weight is out of range.
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
        """The term of a `Step`, before its weight."""
        return self.equation(step, **self.settings)

    def identity(self) -> list:
        """What tells this term from others, for a fingerprint."""
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
    """Cross-entropy of the new images over all classes, and nothing else."""
    return [Term("new", new, _new_cross_entropy)]


def lwf(new=1.0, distillation=1.0, temperature=2.0) -> list:
    """Learning without Forgetting: no images of old classes.

    New classes are told from each other alone, so there must be two at least.

    Reference:
        - Li and Hoiem, arXiv:1606.09282
    """
    return [
        _local("new", new),
        _distillation(distillation, temperature),
    ]


def lwf_mc(new=1.0) -> list:
    """LwF.MC: a binary cross-entropy of every class.

    Reference:
        - Rebuffi et al., iCaRL, arXiv:1611.07725
    """
    return [Term("new", new, _binary_cross_entropies)]


def replay(replayed=1.0, new=1.0, distillation=1.0) -> list:
    """The paper's three terms, on synthesized and on new images.

    Reference:
        - Yin et al., arXiv:1912.08795
    """
    return [
        Term("replayed", replayed, _replayed_divergence, True, teaches=0),
        Term("new", new, _new_cross_entropy),
        _distillation(distillation, 1.0),
    ]


def abd(local=1.0, balance=1.0, distillation=0.2) -> list:
    """Always Be Dreaming: what tells real from synthesized is not learned.

    New classes are told from each other alone; old from new by the head, the
    features being left as they are; and features are distilled. The weights
    are ours. `balance` alone looks at the labels of images of old classes.

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


def require_teaching(terms, new_classes):
    """Refuses terms by which nothing is learned of so few new classes.

    A softmax over one class alone is 1, whatever its logit is.

    Args:
        terms: List of `Term`.
        new_classes: Int.

    Warns:
        UserWarning: if a term teaches nothing, but others do.

    Raises:
        ValueError: if none does.
    """
    weighted = [term for term in terms if term.weight]
    idle = [term.name for term in weighted if term.teaches > new_classes]
    if not idle:
        return
    if not any(1 <= term.teaches <= new_classes for term in weighted):
        raise ValueError(
            "The new classes are told from each other alone, and of one there "
            "is nothing to tell: it would not be learned. Teach two or more at "
            'once, or take another method, such as "replay", "abd" or '
            f'"lwf_mc". Received: {new_classes} new class, and of the terms '
            f"{[term.name for term in terms]} none that teaches it"
        )
    warn_caller(
        f"With {new_classes} new class the terms {idle} are 0 and teach "
        "nothing: there is nothing to tell it from but old classes, which the "
        "other terms do."
    )


def method(name, **weights) -> list:
    """The terms of a method whose name was given in words, as by a flag.

    In Python `methods.abd(distillation=0.2)` says the same.

    Args:
        name: String, one of `METHODS`.
        **weights: The arguments of that function.

    Raises:
        TypeError: if the function has no such argument.
        ValueError: if the name is not known, or a weight is out of range.

    >>> [(term.name, term.weight) for term in method("replay", new=0.5)]
    [('replayed', 1.0), ('new', 0.5), ('distillation', 1.0)]
    """
    if name not in METHODS:
        raise ValueError(
            f"`name` must be one of {sorted(METHODS)}. Received: name={name!r}"
        )
    return METHODS[name](**weights)
