"""A recipe: all settings of an inversion except its networks."""

import dataclasses
import math

import keras
import numpy as np

from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.inversion.generator_training import GeneratorTraining
from tf_deepinversion.inversion.settings import Settings
from tf_deepinversion.inversion.stage import Stage
from tf_deepinversion.inversion.starts import Noise
from tf_deepinversion.inversion.starts import Start
from tf_deepinversion.objective.terms import Term


@keras.saving.register_keras_serializable("tf_deepinversion")
@dataclasses.dataclass(frozen=True, eq=False)
class Recipe(Settings):
    """The objective of an inversion, its stages, and its start.

    `RECIPES` holds the recipes of the library; `replace` and `without` return
    changed copies. `keras.saving.serialize_keras_object` converts a recipe to a
    form that JSON can store.

    Args:
        loss: Sequence of `Term`. The objective is their weighted sum.
        stages: Sequence of `Stage`, which run one after the other.
        competition: The `Term` that joins the objective if the images compete
            with a student, or None. Defaults to None.
        batch_size: Int, number of images that `fit` makes without labels.
            Defaults to 256.
        generator: `GeneratorTraining` for a recipe that trains a generator
            (`FastInversion`), or None for a recipe that optimizes pixels.
            Defaults to None.
        start: `Start`, the images before the first step: `Noise` or
            `DeadLeaves`. A generator starts from its weights and takes `Noise`.
            Defaults to `Noise()`, independent pixels.
        snapshots: Sequence of floats in (0, 1), shares of the last stage's
            steps. After each share of the steps, the current images are kept as
            additional images. Defaults to no snapshot.
        means_labels: Bool, whether each image should show its label. False for
            images between the classes, from which students learn: no warning
            then tells that the teacher predicts other classes. Defaults to
            True.
        source: String, origin of the numbers. Defaults to `""`.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if a number is out of range.

    >>> from tf_deepinversion import CrossEntropy, TotalVariation
    >>> recipe = Recipe([CrossEntropy(), TotalVariation(0.1)], [Stage(50)])
    >>> recipe.replace(steps=20, batch_size=4).stages[0].steps
    20
    """

    loss: tuple
    stages: tuple
    competition: Term | None = None
    batch_size: int = 256
    generator: GeneratorTraining | None = None
    start: Start = Noise()
    snapshots: tuple = ()
    means_labels: bool = True
    source: str = ""

    def __post_init__(self):
        require_whole(batch_size=self.batch_size)
        self.assign(
            loss=_listed("loss", self.loss),
            stages=_listed("stages", self.stages),
            snapshots=_listed("snapshots", self.snapshots),
        )
        # A default object stands for a missing part, and passes the check.
        terms = [*self.loss, self.competition or Term()]
        _require_kind("`loss` and `competition`", terms, Term)
        _require_kind("`stages`", self.stages, Stage)
        _require_kind("`start`", [self.start], Start)
        _require_kind(
            "`generator`",
            [self.generator or GeneratorTraining()],
            GeneratorTraining,
        )
        if not self.loss or not self.stages:
            raise ValueError(
                "A recipe has at least one term and one stage. Received: "
                f"{len(self.loss)} terms and {len(self.stages)} stages"
            )
        if self.generator and len(self.stages) > 1:
            raise ValueError(
                "A generator draws images of one size: its recipe has one "
                f"stage. Received: {len(self.stages)} stages"
            )
        if self.generator and self.start != Noise():
            raise ValueError(
                "A generator starts from its weights, so its recipe takes no "
                "images as a start, and no coarse noise. "
                f"Received: start={self.start!r}"
            )
        if not all(0 < share < 1 for share in self.snapshots):
            raise ValueError(
                "`snapshots` are shares of the steps, in (0, 1). "
                f"Received: snapshots={self.snapshots}"
            )

    def replace(self, **changes) -> "Recipe":
        """Returns a copy with other fields.

        Args:
            **changes: Fields of the recipe; fields of `Stage`, which change
                every stage; or fields of `GeneratorTraining`.

        Raises:
            TypeError: if a field is unknown.
            ValueError: if a field of `GeneratorTraining` changes a recipe
                without a generator.
        """
        parts = {Recipe: {}, Stage: {}, GeneratorTraining: {}}
        for name, value in changes.items():
            # A field belongs to the recipe, to its stages or to its generator.
            owners = [
                kind for kind in parts if name in kind.__dataclass_fields__
            ]
            if not owners:
                known = sorted(n for k in parts for n in k.__dataclass_fields__)
                raise TypeError(
                    f"A recipe has the fields {', '.join(known)}. "
                    f"Received: {name}={value!r}"
                )
            parts[owners[0]][name] = value
        changes = parts[Recipe]
        if parts[Stage]:
            changes["stages"] = [
                dataclasses.replace(stage, **parts[Stage])
                for stage in changes.get("stages", self.stages)
            ]
        if parts[GeneratorTraining]:
            generator = changes.get("generator", self.generator)
            if generator is None:
                raise ValueError(
                    "This recipe optimizes pixels and has no generator: leave "
                    "these fields out, or pass "
                    "generator=GeneratorTraining(...). "
                    f"Received: {parts[GeneratorTraining]}"
                )
            changes["generator"] = dataclasses.replace(
                generator, **parts[GeneratorTraining]
            )
        return dataclasses.replace(self, **changes)

    def without(self, kind) -> "Recipe":
        """Returns a copy whose loss lacks the terms of a class.

        Args:
            kind: Class of `Term`, such as `FeatureStatistics` for a teacher
                that stores no statistics.

        Raises:
            ValueError: if the loss has no such term.

        >>> import tf_deepinversion as di
        >>> recipe = di.RECIPES["replay"].without(di.FeatureStatistics)
        >>> [term.name for term in recipe.loss]
        ['cross_entropy']
        """
        loss = [term for term in self.loss if not isinstance(term, kind)]
        if len(loss) == len(self.loss):
            names = [type(term).__name__ for term in self.loss]
            raise ValueError(
                f"The loss has the terms {names}. Received: {kind.__name__}"
            )
        return dataclasses.replace(self, loss=loss)

    def terms(self, with_student=False, with_features=True) -> list:
        """Returns the terms for a teacher and perhaps a student.

        Args:
            with_student: Bool, whether images compete with a student. Defaults
                to False.
            with_features: Bool, whether the teacher's logits are the outputs of
                a dense head. Feature dropout needs a dense head. Defaults to
                True.

        Raises:
            ValueError: if images compete and the recipe has no `competition`.
        """
        terms = list(self.loss)
        if with_student:
            if self.competition is None:
                raise ValueError(
                    "This recipe has no `competition`, so a student would "
                    "change nothing: recipe.replace(competition="
                    f"Competition(1.0)). Received: the recipe {self.source!r}"
                )
            terms.append(self.competition)
        if not with_features:
            terms = [term.without_features() for term in terms]
        return terms

    def steps_of_stages(self, steps=None) -> list:
        """Returns the number of steps of each stage.

        Args:
            steps: Int, or a list of one int per stage; None for the recipe's.
                Defaults to None.

        Raises:
            ValueError: if the list has another length, or a number is not a
                whole number of at least 1.
        """
        if steps is None:
            return [stage.steps for stage in self.stages]
        counts = [steps] if np.ndim(steps) == 0 else list(steps)
        if len(counts) != len(self.stages):
            raise ValueError(
                f"The recipe has {len(self.stages)} stages, so `steps` must be "
                f"a list of {len(self.stages)} numbers. Received: steps={steps}"
            )
        for count in counts:
            require_whole(steps=count)
        return [int(count) for count in counts]

    @property
    def images_per_label(self) -> int:
        """The number of images per label: the last image and the snapshots."""
        return 1 + len(self.snapshots)

    def moments(self, steps) -> list:
        """Returns the steps of the last stage that end with a snapshot."""
        # 0.07 * 100 is a little more than 7 in floating point.
        return [math.ceil(round(x * steps, 9)) for x in self.snapshots]


def _listed(name, parts) -> tuple:
    try:
        return tuple(parts)
    except TypeError as error:
        raise TypeError(
            f"`{name}` of a recipe must be a list. Received: {name}={parts!r}"
        ) from error


def _require_kind(what, parts, kind):
    wrong = [part for part in parts if not isinstance(part, kind)]
    if wrong:
        raise TypeError(
            f"{what} of a recipe must be of the class `{kind.__name__}`. "
            f"Received: {wrong[0]!r}"
        )
