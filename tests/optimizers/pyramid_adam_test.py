"""Adam in every level of a pyramid, against NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_deepinversion import PyramidAdam


def pool(x, k):
    n, h, w, c = x.shape
    return x.reshape(n, h // k, k, w // k, k, c).mean((2, 4))


def enlarge(x, size):
    """Bilinear, with pixels centered at halves and edges repeated."""

    def matrix(few, many):
        places = (np.arange(many) + 0.5) * few / many - 0.5
        places = places.clip(0, few - 1)
        low = np.floor(places).astype(int)
        high = np.minimum(low + 1, few - 1)
        rows = np.zeros((many, few))
        rows[np.arange(many), low] += 1 - (places - low)
        rows[np.arange(many), high] += places - low
        return rows

    down, right = matrix(x.shape[1], size[0]), matrix(x.shape[2], size[1])
    return np.einsum("ab,nbwc,dw->nadc", down, x, right)


def numpy_pyramid_adam(x, gradients, rate, b1, b2, levels, epsilon=1e-8):
    moments = [[0.0, 0.0] for _ in range(levels)]
    for t, gradient in enumerate(gradients, 1):
        for level in range(levels):
            g = pool(gradient, 2**level)
            m, v = moments[level]
            m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
            moments[level] = [m, v]
            step = (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + epsilon)
            x = x - rate * enlarge(step, x.shape[1:3])
    return x


def some_gradients(steps=4, shape=(2, 8, 12, 3)):
    return np.random.default_rng(0).normal(size=(steps, *shape))


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_steps_are_numpys(levels):
    gradients = some_gradients()
    start = np.random.default_rng(1).normal(size=gradients.shape[1:])
    images = keras.Variable(start, dtype="float64")
    optimizer = PyramidAdam(0.3, 0.5, 0.9, levels=levels)
    apply = tf.function(lambda g: optimizer.apply([g], [images]))
    optimizer.build([images])
    for gradient in gradients:
        apply(tf.constant(gradient))
    expected = numpy_pyramid_adam(start, gradients, 0.3, 0.5, 0.9, levels)
    np.testing.assert_allclose(images.numpy(), expected, rtol=1e-6, atol=1e-6)


def test_one_level_is_keras_adam():
    gradients = some_gradients().astype("float32")
    moved = []
    for optimizer in (
        PyramidAdam(0.1, 0.9, 0.999, 1e-8, levels=1),
        keras.optimizers.Adam(0.1, 0.9, 0.999, 1e-8),
    ):
        images = keras.Variable(np.zeros(gradients.shape[1:], "float32"))
        for gradient in gradients:
            optimizer.apply([tf.constant(gradient)], [images])
        moved.append(images.numpy())
    np.testing.assert_allclose(*moved, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("size", "levels"),
    [((6, 9), 1), ((28, 28), 3), ((32, 48), 3), ((224, 224), 6)],
)
def test_levels_by_default_end_at_seven_pixels(size, levels):
    optimizer = PyramidAdam()
    shapes = optimizer._shapes((1, *size, 3))
    assert len(shapes) == levels
    assert levels == 1 or 7 <= min(shapes[-1][1:3]) < 14


@pytest.mark.parametrize(("levels", "found"), [(4, 4), (5, 5), (40, 5)])
def test_the_coarsest_level_is_one_pixel(levels, found):
    shapes = PyramidAdam(levels=levels)._shapes((1, 5, 9, 1))
    assert len(shapes) == found
    assert levels < 5 or shapes[-1] == (1, 1, 1, 1)


def test_a_common_gradient_moves_all_levels_alike():
    images = keras.Variable(np.zeros((1, 28, 28, 1), "float32"))
    PyramidAdam(0.1).apply([tf.ones((1, 28, 28, 1))], [images])
    np.testing.assert_allclose(images.numpy(), -0.3, rtol=1e-5)


def test_odd_sizes_and_round_trip():
    optimizer = PyramidAdam(0.1, 0.6, 0.8, levels=3)
    twin = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert twin.get_config() == optimizer.get_config()
    images = keras.Variable(np.zeros((1, 9, 7, 2), "float32"))
    twin.apply([tf.ones((1, 9, 7, 2))], [images])
    np.testing.assert_allclose(images.numpy(), -0.3, rtol=1e-5)


def test_bad_arguments():
    with pytest.raises(ValueError, match="`levels` must be.*levels=0"):
        PyramidAdam(levels=0)
    for wrong in (
        {"beta_1": 1.0},
        {"beta_2": -0.1},
        {"beta_2": float("nan")},
        {"epsilon": 0.0},
        {"epsilon": float("nan")},
    ):
        ((name, value),) = wrong.items()
        with pytest.raises(ValueError, match=f"`{name}` must.*{name}={value}"):
            PyramidAdam(**wrong)
    vector = keras.Variable(np.zeros(3, "float32"))
    optimizer = PyramidAdam()
    for _ in range(2):  # also after it was refused once
        with pytest.raises(ValueError, match=r"moves images.*Adam.*\(3,\)"):
            optimizer.build([vector])
