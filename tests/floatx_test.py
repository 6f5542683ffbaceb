"""Under `set_floatx("float64")` the applications run as in float32."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from tiny import SHAPE
from tiny import with_head

from tf_deepinversion import Distillation
from tf_deepinversion import Pool
from tf_deepinversion import Preprocessing
from tf_deepinversion import augmentations
from tf_deepinversion import incremental
from tf_deepinversion import pruning
from tf_deepinversion.optimizers import schedules

PIXELS = Preprocessing(110, 60)
IMAGES = np.random.default_rng(0).integers(0, 256, (8, *SHAPE), "uint8")


def batches(step=0):
    labels = np.arange(8, dtype="int32") % 2
    return tf.data.Dataset.from_tensors((IMAGES, labels))


def distilled(network):
    student = with_head(layers.Dense(4))
    model = Distillation(
        network,
        student,
        PIXELS,
        transforms=augmentations(),
        steps_per_teacher_call=2,
    )
    model.compile(schedules.muon(10))
    model.fit(batches().repeat(2), verbose=0)
    return student


def pruned(network):
    return pruning.prune(
        network,
        lambda step: batches().repeat(),
        target=0.3,
        rounds=1,
        final_steps=1,
        ranking_batches=1,
        preprocessing=PIXELS,
        verbose=0,
    )[0]


def learned(network):
    old = Pool.of(IMAGES, np.arange(8) % 4)
    return incremental.learn_tasks(
        network,
        [(IMAGES, np.arange(8) % 2 + 4)],
        incremental.method("abd"),
        synthesize=lambda *args: old,
        epochs=1,
        batch_size=4,
        preprocessing=PIXELS,
    )[0]


@pytest.mark.parametrize(
    "run", [distilled, pytest.param(pruned, marks=pytest.mark.slow), learned]
)
def test_float64_throughout(run):
    keras.config.set_floatx("float64")
    # Which decides alone once a policy was set, as other tests may have done.
    keras.config.set_dtype_policy("float64")
    try:
        network = run(with_head(layers.Dense(4)))
        assert {w.dtype for w in network.weights} == {"float64"}
        assert all(np.isfinite(w).all() for w in network.get_weights())
    finally:
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("float32")
