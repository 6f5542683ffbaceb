"""One seed gives one result, also for a network with `Dropout` from a file."""

import keras
import numpy as np
import pytest
from keras import layers
from pruned import NORMALIZED
from tiny import CLASSES
from tiny import SHAPE

import tf_deepinversion as di
from tf_deepinversion.networks.copies import copy_of
from tf_deepinversion.networks.random_layers import seed_random_layers

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (12, *SHAPE), "uint8")
LABELS = np.arange(12) % CLASSES
GIVEN = {"preprocessing": NORMALIZED, "verbose": 0}
STEPS = {"batch_size": 8, "steps": 3, **GIVEN}


def with_dropout():
    inputs = keras.Input(SHAPE)
    x = layers.BatchNormalization()(layers.Conv2D(4, 3)(inputs))
    x = layers.Dropout(0.5)(layers.Activation("relu")(x))
    x = layers.Conv2D(4, 3, activation="relu")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(CLASSES)(x))


def pruned(network):
    return di.prune(
        network,
        (IMAGES, LABELS),
        target=0.3,
        rounds=2,
        steps_per_round=2,
        final_steps=2,
        ranking_batches=1,
        batch_size=8,
        **GIVEN,
    ).student


def sparse(network):
    return di.sparsify(network, (IMAGES, LABELS), target=0.5, **STEPS).student


def recovered(network):
    student = copy_of(network)
    di.pruning.recover(network, student, (IMAGES, LABELS), **STEPS)
    return student


def distilled(network):
    return di.distill(
        network,
        copy_of(network),
        (IMAGES, LABELS),
        rounds=1,
        steps_per_round=3,
        batch_size=8,
        **GIVEN,
    ).student


def taught(network):
    return di.incremental.learn_task(
        network,
        IMAGES,
        CLASSES + LABELS % 2,
        di.incremental.method("lwf"),
        epochs=1,
        batch_size=8,
        **GIVEN,
    ).network


def trained(network):
    return di.incremental.train(
        network,
        IMAGES,
        LABELS,
        epochs=2,
        batch_size=4,
        learning_rate=1e-3,
        verbose=0,
    ).network


@pytest.mark.filterwarnings("ignore")  # of networks that learned nothing
@pytest.mark.parametrize(
    "job", [pruned, sparse, recovered, distilled, taught, trained]
)
def test_dropout_drops_the_same_in_each_process(tmp_path, job):
    keras.utils.set_random_seed(0)
    with_dropout().save(tmp_path / "network.keras")
    found = []
    for of_process in (1, 2):
        keras.utils.set_random_seed(of_process)
        network = keras.models.load_model(tmp_path / "network.keras")
        found.append(job(network).get_weights())
    for one, other in zip(*found, strict=True):
        assert np.isfinite(one).all()
        np.testing.assert_array_equal(one, other)


def test_states_of_random_layers_follow_the_seed_and_weights_stay():
    network = with_dropout()
    before = network.get_weights()

    def states(seed):
        seed_random_layers(network, seed)
        return [
            variable.numpy().tolist()
            for variable in network.variables
            if "seed" in variable.name
        ]

    assert len(states(0)) == 1
    assert states(0) == states(0) != states(1)
    for one, other in zip(before, network.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
