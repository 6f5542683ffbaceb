"""Jitter and flip: against np.roll, and as functions of (seed, step, i)."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_deepinversion import transforms
from tf_deepinversion.transforms import HorizontalFlip
from tf_deepinversion.transforms import Jitter
from tf_deepinversion.transforms import ResizedCrop
from tf_deepinversion.transforms import Shift

SHIFTS = np.array([[0, 0], [1, -2], [-3, 3], [2, 0], [-1, 4]], "int32")


def noise(shape=(5, 4, 6, 2), seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def numpy_roll(images, shifts):
    return np.stack(
        [
            np.roll(image, tuple(shift), axis=(0, 1))
            for image, shift in zip(images, shifts, strict=True)
        ]
    )


def vector_jacobian(function, x, upstream):
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = function(x)
    return tape.gradient(y, x, output_gradients=tf.constant(upstream)).numpy()


def draws(transform, *, seed=(3, 0), step=7, count=4):
    drawn = transforms.draw(
        [transform], tf.constant(seed), tf.constant(step), count
    )
    return drawn[0].numpy()


def test_roll_is_numpy_s_of_each_image():
    images = noise()
    np.testing.assert_array_equal(
        transforms.roll(tf.constant(images), SHIFTS),
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
        transforms.roll(tf.constant(images), shifts.astype("int32")),
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
        lambda x: transforms.roll(x, tf.constant(shifts)), images, upstream
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
    drawn = transforms.draw(
        [Jitter(30), Jitter(30)], tf.constant([0, 0]), tf.constant(0), 16
    )
    assert (drawn[0].numpy() != drawn[1].numpy()).any()


@each_transform
def test_draws_are_the_same_in_a_graph(transform):
    @tf.function
    def in_graph(step):
        return transforms.draw([transform], tf.constant((3, 0)), step, 9)[0]

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
    "transform", [Jitter(3), Shift(2), HorizontalFlip(0.25)]
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


PARTS = np.array(
    [
        [0.0, 0.0, 1.0, 1.0],  # top, left, height, width
        [0.25, 0.5, 0.5, 0.5],
        [0.7, 0.1, 0.3, 0.8],
        [0.6, 0.0, 0.4, 0.25],
        [0.1, 0.3, 0.55, 0.35],
    ]
)


def keras_crop(image, part):
    """By Keras's own sampling of a scaled and moved image."""
    sizes = np.array(image.shape[:2])
    enlarged = keras.ops.image.scale_and_translate(
        image,
        image.shape,
        scale=1 / part[2:],
        translation=-part[:2] * sizes / part[2:],
        spatial_dims=(0, 1),
        method="linear",
    )
    return keras.ops.convert_to_numpy(enlarged)


def test_resized_crop_is_scale_and_translate_of_keras():
    images = noise((5, 12, 20, 2))
    expected = np.stack(
        [keras_crop(i, p) for i, p in zip(images, PARTS, strict=True)]
    )
    crops = ResizedCrop()(tf.constant(images), tf.constant(PARTS)).numpy()
    np.testing.assert_allclose(crops[0], images[0], atol=1e-12)
    # Keras samples nothing beyond the image; at its edge ours goes on as it
    # was there, so compare what is sampled from within a part's own pixels.
    for crop, other, part in zip(crops, expected, PARTS, strict=True):
        edge = np.ceil(0.5 / part[2:]).astype(int)
        inside = tuple(slice(e, -e) for e in edge)
        assert crop[inside].size > 0
        np.testing.assert_allclose(crop[inside], other[inside], atol=1e-6)


def test_resized_crop_of_an_edge_repeats_it():
    row = np.arange(8.0)[None, :, None, None] + np.zeros((1, 8, 8, 1))
    part = np.array([[0.0, 0.0, 0.5, 1.0]])
    crop = ResizedCrop()(tf.constant(row), tf.constant(part)).numpy()
    expected = np.clip((np.arange(8) + 0.5) / 2 - 0.5, 0, 7)
    np.testing.assert_allclose(crop[0, :, 3, 0], expected, atol=1e-12)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_resized_crop_s_gradient_is_its_transpose(jit_compile):
    images, parts = noise((2, 3, 4, 1)), tf.constant(PARTS[3:])
    crop = tf.function(
        lambda x: ResizedCrop()(x, parts), jit_compile=jit_compile
    )
    units = np.eye(images.size).reshape(-1, *images.shape)
    matrix = np.stack(
        [crop(tf.constant(u)).numpy().ravel() for u in units], axis=1
    )
    upstream = noise(images.shape, seed=1)
    gradient = vector_jacobian(crop, images, upstream)
    np.testing.assert_allclose(
        gradient.ravel(), matrix.T @ upstream.ravel(), rtol=1e-12, atol=1e-14
    )


def test_resized_crop_draws_parts_of_the_area_and_shape():
    top, left, height, width = draws(
        ResizedCrop((0.2, 0.5), 1.5), count=20_000
    ).T.astype("float64")
    area, ratio = height * width, height / width
    assert area.min() > 0.1999 and area.max() < 0.5001
    assert area.mean() == pytest.approx(0.35, abs=0.005)
    assert ratio.min() > 1 / 1.5001 and ratio.max() < 1.5001
    assert np.log(ratio).mean() == pytest.approx(0, abs=0.01)
    assert min(top.min(), left.min()) >= 0
    assert max((top + height).max(), (left + width).max()) < 1.000001
    assert (top / (1 - height)).mean() == pytest.approx(0.5, abs=0.01)
    whole = draws(ResizedCrop((1.0, 1.0)), count=100)
    assert whole[:, 2:].max() == 1 and (whole[:, :2] >= 0).all()


def test_resized_crop_says_what_it_wants():
    for wrong in ({"area": (0.0, 1.0)}, {"area": (0.5, 0.2)}, {"ratio": 0.5}):
        with pytest.raises(ValueError, match="Received: (area|ratio)="):
            ResizedCrop(**wrong)
    crop = ResizedCrop((0.1, 0.9), 1.2)
    assert ResizedCrop.from_config(crop.get_config()).area == crop.area
