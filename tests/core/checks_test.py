"""What is taken for a whole number, and what the refusal says."""

import re
from fractions import Fraction

import numpy as np
import pytest

import tf_deepinversion as di
from tf_deepinversion.core.checks import is_within
from tf_deepinversion.core.checks import require_positive
from tf_deepinversion.core.checks import require_seed
from tf_deepinversion.core.checks import require_whole


@pytest.mark.parametrize("value", [1, np.int64(3), np.uint8(7)])
def test_whole_numbers_pass(value):
    require_whole(steps=value)


@pytest.mark.parametrize(
    "value",
    [0, -1, 1.5, 2.0, np.float32(7), True, None, "one", float("nan")],
)
def test_others_are_refused_by_name(value):
    message = (
        f"`steps` must be a whole number, 1 or more. Received: steps={value!r}"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        require_whole(images=1, steps=value)


@pytest.mark.parametrize(
    "value", [-1, 2**31, 1.0, None, "a", True, float("nan")]
)
def test_a_seed_is_a_whole_number_below_2_31(value):
    require_seed(0)
    require_seed(np.int64(2**31 - 1))
    message = f"`seed` must be.*Received: seed={value!r}"
    with pytest.raises(ValueError, match=message):
        require_seed(value)


def test_the_least_can_be_another():
    require_whole(0, draws=0)
    with pytest.raises(ValueError, match="-1 or more. Received: end_step=-2"):
        require_whole(-1, end_step=-2)


@pytest.mark.parametrize(
    "value",
    [
        True,
        np.True_,
        "1",
        None,
        1j,
        np.complex64(1),
        [1.0],
        np.ones(1),
        10**400,
    ],
)
def test_what_is_no_number_is_not_positive(value):
    with pytest.raises(ValueError, match="`rate` must be a number, positive"):
        require_positive(rate=value)


@pytest.mark.parametrize(
    "value", [2, 0.5, np.float32(1), np.ones(()), Fraction(1)]
)
def test_numbers_of_any_kind_are_positive(value):
    require_positive(rate=value)
    for wrong in (-value, 0 * value):
        with pytest.raises(ValueError, match="`rate` must be positive and fin"):
            require_positive(rate=wrong)


@pytest.mark.parametrize("low", "([")
@pytest.mark.parametrize("high", ")]")
def test_an_interval_holds_its_ends_by_its_brackets(low, high):
    values = -1.5, -1, 0, np.float32(2), np.ones(()), 2.5
    found = [is_within(value, f"{low}-1, 2{high}") for value in values]
    assert found == [False, low == "[", True, high == "]", True, False]
    assert is_within(1e300, f"{low}0, inf)")
    for wrong in (np.nan, np.inf, "1", None, True, [1.0], 10**400):
        assert not is_within(wrong, f"{low}-1, inf)")


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (di.augmentations, "strength"),
        (di.HorizontalFlip, "probability"),
        (di.transforms.MixUp, "probability"),
        (di.CrossEntropy, "weight"),
        (di.CrossEntropy, "feature_dropout"),
        (di.FeatureStatistics, "first_weight"),
        (di.optimizers.PyramidAdam, "beta_1"),
        (di.optimizers.PyramidAdam, "epsilon"),
        (di.inversion.DeadLeaves, "largest"),
        (di.inversion.DeadLeaves, "spread"),
        (di.inversion.DeadLeaves, "textured"),
        (di.pruning.ConstantSparsity, "target_sparsity"),
    ],
)
def test_a_word_is_in_no_range(make, name):
    with pytest.raises(ValueError, match=f"{name}`? .*{name}='?half"):
        make(**{name: "half"})
