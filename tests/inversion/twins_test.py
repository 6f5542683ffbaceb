"""Two networks that are one function, with features of another size."""

import keras
import numpy as np
import pytest
from inversions import LABELS
from inversions import NORMALIZED
from keras import layers
from tiny import CLASSES
from tiny import SHAPE

from tf_deepinversion.inversion.make_synthesizer import make_synthesizer
from tf_deepinversion.inversion.recipes import RECIPES
from tf_deepinversion.inversion.recipes import find


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


# Those whose statistics are relative to the layers'.
@pytest.mark.parametrize(
    "name",
    [
        name
        for name, recipe in RECIPES.items()
        if all(getattr(t, "form", "") != "plain" for t in recipe.loss)
    ],
)
def test_the_size_of_features_changes_no_image(name):
    assert np.abs(images_of(1, name) - images_of(8, name)).max() <= 1


@pytest.mark.slow
def test_relative_statistics_make_any_recipe_so():
    for name in ("distillation_pixels", "generator"):
        loss = [
            type(term)(term.weight, form="relative")
            if getattr(term, "form", "") == "plain"
            else term
            for term in find(name).loss
        ]
        recipe = find(name).replace(loss=loss)
        assert np.abs(images_of(1, recipe) - images_of(8, recipe)).max() <= 1
        # By the paper's form the weights mean something else.
        assert np.abs(images_of(1, name) - images_of(8, name)).max() > 1
