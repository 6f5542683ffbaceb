"""The image priors against NumPy loops and finite differences."""

import numpy as np
import pytest
import tensorflow as tf

from tf_deepinversion.objective import priors


def differences(images):
    """Every difference of two neighbors, pixel by pixel: four lists."""
    count, height, width, channels = images.shape
    found = []
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        found.append(
            [
                images[i, y, x, c] - images[i, y + down, x + right, c]
                for i in range(count)
                for y in range(height - down)
                for x in range(width)
                for c in range(channels)
                if 0 <= x + right < width
            ]
        )
    return found


def numpy_tv_l2(images):
    return sum(np.sqrt(sum(d * d for d in ds)) for ds in differences(images))


def numpy_tv_l1(images):
    return sum(sum(map(abs, ds)) / len(ds) for ds in differences(images))


def numpy_l2_of_batch(images):
    return np.sqrt(sum(v * v for v in images.ravel()))


def numpy_l2_of_images(images):
    return np.mean([np.sqrt(sum(v * v for v in i.ravel())) for i in images])


PRIORS = [
    (priors.total_variation_l2, numpy_tv_l2),
    (priors.total_variation_l1, numpy_tv_l1),
    (priors.l2_of_batch, numpy_l2_of_batch),
    (priors.l2_of_images, numpy_l2_of_images),
]
each_prior = pytest.mark.parametrize(
    "prior,oracle", PRIORS, ids=[oracle.__name__ for _, oracle in PRIORS]
)


def noise(shape=(2, 4, 5, 3), seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def gradient_of(function, x):
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = function(x)
    return tape.gradient(value, x).numpy()


def central_differences(function, x, h=1e-6):
    slopes = np.zeros_like(x)
    for index in np.ndindex(*x.shape):
        step = np.zeros_like(x)
        step[index] = h
        slopes[index] = (function(x + step) - function(x - step)) / (2 * h)
    return slopes


@each_prior
@pytest.mark.parametrize("shape", [(2, 4, 5, 3), (1, 2, 2, 1), (3, 5, 3, 1)])
def test_value_is_that_of_loops_over_pixels(prior, oracle, shape):
    images = noise(shape)
    np.testing.assert_allclose(prior(images), oracle(images), rtol=1e-12)
    single = prior(images.astype("float32"))
    np.testing.assert_allclose(single, oracle(images), rtol=1e-5)


@each_prior
def test_gradient_is_that_of_finite_differences(prior, oracle):
    images = noise((2, 3, 4, 2), seed=1)
    np.testing.assert_allclose(
        gradient_of(prior, images),
        central_differences(oracle, images),
        rtol=1e-6,
        atol=1e-8,
    )


@each_prior
def test_gradient_at_zero_images_is_zero(prior, oracle):
    gradient = gradient_of(prior, np.zeros((2, 3, 4, 2), "float32"))
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize(
    "prior", [priors.total_variation_l2, priors.total_variation_l1]
)
def test_total_variation_of_constant_images_is_flat(prior):
    images = np.full((2, 4, 4, 3), 1.7, "float32")
    assert float(prior(images)) == 0
    np.testing.assert_array_equal(gradient_of(prior, images), 0)


def test_l2_of_constant_images_points_outwards():
    images = np.full((2, 2, 2, 1), -3.0)
    # Eight values of -3: each is -3 / sqrt(8 * 9) of the unit vector.
    np.testing.assert_allclose(
        gradient_of(priors.l2_of_batch, images), -1 / np.sqrt(8)
    )
    # Four values an image, and the mean of two images.
    np.testing.assert_allclose(
        gradient_of(priors.l2_of_images, images), -1 / np.sqrt(4) / 2
    )


def test_one_zero_image_leaves_the_gradient_of_the_others():
    images = noise((3, 2, 2, 1))
    images[1] = 0
    gradient = gradient_of(priors.l2_of_images, images)
    np.testing.assert_array_equal(gradient[1], 0)
    for i in (0, 2):
        expected = images[i] / np.linalg.norm(images[i]) / 3
        np.testing.assert_allclose(gradient[i], expected, rtol=1e-12)


def test_one_flat_direction_leaves_the_gradient_of_the_others():
    # Rows differ, columns do not: the horizontal norm is exactly zero.
    images = np.broadcast_to(
        np.array([0.0, 1.0, 4.0])[None, :, None, None], (1, 3, 3, 1)
    ).copy()
    gradient = gradient_of(priors.total_variation_l2, images)
    assert np.isfinite(gradient).all()
    np.testing.assert_allclose(
        gradient.sum(axis=2)[0, :, 0],
        # The vertical differences, 1 and 3 in each of three columns, have
        # the norm sqrt(30); the diagonal ones, two columns, sqrt(20).
        np.array([-1, -2, 3]) * (3 / np.sqrt(30) + 2 * 2 / np.sqrt(20)),
        rtol=1e-12,
    )


def test_total_variation_grows_with_the_root_of_the_batch_only_as_l2():
    images = noise()
    four = np.concatenate([images] * 4)
    np.testing.assert_allclose(
        priors.total_variation_l2(four), 2 * numpy_tv_l2(images)
    )
    np.testing.assert_allclose(
        priors.total_variation_l1(four), numpy_tv_l1(images)
    )


@each_prior
def test_images_that_are_not_numbers_do_not_look_perfect(prior, oracle):
    images = noise().astype("float32")
    images[0, 1, 1, 0] = np.nan
    assert np.isnan(float(prior(images)))


def test_root_and_norm():
    squares = np.array([0.0, 4.0, 1e-30])
    np.testing.assert_allclose(priors.root(squares), [0, 2, 1e-15])
    np.testing.assert_allclose(
        gradient_of(lambda x: tf.reduce_sum(priors.root(x)), squares),
        [0, 1 / 4, 1 / 2e-15],
    )
    np.testing.assert_allclose(priors.norm(np.array([[3.0], [-4.0]])), 5)


def test_images_of_one_row_or_pixel_have_the_differences_that_there_are():
    images = np.array([1.0, 4.0, 2.0], "float32").reshape(1, 1, 3, 1)
    for one in (images, images.transpose(0, 2, 1, 3)):
        assert float(priors.total_variation_l1(one)) == 2.5  # (3 + 2) / 2
        assert float(priors.total_variation_l2(one)) == pytest.approx(13**0.5)
    assert float(priors.total_variation_l1(images[:, :, :1])) == 0
