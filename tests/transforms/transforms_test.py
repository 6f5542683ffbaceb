"""Jitter and flip: against np.roll, and as functions of (seed, step, i)."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from transformed import draws
from transformed import noise
from transformed import vector_jacobian

from tf_deepinversion.transforms import base
from tf_deepinversion.transforms.appearance import MixUp
from tf_deepinversion.transforms.appearance import Tone
from tf_deepinversion.transforms.resampling import Affine
from tf_deepinversion.transforms.resampling import ResizedCrop
from tf_deepinversion.transforms.shifts import HorizontalFlip
from tf_deepinversion.transforms.shifts import Jitter
from tf_deepinversion.transforms.shifts import Shift
from tf_deepinversion.transforms.shifts import roll

SHIFTS = np.array([[0, 0], [1, -2], [-3, 3], [2, 0], [-1, 4]], "int32")


def numpy_roll(images, shifts):
    return np.stack(
        [
            np.roll(image, tuple(shift), axis=(0, 1))
            for image, shift in zip(images, shifts, strict=True)
        ]
    )


def test_roll_is_numpy_s_of_each_image():
    images = noise()
    np.testing.assert_array_equal(
        roll(tf.constant(images), SHIFTS),
        numpy_roll(images, SHIFTS),
    )


def numpy_shift(images, shifts, p):
    height, width = images.shape[1:3]
    padded = np.pad(images, [(0, 0), (p, p), (p, p), (0, 0)], "symmetric")
    return np.stack(
        [
            image[p - down : p - down + height, p - right : p - right + width]
            for image, (down, right) in zip(padded, shifts, strict=True)
        ]
    )


def test_shift_is_a_crop_of_the_image_and_its_mirror_image():
    images, shifts = noise(), SHIFTS.clip(-3, 3)
    np.testing.assert_array_equal(
        Shift(3)(tf.constant(images), tf.constant(shifts)),
        numpy_shift(images, shifts, 3),
    )


def test_shift_s_gradient_is_its_transpose():
    images, shifts = noise((2, 3, 4, 1)), np.array([[1, -2], [-2, 0]], "int32")
    units = np.eye(images.size).reshape(-1, *images.shape)
    matrix = np.stack(
        [numpy_shift(u, shifts, 2).ravel() for u in units], axis=1
    )
    upstream = noise(images.shape, seed=1)
    gradient = vector_jacobian(
        lambda x: Shift(2)(x, tf.constant(shifts)), images, upstream
    )
    np.testing.assert_allclose(
        gradient.ravel(), matrix.T @ upstream.ravel(), rtol=1e-14
    )


def test_roll_by_more_than_the_image():
    images, shifts = noise((2, 3, 4, 1)), np.array([[7, -9], [-3, 8]])
    np.testing.assert_array_equal(
        roll(tf.constant(images), shifts.astype("int32")),
        numpy_roll(images, shifts),
    )


def test_roll_s_gradient_is_its_transpose():
    images = noise((2, 3, 4, 1))
    shifts = SHIFTS[1:3]
    # Row i of the matrix is what becomes of the i-th unit image.
    units = np.eye(images.size).reshape(-1, *images.shape)
    matrix = np.stack([numpy_roll(u, shifts).ravel() for u in units], axis=1)
    upstream = noise(images.shape, seed=1)
    gradient = vector_jacobian(
        lambda x: roll(x, tf.constant(shifts)), images, upstream
    )
    np.testing.assert_allclose(
        gradient.ravel(), matrix.T @ upstream.ravel(), rtol=1e-14
    )


@pytest.mark.parametrize("jit_compile", [False, True])
def test_gradient_through_both_in_a_graph(jit_compile):
    images, upstream = noise(), noise(seed=1)
    flipped = np.array([1, 0, 1, 1, 0], bool)[:, None, None, None]

    def both(x):
        rolled = Jitter(4)(x, tf.constant(SHIFTS))
        return HorizontalFlip()(rolled, tf.constant(flipped))

    @tf.function(jit_compile=jit_compile)
    def value_and_gradient(x, upstream):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = both(x)
        return y, tape.gradient(y, x, output_gradients=upstream)

    value, gradient = value_and_gradient(
        tf.constant(images), tf.constant(upstream)
    )
    expected = numpy_roll(images, SHIFTS)
    expected = np.where(flipped, expected[:, :, ::-1], expected)
    np.testing.assert_array_equal(value, expected)
    back = np.where(flipped, upstream[:, :, ::-1], upstream)
    np.testing.assert_allclose(gradient, numpy_roll(back, -SHIFTS))
    np.testing.assert_allclose(
        np.vdot(value, upstream), np.vdot(images, gradient)
    )


def test_flip_mirrors_left_and_right():
    images = noise()
    flipped = np.array([1, 0, 1, 1, 0], bool)
    result = HorizontalFlip()(images, flipped[:, None, None, None]).numpy()
    for image, flip, found in zip(images, flipped, result, strict=True):
        expected = image[:, ::-1] if flip else image
        np.testing.assert_array_equal(found, expected)


each_transform = pytest.mark.parametrize(
    "transform", [Jitter(30), HorizontalFlip()], ids=["jitter", "flip"]
)


@each_transform
@pytest.mark.parametrize("few,many", [(4, 8), (3, 7), (1, 100), (65, 300)])
def test_an_image_s_numbers_do_not_depend_on_the_batch(transform, few, many):
    np.testing.assert_array_equal(
        draws(transform, count=few), draws(transform, count=many)[:few]
    )


@each_transform
def test_draws_differ_by_step_and_seed_and_by_nothing_else(transform):
    first = draws(transform, count=64)
    np.testing.assert_array_equal(draws(transform, count=64), first)
    for other in ({"step": 8}, {"seed": (4, 0)}, {"seed": (3, 1)}):
        assert (draws(transform, count=64, **other) != first).any()


def test_two_transforms_of_a_list_draw_for_themselves():
    drawn = base.draw(
        [Jitter(30), Jitter(30)], tf.constant([0, 0]), tf.constant(0), 16
    )
    assert (drawn[0].numpy() != drawn[1].numpy()).any()


@each_transform
def test_draws_are_the_same_in_a_graph(transform):
    @tf.function
    def in_graph(step):
        return base.draw([transform], tf.constant((3, 0)), step, 9)[0]

    np.testing.assert_array_equal(
        in_graph(tf.constant(7)), draws(transform, count=9)
    )


@pytest.mark.parametrize("pixels", [0, 1, 2, 5])
def test_jitter_reaches_every_shift_alike(pixels):
    count = 1000 * (2 * pixels + 1)
    shifts = draws(Jitter(pixels), count=count)
    assert shifts.shape == (count, 2) and shifts.dtype == np.int32
    for axis in (0, 1):
        values, counts = np.unique(shifts[:, axis], return_counts=True)
        assert values.tolist() == list(range(-pixels, pixels + 1))
        # 1000 expected of each: six deviations of a binomial.
        assert np.abs(counts - 1000).max() <= 6 * np.sqrt(1000)
    if pixels:
        correlation = np.corrcoef(shifts.T)[0, 1]
        assert abs(correlation) < 6 / np.sqrt(count)


@pytest.mark.parametrize("probability", [0.0, 0.2, 0.5, 1.0])
def test_flip_s_probability(probability):
    flipped = draws(HorizontalFlip(probability), count=4000)
    assert flipped.shape == (4000, 1, 1, 1)
    spread = np.sqrt(probability * (1 - probability) / 4000)
    assert abs(flipped.mean() - probability) <= 6 * spread


@pytest.mark.parametrize(
    "transform",
    [Jitter(3), Shift(2), HorizontalFlip(0.25), MixUp(0.5), Tone(3.0)],
)
def test_config_round_trip(transform):
    config = keras.saving.serialize_keras_object(transform)
    again = keras.saving.deserialize_keras_object(
        json.loads(json.dumps(config))
    )
    assert type(again) is type(transform)
    assert vars(again) == vars(transform)


@pytest.mark.parametrize("pixels", [-1, 2.5])
def test_jitter_by_a_bad_number_of_pixels(pixels):
    with pytest.raises(ValueError, match=f"0 or more.*pixels={pixels}"):
        Jitter(pixels)


@pytest.mark.parametrize("probability", [-0.1, 1.5, np.nan])
def test_flip_with_a_bad_probability(probability):
    with pytest.raises(ValueError, match=f"Received: .*={probability}"):
        HorizontalFlip(probability)


def test_mixup_blends_with_others_of_the_batch():
    images = noise((6, 2, 3, 1))
    numbers = np.array(
        [
            [0.24, 0.99, 0.7],  # the sixth image, of which 0.3
            [0.26, 0.5, 0.0],  # not chosen
            [0.0, 0.0, 1.0],  # all its own
            [0.1, 0.34, 0.0],  # all the third
            [0.9, 0.9, 0.9],
            [0.2, 0.5, 0.5],  # half the fourth
        ]
    )
    mixed = MixUp(0.25)(tf.constant(images), tf.constant(numbers)).numpy()
    expected = images.copy()
    expected[0] = 0.7 * images[0] + 0.3 * images[5]
    expected[3] = images[2]
    expected[5] = (images[5] + images[3]) / 2
    np.testing.assert_allclose(mixed, expected, rtol=1e-12)


def test_mixup_s_others_and_shares_are_uniform():
    numbers = draws(MixUp(), count=6000)
    assert numbers.min() >= 0 and numbers.max() < 1
    spread = np.sqrt(1 / 12 / 6000)
    np.testing.assert_allclose(numbers.mean(0), 0.5, atol=6 * spread)
    assert np.abs(np.corrcoef(numbers.T) - np.eye(3)).max() < 6 / 6000**0.5


@pytest.mark.parametrize("probability", [-0.1, 1.5, np.nan])
def test_mixup_with_a_bad_probability(probability):
    with pytest.raises(ValueError, match=f"Received: .*={probability}"):
        MixUp(probability)


def test_tone_is_a_factor_times_a_power():
    images = np.array([[0.0, 64.0, 255.0], [1.0, 200.0, 255.0]])
    images = images.reshape(2, 1, 3, 1)
    numbers = np.array([[2.0, 0.5], [0.5, 1.2]])
    toned = Tone()(tf.constant(images), tf.constant(numbers)).numpy()
    expected = [
        [0, 255 * 0.5 * (64 / 255) ** 2, 127.5],
        [1.2 * 255**0.5, 255, 255],
    ]
    np.testing.assert_allclose(toned.reshape(2, 3), expected, atol=1e-5)


@pytest.mark.parametrize("strength", [0.25, 1, 4, 10])
def test_tone_leaves_black_black(strength):
    darkest_power = tf.constant([[2.0**-strength, 1.0]])
    black = tf.Variable(np.zeros((1, 1, 1, 1), "float32"))
    with tf.GradientTape() as tape:
        toned = Tone(2.0**strength)(black, darkest_power)
    assert float(toned[0, 0, 0, 0]) == 0
    assert np.isfinite(tape.gradient(toned, black)).all()


def test_mixup_blends_pixels_of_any_dtype():
    images = np.array([0, 100], "uint8").reshape(2, 1, 1, 1)
    numbers = tf.constant([[0.9, 0.0, 0.5], [0.1, 0.0, 0.25]])
    blended = np.ravel(MixUp()(tf.constant(images), numbers))
    np.testing.assert_allclose(blended, [0, 25])


def test_tone_s_powers_and_factors():
    g, c = draws(Tone(2.0, 0.5, 1.2), count=9000).T.astype("float64")
    assert 0.5 <= g.min() < 0.501 and 1.99 < g.max() <= 2.00001
    assert 0.5 <= c.min() < 0.501 and 1.19 < c.max() <= 1.20001
    assert np.log(g).mean() == pytest.approx(0, abs=0.03)
    middle = np.log(0.5 * 1.2) / 2
    assert np.log(c).mean() == pytest.approx(middle, abs=0.02)
    assert abs(np.corrcoef(g, c)[0, 1]) < 0.06


@pytest.mark.parametrize(
    "wrong", [{"gamma": 0.5}, {"darkest": 0.0}, {"brightest": 0.9}]
)
def test_tone_says_what_it_wants(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=f"Received: .*{name}="):
        Tone(**wrong)


def test_uniform_is_tensorflow_s_of_the_same_key():
    key = tf.constant([3, 7])
    for shape in ((5, 3), (1, 1), (129, 1, 1, 1)):
        np.testing.assert_array_equal(
            base.uniform(key, shape),
            tf.random.stateless_uniform(shape, key, alg="philox"),
        )


def test_xla_draws_the_same_numbers():
    drawn = [Shift(3), HorizontalFlip(), Tone(), MixUp(), Affine()]
    drawn.append(ResizedCrop())

    def numbers():
        return base.draw(drawn, [3, 1], tf.constant(7), 33)

    compiled = tf.function(numbers, jit_compile=True)()
    for one, other in zip(numbers(), compiled, strict=True):
        # Powers and cosines may be rounded otherwise.
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [(1, 5), (5, 1), (2, 1), (1, 1)])
def test_images_smaller_than_a_shift_are_mirrored_as_often(size):
    images = np.random.default_rng(0).normal(size=(3, *size, 2))
    shifts = np.array([[5, -5], [-4, 3], [0, 2]], "int32")
    found = Shift(5)(tf.constant(images), tf.constant(shifts)).numpy()
    for image, (down, right), moved in zip(images, shifts, found, strict=True):
        # Facing mirrors: the image, its mirror image, and around again.
        rows, columns = (
            np.r_[:n, n - 1 : -1 : -1][(np.arange(n) - by) % (2 * n)]
            if n > 1
            else np.zeros(1, int)
            for n, by in zip(size, (down, right), strict=True)
        )
        np.testing.assert_array_equal(moved, image[rows][:, columns])


@pytest.mark.parametrize(
    "transform",
    [Jitter(3), HorizontalFlip(), MixUp(1.0), Tone(), Affine(), ResizedCrop()],
)
@pytest.mark.parametrize("size", [(1, 4), (4, 1), (1, 1)])
def test_images_of_one_pixel_s_width_stay_finite_and_in_range(transform, size):
    images = np.random.default_rng(0).uniform(9, 200, (5, *size, 1))
    images = tf.constant(images, "float32")
    changed = transform(images, transform.draw(tf.constant([1, 2]), 5))
    assert changed.shape == images.shape and np.isfinite(changed).all()


class Cropped(HorizontalFlip):
    def __call__(self, images, numbers):
        return images[:, 1:]


def test_transforms_are_applied_in_their_order_each_by_its_own_numbers():
    images = noise()
    upside = HorizontalFlip(1.0)
    found = base.apply(
        [Jitter(4), upside],
        tf.constant(images),
        [tf.constant(SHIFTS), tf.ones((5, 1, 1, 1), "bool")],
    )
    np.testing.assert_array_equal(found, numpy_roll(images, SHIFTS)[:, :, ::-1])
    with pytest.raises(ValueError, match="argument 2 is shorter|shorter than"):
        base.apply([upside], tf.constant(images), [])


def test_a_transform_that_changes_the_shape_is_refused_where_it_is_known():
    images = tf.constant(noise())
    numbers = tf.ones((5, 1, 1, 1), "bool")
    with pytest.raises(ValueError, match=r"Cropped must keep.*\(5, 3, 6, 2\)"):
        base.apply([Cropped()], images, [numbers])

    @tf.function(
        input_signature=[tf.TensorSpec((None, None, None, 2), "float64")]
    )
    def flipped(images):
        return base.apply([HorizontalFlip()], images, [numbers])

    np.testing.assert_array_equal(flipped(images), images[:, :, ::-1])
