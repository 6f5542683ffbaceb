"""What learning new classes on several replicas must do as on one device.

`incremental_replicas_test.py` does it on two devices of its own process, and
on four of a process that runs this file: `python
tests/incremental_replicas.py 4`.
"""

import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny import CLASSES
from tiny import SHAPE

from tf_deepinversion import Pool
from tf_deepinversion import Preprocessing
from tf_deepinversion.incremental import IncrementalLearner
from tf_deepinversion.incremental import Term
from tf_deepinversion.incremental import grow_head
from tf_deepinversion.incremental import learn_tasks
from tf_deepinversion.incremental import method
from tf_deepinversion.incremental import train
from tf_deepinversion.transforms import resampling
from tf_deepinversion.transforms import shifts

FED = Preprocessing(120, 60)
RANDOM = np.random.default_rng(0)
NEW = RANDOM.integers(0, 256, (14, *SHAPE), "uint8")
LABELS = RANDOM.integers(3, 5, 14).astype("int32")
OLD = RANDOM.integers(0, 256, (9, *SHAPE), "uint8")
OLD_LABELS = np.arange(9, dtype="int32") % 3


def network(synchronized=True):
    """A convolution, BatchNormalization and a dense head; of pixels."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input(SHAPE)
    x = keras.layers.Rescaling(1 / 60, -2.0)(inputs)
    x = keras.layers.Conv2D(4, 3)(x)
    x = keras.layers.BatchNormalization(synchronized=synchronized)(x)
    x = keras.layers.ReLU()(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(CLASSES)(x), name="small")


def spread_of_features(step):
    """No mean of values of images: it is of the whole batch or wrong."""
    return keras.ops.sum(keras.ops.var(step.replayed.features, axis=0))


def learned(strategy, name, batch_size):
    """What `fit` logs, `evaluate` says, and the weights, of odd batches."""
    pool = Pool(20, SHAPE, CLASSES)
    pool.add(OLD, OLD_LABELS)
    with strategy.scope():
        old = network()
        terms = [*method(name), Term("own", 0.1, spread_of_features, True)]
        model = IncrementalLearner(
            old,
            grow_head(old, 5, noise=0.5),
            terms,
            replay=pool,
            batch_size=3,
            preprocessing=FED,
            transforms=[resampling.Affine(), shifts.Shift(2)],
        )
        model.compile(optimizer=keras.optimizers.SGD(0.05, momentum=0.9))
    data = tf.data.Dataset.from_tensor_slices((NEW, LABELS)).batch(batch_size)
    logs = model.fit(
        data, epochs=2, verbose=0, validation_data=(NEW, LABELS)
    ).history
    figures = model.evaluate(data, verbose=0, return_dict=True)
    return logs, figures, model.network.get_weights()


def require_same(one, several):
    for a, b in zip(one[:2], several[:2], strict=True):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_allclose(b[name], a[name], rtol=1e-4, atol=1e-5)
    for a, b in zip(one[2], several[2], strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-5)


def check_abd(strategy):
    one = learned(tf.distribute.get_strategy(), "abd", 5)
    require_same(one, learned(strategy, "abd", 5))


def of_tasks(strategy):
    def synthesize(model, classes, folder, seed):
        wanted = np.isin(OLD_LABELS, classes)
        return Pool.of(OLD[wanted], OLD_LABELS[wanted])

    with strategy.scope():
        first = train(
            network(),
            OLD,
            OLD_LABELS,
            epochs=2,
            batch_size=4,
        ).network
        before = first.get_weights()
        found = learn_tasks(
            first,
            [(NEW, LABELS)],
            method("replay"),
            tests=[(OLD, OLD_LABELS), (NEW, LABELS)],
            synthesize=synthesize,
            epochs=2,
            batch_size=5,
            replay_batch_size=3,
            preprocessing=FED,
        )
    return (
        found.history[0],
        {"accuracies": np.concatenate(found.accuracies)},
        [*before, *found.network.get_weights()],
    )


def check_tasks(strategy):
    one = of_tasks(tf.distribute.get_strategy())
    require_same(one, of_tasks(strategy))


def check_refusals(strategy):
    """Before any work: nothing is synthesized."""
    asked = []
    tasks = [(NEW, LABELS)]
    given = {
        "synthesize": lambda *args: asked.append(args),
        "preprocessing": FED,
    }
    apart, outside = network(synchronized=False), network()
    with strategy.scope():
        with pytest.raises(ValueError, match="synchronized = True"):
            learn_tasks(apart, tasks, method("abd"), **given)
        with pytest.raises(ValueError, match="synchronized = True"):
            train(network(synchronized=False), OLD, OLD_LABELS, epochs=1)
        with pytest.raises(ValueError, match="under .with strategy.scope"):
            train(outside, OLD, OLD_LABELS, epochs=1)
        with pytest.raises(
            ValueError, match="multiple of the number of replicas.*of 3"
        ):
            train(network(), OLD, OLD_LABELS, epochs=1, batch_size=3)
    assert not asked


def main(count):
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0],
        [tf.config.LogicalDeviceConfiguration()] * count,
    )
    devices = [f"CPU:{i}" for i in range(count)]
    check_abd(tf.distribute.MirroredStrategy(devices))


if __name__ == "__main__":
    main(int(sys.argv[1]))
