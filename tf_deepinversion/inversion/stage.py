"""A stage of an inversion: its steps at one resolution."""

import dataclasses

import keras

from tf_deepinversion.core.checks import is_within
from tf_deepinversion.core.checks import require_positive
from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.inversion.settings import Settings
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
