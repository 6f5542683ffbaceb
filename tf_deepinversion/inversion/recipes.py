"""Recipes: objectives, transforms and schedules of steps, as plain data.

A recipe is a dictionary of

- `source`: where its numbers come from;
- `moves`: `"generator"` if it is one for `FastInversion`;
- `batch_size`: how many images `fit` makes when no labels are given;
- `loss`: the terms, pairs of a class name in `objective` and its arguments;
- `competition`: the term added where there is a student to compete with;
- `coarseness`, optional: the noise that pixels start from is drawn every so
  many of them both ways, and interpolated; 1 if missing;
- `latents` and `generator`, where that moves: arguments of `FastInversion`, and
  of the `Generator` that it makes;
- `snapshots`, optional: the shares of the last stage's steps after which pixels
  are kept as images of their own, besides those of the last step; `[]` if
  missing;
- `stages`, done one after the other, each a dictionary of `steps`, `scale` (of
  the teacher's resolution), `transforms` (pairs of a name in
  `TRANSFORMS` and its arguments), `optimizer` (`"Adam"` or `"PyramidAdam"` and
  its arguments), `learning_rate`, `warmup_steps` and `decay` (`"constant"` or
  `"cosine"`).
"""

import math

import keras
import numpy as np

from tf_deepinversion import objective
from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.inversion.known_recipes import RECIPES
from tf_deepinversion.optimizers.pyramid_adam import PyramidAdam
from tf_deepinversion.optimizers.schedules import warmed_cosine
from tf_deepinversion.transforms.resampling import Affine
from tf_deepinversion.transforms.resampling import ResizedCrop
from tf_deepinversion.transforms.shifts import HorizontalFlip
from tf_deepinversion.transforms.shifts import Jitter
from tf_deepinversion.transforms.shifts import Shift

OPTIMIZERS = {"Adam": keras.optimizers.Adam, "PyramidAdam": PyramidAdam}


TRANSFORMS = {
    transform.__name__: transform
    for transform in (Affine, HorizontalFlip, Jitter, ResizedCrop, Shift)
}


# What a recipe, its latents and each of its stages may say; all that a stage
# may say it must.
_FIELDS = {
    "source",
    "moves",
    "batch_size",
    "loss",
    "competition",
    "coarseness",
    "latents",
    "generator",
    "snapshots",
    "stages",
}


_LATENTS = {"latent_scale", "latent_noise", "latent_rate", "meta_rate"}


_STAGE = {
    "steps",
    "scale",
    "transforms",
    "optimizer",
    "learning_rate",
    "warmup_steps",
    "decay",
}


def find(recipe) -> dict:
    """The recipe of that name; a dictionary is a recipe already.

    Raises:
        ValueError: if there is none of that name, or a field of the dictionary
            is missing or unknown.
    """
    if isinstance(recipe, dict):
        _require_fields("A recipe", recipe, {"batch_size", "loss", "stages"})
        _require_known("A recipe", recipe, _FIELDS)
        _require_known("`latents`", recipe.get("latents", {}), _LATENTS)
        for stage in recipe["stages"]:
            _require_fields("A stage", stage, _STAGE)
            _require_known("A stage", stage, _STAGE)
            if stage["decay"] not in ("constant", "cosine"):
                raise ValueError(
                    '`decay` of a stage must be "constant" or "cosine". '
                    f"Received: decay={stage['decay']!r}"
                )
        return recipe
    if recipe not in RECIPES:
        raise ValueError(
            f"`recipe` must be one of {sorted(RECIPES)} or a dictionary like "
            f"them. Received: recipe={recipe!r}"
        )
    return RECIPES[recipe]


def _require_fields(what, part, needed):
    missing = needed - set(part)
    if missing:
        raise ValueError(
            f"{what} is a dictionary like those of `RECIPES`: copy one. "
            f"Received: one without {sorted(missing)}"
        )


def _require_known(what, part, known):
    unknown = set(part) - known
    if unknown:
        raise ValueError(
            f"{what} has no other fields than {sorted(known)}. "
            f"Received: {sorted(unknown)}"
        )


def make_loss(recipe, with_student=False, with_features=True) -> list:
    """The terms of a recipe for a teacher and perhaps a student.

    Args:
        recipe: A recipe.
        with_student: Bool, whether there is a student to compete with.
        with_features: Bool, whether a dense head gives the teacher's logits;
            of another head no features can be dropped.
    """
    pairs = list(recipe["loss"])
    if with_student:
        _require_fields("A recipe with a student", recipe, {"competition"})
        pairs.append(recipe["competition"])
    terms = []
    for name, config in pairs:
        config = dict(config)
        if not with_features:
            config.pop("feature_dropout", None)
        terms.append(getattr(objective, name)(**config))
    return terms


def make_transforms(stage) -> list:
    """The transforms of a stage."""
    return [TRANSFORMS[name](**config) for name, config in stage["transforms"]]


def shape_of(stage, image_shape) -> tuple:
    """The shape of the images of a stage.

    Args:
        stage: A stage of a recipe.
        image_shape: Tuple `(height, width, channels)`, the teacher's.
    """
    height, width, channels = image_shape
    sides = (max(1, round(side * stage["scale"])) for side in (height, width))
    return (*sides, channels)


def make_optimizer(stage, steps) -> keras.optimizers.Optimizer:
    """The stage's optimizer, its schedule fitted to a number of steps."""
    peak, warmup = stage["learning_rate"], min(stage["warmup_steps"], steps)
    if stage["decay"] == "cosine":
        rate = warmed_cosine(steps, peak, warmup)
    else:
        rate = peak
    name, config = stage["optimizer"]
    return OPTIMIZERS[name](rate, **config)


def steps_of_stages(recipe, steps=None) -> list:
    """The steps of each stage of a recipe, its own if `steps` is None.

    Raises:
        ValueError: if there are not as many as stages, or one is not a whole
            number of at least 1.
    """
    stages = recipe["stages"]
    if steps is None:
        return [stage["steps"] for stage in stages]
    counts = [steps] if np.ndim(steps) == 0 else list(steps)
    if len(counts) != len(stages):
        raise ValueError(
            f"The recipe has {len(stages)} stages, so `steps` must be a list "
            f"of as many. Received: steps={steps}"
        )
    for count in counts:
        require_whole(steps=count)
    return [int(count) for count in counts]


def images_per_label(recipe) -> int:
    """How many images come of each label: the last, and `snapshots`."""
    return 1 + len(recipe.get("snapshots", ()))


def moments(recipe, steps) -> list:
    """After how many of the last stage's steps its snapshots are taken.

    >>> moments({"snapshots": [0.5, 0.75]}, 100)
    [50, 75]
    """
    return [math.ceil(share * steps) for share in recipe.get("snapshots", ())]
