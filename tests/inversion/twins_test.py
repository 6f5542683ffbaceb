"""Two networks that are one function, with features of another size."""

import keras
import numpy as np
import pytest
from inversions import LABELS
from inversions import NORMALIZED
from keras import layers
from tiny import CLASSES
from tiny import SHAPE

from tf_deepinversion.inversion._make_synthesizer import make_synthesizer
from tf_deepinversion.inversion.recipes import RECIPES


def network(scale):
    """What its second BatchNormalization sees is `scale` times as large."""
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input(SHAPE)
    x = layers.Conv2D(4, 3, padding="same", use_bias=False)(x)
    x = layers.Activation("softplus")(layers.BatchNormalization()(x))
    x = layers.Rescaling(scale)(x)
    x = layers.Conv2D(6, 3, strides=2, padding="same", use_bias=False)(x)
    last = layers.BatchNormalization(epsilon=1e-3 * scale**2)
    x = layers.Activation("softplus")(last(x))
    x = layers.Dense(CLASSES)(layers.GlobalAveragePooling2D()(x))
    random = np.random.default_rng(0)
    mean, variance = random.normal(size=6), random.uniform(0.2, 1, 6)
    last.moving_mean.assign(scale * mean)
    last.moving_variance.assign(scale**2 * variance)
    return keras.Model(inputs, x)


def images_of(scale, recipe):
    model = make_synthesizer(network(scale), NORMALIZED, recipe=recipe)
    model.fit(LABELS, steps=[4] * len(model.recipe.stages), verbose=0)
    return model.images.astype(int)


FAST = "generator", "distillation_pixels"
FROM_PAPERS = [
    "cifar10_paper",
    "imagenet_multiresolution",
    "imagenet_20k",
    "cifar10_fast",
    "cifar100_fast",
]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in FAST else pytest.mark.slow)
        for name in RECIPES
        if name not in FROM_PAPERS
    ],
)
def test_the_size_of_features_changes_no_image(name, eagerly):
    assert np.abs(images_of(1, name) - images_of(8, name)).max() <= 1


@pytest.mark.slow
def test_by_the_paper_s_form_the_weights_mean_something_else():
    one, eight = (images_of(scale, "cifar10_paper") for scale in (1, 8))
    assert np.abs(one - eight).max() > 1
