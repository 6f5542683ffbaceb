"""Random pictures: inside of black and white, one by one, at any size."""

import json

import keras
import numpy as np
import pytest
from tiny import tiny_teacher

from tf_deepinversion import RECIPES
from tf_deepinversion import DeepInversion
from tf_deepinversion import Preprocessing
from tf_deepinversion.inversion import DeadLeaves
from tf_deepinversion.inversion import Noise
from tf_deepinversion.inversion import Start
from tf_deepinversion.inversion import starts

FED = Preprocessing([100.0, 120.0, 90.0], [50.0, 60.0, 40.0])


def generators(count, seed=0):
    return [np.random.default_rng((seed, index)) for index in range(count)]


def pictures(count=40, shape=(24, 24, 3), **kwargs):
    z = DeadLeaves(**kwargs).draw(generators(count), shape, FED)
    return z * FED.std + FED.mean  # gray levels


def test_pictures_are_gray_levels_on_black_white_and_colored_grounds():
    levels = pictures(count=200, textured=0.0)
    assert levels.min() >= -1e-3 and levels.max() <= 255 + 1e-3
    # Shapes gather in the middle, so corners show the ground.
    corners = levels[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    same = [(np.abs(corners - g) < 1).all(-1).mean() for g in (0, 255)]
    assert all(0.15 < share < 0.45 for share in same), same
    middle = levels[:, 10:14, 10:14]
    assert ((middle < 1) | (middle > 254)).all(-1).mean() < 0.15


def test_a_share_of_the_grounds_has_a_texture_in_another_color():
    for share in (0.0, 0.3, 1.0):
        # One shape in the middle leaves the upper rows to the ground.
        small = {"shapes": 1, "smallest": 0.1, "largest": 0.1, "spread": 1e-6}
        shape = 64, 64, 3
        levels = pictures(300, shape, textured=share, **small)[:, :4]
        assert levels.min() >= -1e-3 and levels.max() <= 255 + 1e-3
        found = (np.ptp(levels, axis=(1, 2)).max(-1) > 1e-2).mean()
        assert abs(found - share) < 0.1, found


def test_a_texture_is_linear_between_the_corners_of_cells_of_any_size():
    textures = [starts._texture(g, 24, 40) for g in generators(300)]
    assert np.min(textures) >= 0 and np.max(textures) < 1
    # The first corner is a number of its own, uniform in [0, 1).
    assert np.mean(textures, axis=0)[0, 0] == pytest.approx(0.5, abs=0.06)
    bent = np.abs(np.diff(textures, 2, axis=2)) > 1e-9
    shares = bent.mean((1, 2))
    # Along 40 pixels there are 2 to 40 corners, in proportion as often.
    assert shares.min() < 0.1 and shares.max() > 0.9
    assert 0.2 < np.median(shares) < 0.5


@pytest.mark.parametrize("shape", [(7, 7, 1), (6, 5, 1), (7, 7, 3)])
def test_noise_of_one_square_is_not_blown_up(shape):
    """An image of one shade varies by rounding alone, which is no noise."""
    z = Noise(coarseness=8).draw(generators(20), shape, None)
    assert 1 < np.abs(z).max() < 20
    if shape[-1] == 1:
        np.testing.assert_allclose(np.ptp(z, (1, 2, 3)), 0, atol=1e-5)


def test_an_image_depends_on_its_generator_alone():
    np.testing.assert_array_equal(pictures(count=5)[:3], pictures(count=3))


def test_shapes_cover_their_share_of_a_picture_of_any_format():
    leaves = DeadLeaves(shapes=1, smallest=0.1, largest=0.1, spread=1e-6)
    for shape in ((100, 100), (100, 50)):
        covered = [leaves._leaf(g, *shape) for g in generators(60)]
        areas = np.sum(covered, axis=(1, 2)) / 10**2
        # Between an ellipse's area and that of a rectangle with round corners.
        assert areas.min() > 0.98 * np.pi and areas.max() < 4, areas
        assert len(np.unique(areas.round(1))) >= 3


def test_channels_differ_but_less_than_independent_colors():
    levels = pictures(count=100)
    between = levels.std(axis=(0, 1, 2)).mean()
    within = levels.std(axis=-1).mean()
    assert 0.05 * between < within < 0.5 * between


def test_a_recipe_starts_from_pictures_and_comes_back_from_json():
    recipe = RECIPES["ours"].replace(start=DeadLeaves(shapes=3), steps=1)
    config = keras.saving.serialize_keras_object(recipe)
    again = keras.saving.deserialize_keras_object(config)
    assert again.start == recipe.start != DeadLeaves()
    fed = Preprocessing(127.5, 50.0)
    model = DeepInversion(tiny_teacher(), fed, recipe=recipe, seed=5)
    model.fit([0, 1], 1, batch_index=2, verbose=0)
    drawn = [np.random.default_rng((5, 2, index)) for index in range(2)]
    expected = recipe.start.draw(drawn, model.image_shape, fed)
    np.testing.assert_array_equal(model.start(2), expected)


@keras.saving.register_keras_serializable("starts_test")
class Gray(Start):
    def __init__(self, level=0.0):
        self.level = level

    def draw(self, generators, shape, preprocessing):
        return np.full((len(generators), *shape), self.level)


def test_a_start_of_the_users_own(tmp_path):
    recipe = RECIPES["ours"].replace(start=Gray(0.5), steps=2)
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(recipe)))
    again = keras.saving.deserialize_keras_object(config)
    assert type(again.start) is Gray and again.start.level == 0.5
    model = DeepInversion(
        tiny_teacher(), Preprocessing(127.5, 50.0), recipe=recipe
    )
    state = tmp_path / "state.npz"
    model.fit([0, 1], 1, checkpoint=state, verbose=0)
    assert (model.start(0) == 0.5).all()
    other = DeepInversion(
        tiny_teacher(),
        Preprocessing(127.5, 50.0),
        recipe=recipe.replace(start=Gray(0.25)),
    )
    with pytest.raises(ValueError, match="differs in: recipe"):
        other.fit([0, 1], 1, checkpoint=state, verbose=0)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: DeadLeaves(shapes=0), ValueError, "shapes=0"),
        (lambda: DeadLeaves(smallest=0), ValueError, "smallest=0"),
        (lambda: DeadLeaves(largest=0.01), ValueError, "largest=0.01"),
        (lambda: DeadLeaves(spread=-1), ValueError, "spread=-1"),
        (lambda: DeadLeaves(textured=1.1), ValueError, "textured=1.1"),
        (lambda: Noise(coarseness=0), ValueError, "coarseness"),
        (
            lambda: RECIPES["ours"].replace(start="leaves"),
            TypeError,
            "`Start`.*'leaves'",
        ),
        (
            lambda: RECIPES["generator"].replace(start=DeadLeaves()),
            ValueError,
            "starts from its weights",
        ),
    ],
)
def test_what_is_no_start(make, error, message):
    with pytest.raises(error, match=message):
        make()
