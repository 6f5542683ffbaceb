"""What stands where a synthesizer does."""

import numpy as np
import pytest

from tf_deepinversion import Pool
from tf_deepinversion.inversion.given_images import GivenImages


def test_real_images_come_in_turn_with_their_labels():
    images = np.arange(7, dtype="uint8").reshape(7, 1, 1, 1)
    labels = 10 + np.arange(7)
    given = GivenImages((1, 1, 1), 20, real=(images, labels), seed=3)
    seen = []
    for batch in range(7):
        found, shown = given.make([0] * 3, batch)
        np.testing.assert_array_equal(shown, 10 + found.ravel())
        seen += found.ravel().tolist()
    # Thrice each, in an order of the seed that repeats.
    assert sorted(seen) == sorted([*range(7)] * 3)
    assert seen[:7] == seen[7:14] == seen[14:] != sorted(seen[:7])
    assert given.make([0] * 3, 2)[0].ravel().tolist() == seen[6:9]


def test_labels_are_no_longer_the_caller_s():
    labels = np.arange(3, dtype="int32")
    _, shown = GivenImages((1, 1, 1), 3).make(labels, 0)
    labels[:] = 0
    assert shown.tolist() == [0, 1, 2]


def test_nobody_is_warned_of_the_labels_of_given_images(recwarn):
    images = np.arange(20, dtype="uint8").reshape(20, 1, 1, 1)
    given = GivenImages((1, 1, 1), 20, real=(images, np.arange(20)))
    pool = Pool(20, (1, 1, 1), 20)
    pool.fill(given, batches=1, images=20, verbose=0)
    assert np.mean(pool.labels == pool.requested) < 0.5
    assert not recwarn.list


def test_noise_is_a_function_of_seed_and_batch():
    def batch(seed, number):
        given = GivenImages((8, 8, 1), 3, seed=seed)
        images, labels = given.make([2, 0, 1], number)
        assert labels.tolist() == [2, 0, 1]
        return images

    np.testing.assert_array_equal(batch(0, 1), batch(0, 1))
    for other in (batch(0, 2), batch(1, 1)):
        assert (other != batch(0, 1)).mean() > 0.9
    assert 120 < batch(0, 0).mean() < 135 and batch(0, 0).dtype == np.uint8


def test_images_of_another_shape_are_refused():
    images = np.zeros((2, 4, 4, 1), "uint8")
    with pytest.raises(ValueError, match="shape .8, 8, 1.. Received: .4, 4"):
        GivenImages((8, 8, 1), 3, real=(images, [0, 1]))


def test_numbers_and_labels_of_noise_are_checked():
    for numbers in ({"classes": 0}, {"classes": 2.5}, {"seed": -1}):
        with pytest.raises(ValueError, match="must be a whole number"):
            GivenImages((8, 8, 1), **{"classes": 3, **numbers})
    with pytest.raises(ValueError, match="`labels` must lie in"):
        GivenImages((8, 8, 1), 3).make([3], 0)
