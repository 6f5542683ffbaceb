"""What is replayed of classes that were learnt long ago."""

import numpy as np
import pytest

from tf_deepinversion import Pool
from tf_deepinversion.incremental import Memory


def of_generation(number, per_class):
    """Images whose every pixel says when, and of which class, they are."""

    def synthesize(model, classes, folder, seed):
        labels = np.arange(per_class * classes) % classes
        pixels = np.uint8(100 * number + labels)[:, None, None, None]
        return np.broadcast_to(pixels, (len(labels), 2, 2, 1)), labels

    return synthesize


def test_every_class_is_of_the_first_network_that_knew_it():
    generations = iter([of_generation(0, 5), of_generation(1, 3)])
    memory = Memory(lambda *args: next(generations)(*args))
    images, labels = memory(None, 2, None, 0)
    assert labels.tolist() == [0] * 5 + [1] * 5
    images, labels = memory(None, 4, None, 1)
    # As many of each class as there are of the rarest.
    assert labels.tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    np.testing.assert_array_equal(
        images[:, 0, 0, 0], [0] * 3 + [1] * 3 + [102] * 3 + [103] * 3
    )


def test_a_pool_is_remembered_and_a_function_is_passed_on():
    pool = Pool(4, (2, 2, 1), 2)
    pool.add(np.zeros((4, 2, 2, 1), "uint8"), np.array([1, 0, 1, 1]))
    images, labels = Memory(lambda *_: pool)(None, 2, None, 0)
    assert images.shape == (2, 2, 2, 1) and labels.tolist() == [0, 1]

    def batches(step):
        raise NotImplementedError

    assert Memory(lambda *_: batches)(None, 2, None, 0) is batches


def test_a_class_without_images_is_named():
    later = Memory(lambda *_: of_generation(0, 1)(None, 2, None, 0))
    with pytest.raises(ValueError, match=r"4 images, without classes \[2\]"):
        Memory(lambda *_: (np.zeros((4, 2, 2, 1), "uint8"), [0, 1, 0, 1]))(
            None, 3, None, 0
        )
    with pytest.raises(ValueError, match=r"without classes \[2, 3\]"):
        later(None, 4, None, 0)


def test_a_label_out_of_range_is_refused_and_not_dropped():
    pool = Pool(4, (2, 2, 1), 4)
    pool.add(np.zeros((4, 2, 2, 1), "uint8"), np.array([0, 1, 2, 3]))
    for made in (pool, (pool.images, pool.labels)):
        with pytest.raises(ValueError, match="labels.*3"):
            Memory(lambda *_, made=made: made)(None, 3, None, 0)
