"""A recipe: all settings of an inversion except its networks."""

import dataclasses
import math

import keras
import numpy as np

from tf_deepinversion.core.checks import is_within
from tf_deepinversion.core.checks import require_positive
from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.inversion.settings import Settings
from tf_deepinversion.inversion.starts import Noise
from tf_deepinversion.inversion.starts import Start
from tf_deepinversion.objective.terms import Term
from tf_deepinversion.optimizers.pyramid_adam import PyramidAdam
from tf_deepinversion.optimizers.schedules import warmed_cosine
from tf_deepinversion.transforms.base import require_transforms


@keras.saving.register_keras_serializable("tf_deepinversion")
@dataclasses.dataclass(frozen=True, eq=False)
class Stage(Settings):
    """The steps of an inversion at one resolution.

    Args:
        steps: Int, at least 1.
        transforms: Sequence of transforms. Each step applies all of them, in
            this order, to the images before the networks read the images.
            Defaults to no transform.
        scale: Float in (0, 1], the size of the images divided by the size that
            the teacher reads. Defaults to 1.
        optimizer: A class of `keras.optimizers.Optimizer`, or its name. Each
            inversion makes a new optimizer. Defaults to `PyramidAdam`.
        optimizer_arguments: Dict, the arguments of that class, except for the
            learning rate. Defaults to `{}`.
        learning_rate: Float, positive, the largest learning rate. Defaults to
            0.2.
        warmup_steps: Int, at least 0, number of first steps in which the
            learning rate rises from 0; 0 with a constant rate. Defaults to 0.
        decay: `"constant"`, or `"cosine"` for a learning rate that falls to 0
            by the last step. Defaults to `"cosine"`.

    Raises:
        TypeError: if an element of `transforms` is no transform.
        ValueError: if an argument is out of range.

    >>> stage = Stage(100, optimizer="Adam", decay="constant")
    >>> float(stage.make_optimizer(steps=100).learning_rate)
    0.2
    """

    steps: int
    transforms: tuple = ()
    scale: float = 1.0
    optimizer: type = PyramidAdam
    optimizer_arguments: dict = dataclasses.field(default_factory=dict)
    learning_rate: float = 0.2
    warmup_steps: int = 0
    decay: str = "cosine"

    def __post_init__(self):
        require_whole(steps=self.steps)
        require_whole(0, warmup_steps=self.warmup_steps)
        require_positive(learning_rate=self.learning_rate)
        transforms = require_transforms(
            self.transforms, labeled=True, pixels=False
        )
        self.assign(
            transforms=tuple(transforms),
            optimizer=_optimizer_of(self.optimizer),
        )
        if "learning_rate" in self.optimizer_arguments:
            raise ValueError(
                "Pass `learning_rate` to the stage, which makes its schedule. "
                f"Received: optimizer_arguments={self.optimizer_arguments}"
            )
        if not is_within(self.scale, "(0, 1]"):
            raise ValueError(
                "`scale` of a stage must lie in (0, 1]. "
                f"Received: scale={self.scale}"
            )
        if self.decay not in ("constant", "cosine"):
            raise ValueError(
                '`decay` of a stage must be "constant" or "cosine". '
                f"Received: decay={self.decay!r}"
            )
        if self.warmup_steps and self.decay == "constant":
            raise ValueError(
                'A rate with decay="constant" has no first steps in which it '
                'rises: pass decay="cosine", or no `warmup_steps`. '
                f"Received: warmup_steps={self.warmup_steps}"
            )

    def shape(self, image_shape) -> tuple:
        """Returns the shape of this stage's images.

        Args:
            image_shape: Tuple `(height, width, channels)`, the teacher's.
        """
        height, width, channels = image_shape
        sides = (max(1, round(side * self.scale)) for side in (height, width))
        return (*sides, channels)

    def make_optimizer(self, steps) -> keras.optimizers.Optimizer:
        """Makes a new optimizer, with its schedule for a number of steps."""
        rate = self.learning_rate
        if self.decay == "cosine":
            rate = warmed_cosine(steps, rate, min(self.warmup_steps, steps))
        return self.optimizer(rate, **self.optimizer_arguments)


def _optimizer_of(kind):
    """Returns the optimizer class with this name, or a given class itself."""
    found = kind
    if isinstance(kind, str):
        found = keras.saving.get_registered_object(kind)
        found = found or getattr(keras.optimizers, kind, None)
    base = keras.optimizers.Optimizer
    if not (isinstance(found, type) and issubclass(found, base)):
        raise ValueError(
            "`optimizer` of a stage must be a class, such as "
            "keras.optimizers.Adam, or the name of one that Keras has or that "
            "`keras.saving.register_keras_serializable` registered. An "
            "inversion makes its own optimizer of it. "
            f"Received: optimizer={kind!r}"
        )
    return found


@keras.saving.register_keras_serializable("tf_deepinversion")
@dataclasses.dataclass(frozen=True, eq=False)
class GeneratorTraining(Settings):
    """The settings of a generator and of its training.

    Args:
        latent_scale: Float, not negative, the initial standard deviation of the
            latents. A small value makes the images of a class alike. With 0 no
            latents are learned: each step draws new latents, and
            `FastInversion.draw` makes any number of images. Defaults to 0.5.
        latent_noise: Float, positive, the standard deviation of the noise that
            each step adds to the latents. The generator must then draw good
            images around each latent and cannot memorize collages. Defaults to
            0.3.
        latent_rate: Float, positive, the learning rate of the latents divided
            by the learning rate of the generator's weights. Defaults to 1.
        meta_rate: Float in (0, 1]. After a batch, the generator's weights move
            by this share from their values before the batch to their values
            after it. Defaults to 1.
        width: Int, width of the `Generator`. Defaults to 64.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> training = di.GeneratorTraining(latent_scale=0.0, width=8)
        >>> recipe = di.RECIPES["generator"].replace(generator=training)
        >>> recipe.generator.width
        8

    References:
        - Fang et al., Up to 100x Faster Data-free Knowledge Distillation,
          arXiv:2112.06253, for learned latents
        - Nichol et al., On First-Order Meta-Learning Algorithms,
          arXiv:1803.02999, for `meta_rate`
    """

    latent_scale: float = 0.5
    latent_noise: float = 0.3
    latent_rate: float = 1.0
    meta_rate: float = 1.0
    width: int = 64

    def __post_init__(self):
        require_whole(width=self.width)
        if not is_within(self.latent_scale, "[0, inf)"):
            raise ValueError(
                "`latent_scale` must be 0 or more. "
                f"Received: latent_scale={self.latent_scale}"
            )
        for name, interval in (
            ("latent_noise", "(0, inf)"),
            ("latent_rate", "(0, inf)"),
            ("meta_rate", "(0, 1]"),
        ):
            if not is_within(getattr(self, name), interval):
                raise ValueError(
                    f"`{name}` must lie in {interval}. "
                    f"Received: {name}={getattr(self, name)}"
                )


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
