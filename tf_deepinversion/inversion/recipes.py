"""The recipes of `RECIPES`."""

import keras

from tf_deepinversion.inversion.generator_training import GeneratorTraining
from tf_deepinversion.inversion.recipe import Recipe
from tf_deepinversion.inversion.stage import Stage
from tf_deepinversion.inversion.starts import DeadLeaves
from tf_deepinversion.objective.image_terms import L2
from tf_deepinversion.objective.image_terms import TotalVariation
from tf_deepinversion.objective.student_terms import AgreedDivergence
from tf_deepinversion.objective.student_terms import Competition
from tf_deepinversion.objective.teacher_terms import CrossEntropy
from tf_deepinversion.objective.teacher_terms import FeatureStatistics
from tf_deepinversion.optimizers.pyramid_adam import PyramidAdam
from tf_deepinversion.transforms.resampling import ResizedCrop
from tf_deepinversion.transforms.shifts import HorizontalFlip
from tf_deepinversion.transforms.shifts import Jitter
from tf_deepinversion.transforms.shifts import Shift


def _imagenet_crops(steps, scale):
    return Stage(
        steps,
        [ResizedCrop(area=[0.25, 1.0]), HorizontalFlip()],
        scale,
        PyramidAdam,
        learning_rate=0.1,
        warmup_steps=20,
    )


def _imagenet_stage(steps, scale, jitter):
    return Stage(
        steps,
        [Jitter(jitter), HorizontalFlip()],
        scale,
        keras.optimizers.Adam,
        {"beta_1": 0.5, "beta_2": 0.9},
        learning_rate=0.25,
        warmup_steps=100,
    )


def _imagenet(*stages):
    return Recipe(
        source="arXiv:1912.08795, ImageNet",
        batch_size=84,
        loss=[
            CrossEntropy(1.0),
            FeatureStatistics(0.01, first_weight=10.0),
            TotalVariation(1e-4),
            L2(1e-5, over="images"),
        ],
        competition=Competition(0.2),
        stages=stages,
    )


# The paper's recipe without its l2 prior, because we could not verify the
# weight of the prior. The weight of the competition is ours.
_CIFAR10 = Recipe(
    source="arXiv:1912.08795, CIFAR-10, ResNet-34; competition: ours",
    loss=[CrossEntropy(1.0), FeatureStatistics(10.0), TotalVariation(2.5e-5)],
    competition=Competition(1.0),
    stages=[
        Stage(
            2000,
            [Jitter(2)],
            optimizer=keras.optimizers.Adam,
            learning_rate=0.05,
            decay="constant",
        )
    ],
)


# For pixels of small images. docs/inversion.md explains each choice.
_OURS = Recipe(
    source="ours",
    loss=[
        CrossEntropy(1.0, feature_dropout=0.5),
        FeatureStatistics(2.5, form="normalized"),
        TotalVariation(0.025, form="l1"),
    ],
    competition=Competition(1.0),
    stages=[Stage(1000, [Shift(2), HorizontalFlip()])],
)


# The recipes below compare statistics relative to each layer's, so that one
# weight serves any network. With the ResNet-20 that ships, the term of weight
# 86 (8.6) starts with the gradient of the plain form of weight 10 (1).


# For a generator (`FastInversion`) on small images.
_GENERATOR = Recipe(
    source="ours, after arXiv:2112.06253",
    loss=[
        CrossEntropy(1.5, feature_dropout=0.5),
        FeatureStatistics(8.6, form="relative"),
    ],
    competition=Competition(1.0),
    generator=GeneratorTraining(latent_scale=0.5, latent_noise=0.3),
    stages=[
        Stage(
            800,
            [Shift(2), HorizontalFlip()],
            optimizer=keras.optimizers.Adam,
            optimizer_arguments={"beta_1": 0.5},
            learning_rate=3e-3,
        )
    ],
)


# Ours, for students: the images also lie between the classes.
# docs/results/distillation_trials.md has the trials of its weights.
_DISTILLATION = _GENERATOR.replace(
    batch_size=128,
    loss=[CrossEntropy(0.3), FeatureStatistics(8.6, form="relative")],
    competition=AgreedDivergence(4.0),
    means_labels=False,
    latent_scale=0.0,
    latent_noise=1.0,
    width=32,
    steps=20,
    decay="constant",
)


# The paper's objective for small images with relative statistics, and an
# optimizer that needs 5 % of the steps. The images should show their labels.
_REPLAY_PIXELS = _CIFAR10.replace(
    source="ours, after arXiv:1912.08795, CIFAR-10",
    loss=[
        CrossEntropy(1.0),
        FeatureStatistics(86.0, form="relative"),
        TotalVariation(2.5e-5),
    ],
    steps=100,
    optimizer=PyramidAdam,
    learning_rate=0.2,
    decay="cosine",
)


def _fast(competition):
    """The published numbers of a generator for CIFAR, ten steps per batch."""
    return _GENERATOR.replace(
        source="ours, after arXiv:2112.06253: its numbers, our generator",
        loss=[CrossEntropy(0.5), FeatureStatistics(10.0)],
        competition=AgreedDivergence(competition),
        # The learning rate of the latents, 0.01, is five times the generator's.
        # The noise is ours.
        latent_scale=1.0,
        latent_noise=0.1,
        latent_rate=5.0,
        steps=10,
        transforms=[Shift(4), HorizontalFlip()],
        learning_rate=2e-3,
        decay="constant",
    )


RECIPES = {
    "cifar10_paper": _CIFAR10,
    "imagenet_multiresolution": _imagenet(
        _imagenet_stage(2000, 0.5, 15), _imagenet_stage(1000, 1.0, 30)
    ),
    # Ours: fewer steps, crops as in training, normalized statistics.
    "imagenet": Recipe(
        source="ours, after arXiv:1912.08795",
        batch_size=20,
        loss=[
            CrossEntropy(1.0),
            FeatureStatistics(10.0, form="normalized", first_weight=10.0),
            TotalVariation(0.025, form="l1"),
        ],
        competition=Competition(1.0),
        stages=[_imagenet_crops(400, 0.5), _imagenet_crops(200, 1.0)],
    ),
    "imagenet_20k": _imagenet(_imagenet_stage(20000, 1.0, 30)),
    "generator": _GENERATOR,
    "distillation": _DISTILLATION,
    # The same without competition: the images should show their labels.
    "replay": _DISTILLATION.replace(
        loss=[CrossEntropy(1.0), FeatureStatistics(8.6, form="relative")],
        means_labels=True,
    ),
    # Networks recognize these images less often than those of `ours`, but
    # students learn more from them: docs/results/distillation_trials.md.
    "distillation_pixels": _REPLAY_PIXELS.replace(
        loss=[
            CrossEntropy(0.3, temperature=3.0),
            FeatureStatistics(86.0, form="relative"),
            TotalVariation(2.5e-5),
        ],
        start=DeadLeaves(),
        snapshots=[0.5, 0.75],
        means_labels=False,
        optimizer_arguments={"beta_1": 0.85},
        learning_rate=0.25,
    ),
    "replay_pixels": _REPLAY_PIXELS,
    # For 32x32x3 teachers, on which we have not tried them. The weights of the
    # competition are the smallest and the largest published weights.
    "cifar10_fast": _fast(1.0),
    "cifar100_fast": _fast(1.33),
    "ours": _OURS,
}


def find(recipe) -> Recipe:
    """Returns the recipe with this name, or a given `Recipe` itself.

    Raises:
        ValueError: if there is no recipe with this name.
    """
    if isinstance(recipe, Recipe):
        return recipe
    if not isinstance(recipe, str) or recipe not in RECIPES:
        raise ValueError(
            f"`recipe` must be one of {sorted(RECIPES)}, or a `Recipe`, such "
            'as RECIPES["ours"].replace(steps=500). '
            f"Received: recipe={recipe!r}"
        )
    return RECIPES[recipe]
