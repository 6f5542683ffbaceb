"""The same function by the statistics of other images, against Keras alone."""

import keras
import numpy as np
import pytest
from inversions import NORMALIZED
from keras import layers
from tiny import SHAPE
from tiny import tiny_teacher

from tf_deepinversion.metrics.recognition import feature_distance
from tf_deepinversion.networks.replace_statistics import restated

IMAGES = np.random.default_rng(0).integers(0, 200, (40, *SHAPE), "uint8")
OTHERS = np.random.default_rng(1).integers(0, 256, (20, *SHAPE), "uint8")


def fed(images):
    return (images.astype("float32") - NORMALIZED.mean) / NORMALIZED.std


def test_it_answers_as_before():
    model = tiny_teacher()
    before = model.get_weights()
    copy = restated(model, IMAGES, NORMALIZED)
    for images in (IMAGES, OTHERS):
        expected, found = model(fed(images)), copy(fed(images))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert copy.name == model.name


def test_its_statistics_are_those_of_the_images():
    model = tiny_teacher()
    copy = restated(model, IMAGES, NORMALIZED)
    for name in ("bn0", "bn1"):
        layer = model.get_layer(name)
        seen = keras.Model(model.input, layer.input)(fed(IMAGES)).numpy()
        twin = copy.get_layer(name)
        np.testing.assert_allclose(
            twin.moving_mean, seen.mean((0, 1, 2)), rtol=1e-4, atol=1e-5
        )
        np.testing.assert_allclose(
            twin.moving_variance, seen.var((0, 1, 2)), rtol=1e-3
        )
    assert feature_distance(model, IMAGES, NORMALIZED) > 0.5
    assert feature_distance(copy, IMAGES, NORMALIZED) < 1e-3


@pytest.mark.parametrize("seed", range(3))
def test_a_channel_far_from_its_mean_that_hardly_varies(seed):
    """Its variance would be a small difference of large numbers."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input(SHAPE)
    x = layers.Conv2D(8, 3)(inputs)
    x = layers.BatchNormalization(epsilon=1e-5, name="bn")(x)
    x = layers.GlobalAveragePooling2D()(layers.ReLU()(x))
    model = keras.Model(inputs, layers.Dense(4)(x))
    model.get_layer("bn").moving_variance.assign(np.full(8, 400.0))
    images = np.full((12, *SHAPE), 200, "uint8")
    images[0, 0, 0] = 201
    copy = restated(model, images, NORMALIZED)
    twin = copy.get_layer("bn")
    seen = keras.Model(model.input, model.get_layer("bn").input)(fed(images))
    seen = np.float64(seen).reshape(-1, 8)
    np.testing.assert_allclose(twin.moving_mean, seen.mean(0), rtol=1e-5)
    np.testing.assert_allclose(twin.moving_variance, seen.var(0), rtol=0.1)
    np.testing.assert_allclose(
        copy(fed(images)), model(fed(images)), rtol=1e-4, atol=1e-4
    )


def test_a_layer_that_is_called_twice_has_the_statistics_of_both():
    inputs = keras.Input(SHAPE)
    norm = layers.BatchNormalization()
    outputs = norm(2.0 * norm(inputs) + 1.0)
    outputs = layers.Dense(3)(layers.GlobalAveragePooling2D()(outputs))
    model = keras.Model(inputs, outputs)
    copy = restated(model, IMAGES, NORMALIZED)
    # With mean 0 and variance 1 at first, it only rounds.
    both = np.stack([fed(IMAGES), 2 * fed(IMAGES) / np.sqrt(1.001) + 1])
    twin = copy.layers[1]
    np.testing.assert_allclose(twin.moving_mean, [both.mean()], rtol=1e-4)
    np.testing.assert_allclose(twin.moving_variance, [both.var()], rtol=1e-4)


@keras.saving.register_keras_serializable("restatement_test")
class Frozen(layers.Layer):
    """As other libraries have it: neither `axis` nor `epsilon`."""

    def build(self, shape):
        for name, first in (
            ("gamma", "ones"),
            ("beta", "zeros"),
            ("moving_mean", "zeros"),
            ("moving_variance", "ones"),
        ):
            weight = self.add_weight(
                shape=shape[-1:], initializer=first, trainable=False, name=name
            )
            setattr(self, name, weight)

    def call(self, x):
        x = (x - self.moving_mean) / (self.moving_variance + 1e-3) ** 0.5
        return self.gamma * x + self.beta


def test_a_layer_of_another_library_needs_no_epsilon():
    inputs = keras.Input(SHAPE)
    x = layers.GlobalAveragePooling2D()(Frozen()(inputs))
    model = keras.Model(inputs, layers.Dense(3)(x))
    copy = restated(model, IMAGES, NORMALIZED)
    expected, found = model(fed(OTHERS)), copy(fed(OTHERS))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    mean = copy.layers[1].moving_mean
    np.testing.assert_allclose(mean, [fed(IMAGES).mean()], rtol=1e-4)


def test_bad_arguments():
    with pytest.raises(ValueError, match="at least one image"):
        restated(tiny_teacher(), IMAGES[:0], NORMALIZED)
    bare = keras.Sequential(
        [
            keras.Input(SHAPE),
            layers.BatchNormalization(scale=False, name="bare"),
            layers.Flatten(),
            layers.Dense(3),
        ]
    )
    with pytest.raises(ValueError, match=r"gamma and beta.*\['bare'\]"):
        restated(bare, IMAGES, NORMALIZED)
