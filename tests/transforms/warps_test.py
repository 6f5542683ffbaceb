"""Crops and affine maps: against Keras, NumPy and their own transposes."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from transformed import draws
from transformed import noise
from transformed import vector_jacobian

from tf_deepinversion.transforms.resampling import Affine
from tf_deepinversion.transforms.resampling import ResizedCrop

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


def numpy_affine(image, numbers):
    """Pixel by pixel, by the definition; the border goes on outside."""
    a, b, c, d, down, right = numbers
    height, width, channels = image.shape
    middle = np.array([height - 1, width - 1]) / 2
    new = np.zeros_like(image)
    for row, column in np.ndindex(height, width):
        r, s = np.array([row, column]) - middle
        y = a * r + b * s + down * height + middle[0]
        x = c * r + d * s + right * width + middle[1]
        y, x = np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)
        for i, j in np.ndindex(height, width):
            near = max(0, 1 - abs(y - i)) * max(0, 1 - abs(x - j))
            new[row, column] += near * image[i, j]
    return new


def test_affine_by_the_definition():
    images = noise((6, 5, 7, 2))
    numbers = draws(Affine(40, 2.0, 0.5, 0.3), count=6).astype("float64")
    warped = Affine()(tf.constant(images), tf.constant(numbers)).numpy()
    expected = [
        numpy_affine(i, n) for i, n in zip(images, numbers, strict=True)
    ]
    np.testing.assert_allclose(warped, expected, atol=1e-12)


def test_affine_by_nothing_is_nothing():
    images = noise((3, 5, 4, 2))
    numbers = draws(Affine(0, 1, 0, 0), count=3).astype("float64")
    warped = Affine()(tf.constant(images), tf.constant(numbers)).numpy()
    np.testing.assert_array_equal(warped, images)


def test_affine_by_a_quarter_turn():
    image = noise((1, 4, 4, 1))
    turn = np.array([[0.0, 1, -1, 0, 0, 0]])  # (row, column): (column, -row)
    turned = Affine()(tf.constant(image), tf.constant(turn)).numpy()
    np.testing.assert_allclose(turned[0], np.rot90(image[0]), atol=1e-12)


def test_affine_draws_turns_stretches_slants_and_shifts():
    numbers = draws(Affine(20, 1.5, 0.3, 0.1), count=20_000).astype("float64")
    matrix = numbers[:, :4].reshape(-1, 2, 2)
    # Of diag(tall, wide) @ turn @ slant the last two have determinant 1.
    area = np.linalg.det(matrix)
    assert 1 / 1.5**2 <= area.min() and area.max() <= 1.5**2 * 1.000001
    assert np.log(area).mean() == pytest.approx(0, abs=0.02)
    straight = draws(Affine(0, 1.5, 0.3, 0), count=9000).astype("float64")
    tall, wide = straight[:, 0], straight[:, 3]
    slant = straight[:, 1] / tall
    assert np.abs(straight[:, [2, 4, 5]]).max() == 0
    ranges = [(np.log(tall), np.log(1.5)), (np.log(wide), np.log(1.5))]
    for value, most in [*ranges, (slant, 0.3)]:
        assert most * 0.99 < np.abs(value).max() <= most * 1.00001
        assert value.mean() == pytest.approx(0, abs=0.02)
    turned = draws(Affine(20, 1, 0, 0), count=9000).astype("float64")
    angle = np.degrees(np.arctan2(turned[:, 1], turned[:, 0]))
    assert 19.8 < np.abs(angle).max() <= 20.0001
    np.testing.assert_allclose(
        turned[:, 0] * turned[:, 3] - turned[:, 1] * turned[:, 2], 1, rtol=1e-6
    )
    assert 0.099 < np.abs(numbers[:, 4:]).max() <= 0.1


@pytest.mark.parametrize("jit_compile", [False, True])
def test_affine_s_gradient_is_its_transpose(jit_compile):
    images = noise((2, 3, 4, 1))
    numbers = tf.constant(draws(Affine(), count=2).astype("float64"))
    warp = tf.function(lambda x: Affine()(x, numbers), jit_compile=jit_compile)
    units = np.eye(images.size).reshape(-1, *images.shape)
    matrix = np.stack(
        [warp(tf.constant(u)).numpy().ravel() for u in units], axis=1
    )
    upstream = noise(images.shape, seed=1)
    gradient = vector_jacobian(warp, images, upstream)
    np.testing.assert_allclose(
        gradient.ravel(), matrix.T @ upstream.ravel(), rtol=1e-10, atol=1e-12
    )


def test_affine_goes_through_its_config():
    affine = Affine(1, 2, 3, 4)
    config = keras.saving.serialize_keras_object(affine)
    again = keras.saving.deserialize_keras_object(
        json.loads(json.dumps(config))
    )
    assert (
        vars(again)
        == vars(affine)
        == {
            "rotation": 1,
            "stretch": 2,
            "slant": 3,
            "shift": 4,
        }
    )


@pytest.mark.parametrize(
    "wrong",
    [{"rotation": -1}, {"stretch": 0.9}, {"slant": np.nan}, {"shift": -0.1}],
)
def test_affine_says_what_it_wants(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=f"`{name}`.*Received: {name}="):
        Affine(**wrong)


def test_resized_crop_of_a_large_area_is_that_large():
    for least in (0.8, 1.0):
        crops = draws(ResizedCrop((least, 1.0), 2.0), count=2_000)
        _, _, height, width = crops.T.astype("float64")
        assert (height * width).min() > least - 1e-5
        assert max(height.max(), width.max()) <= 1
