"""Networks to prune, and images to do it on."""

import keras
import numpy as np
import pytest
from keras import layers
from tiny import CLASSES
from tiny import SHAPE

from tf_deepinversion import Pool
from tf_deepinversion import Preprocessing
from tf_deepinversion.transforms import HorizontalFlip
from tf_deepinversion.transforms import Shift
from tf_deepinversion.transforms import augmentations

RANDOM = np.random.default_rng(0)
NORMALIZED = Preprocessing(127.5, 64.0, "normalized")
POOL = Pool(40, SHAPE, CLASSES)
POOL.add(
    RANDOM.integers(0, 256, (40, *SHAPE), "uint8"),
    RANDOM.integers(0, CLASSES, 40),
)


def images(step):
    return POOL.dataset(8, 0, step)


def require_augmentations(train, folder):
    """Checks how a training varies its images by default.

    In the folder of a run only the same run goes on.
    """
    train(folder=folder)
    train(folder=folder, transforms=augmentations())
    with pytest.raises(ValueError, match="differs in: .*transforms"):
        train(folder=folder, transforms=[Shift(2), HorizontalFlip()])


class Killed(Exception):
    pass


def randomized(model, seed=0):
    """Draws all that starts as zero or one: nothing is trivially zero."""
    random = np.random.default_rng(seed)
    for variable in model.weights:
        name, shape = variable.name, variable.shape
        if name in ("gamma", "moving_variance", "alpha"):
            variable.assign(random.uniform(0.5, 1.5, shape))
        elif name in ("beta", "moving_mean", "bias"):
            variable.assign(random.normal(size=shape) / 3)
    return model


def random_keep(graph, seed=0, least=0.5):
    random = np.random.default_rng(seed)
    keep = np.zeros(graph.count, bool)
    for group in range(graph.groups.max() + 1):
        own = np.flatnonzero(graph.groups == group)
        k = random.integers(max(1, int(least * len(own))), max(2, len(own)))
        keep[random.choice(own, k, replace=False)] = True
    return keep


def chain(*stack, shape=(8, 8, 2)):
    inputs = x = keras.Input(shape)
    for layer in stack:
        x = layer(x)
    return keras.Model(inputs, x)


def conv(filters, size=3, **kwargs):
    return layers.Conv2D(filters, size, padding="same", **kwargs)


def pooled_head():
    return layers.GlobalAveragePooling2D(), layers.Dense(3)
