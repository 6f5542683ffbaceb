"""Gives every test and docstring two devices, fixed seeds, common names."""

import functools
import gc
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
if "PYTEST_XDIST_WORKER" in os.environ:  # workers side by side: a core each
    for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"):
        os.environ.setdefault(name, "1")

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl import flags
from eager import as_plain_python

# A program of its own, which the docstrings' collection must not import.
collect_ignore = ["tests/mutants.py"]

# What the imports made stays. To search it for garbage took 8 % of a run.
gc.collect()
gc.freeze()

# Two devices on any machine, so that MirroredStrategy has two replicas. They
# must be set before TensorFlow first computes.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 2,
)


@pytest.fixture(autouse=True)
def fixed_seeds():
    keras.utils.set_random_seed(0)


@pytest.fixture(autouse=True)
def flags_of_its_own():
    """Forgets the flags of a script that a test has run in this process."""
    before = set(flags.FLAGS)
    yield
    for name in set(flags.FLAGS) - before:
        delattr(flags.FLAGS, name)


@pytest.fixture
def eagerly():
    """Each `tf.function` of the test runs as plain Python."""
    with as_plain_python():
        yield


@functools.cache
def networks_of_the_examples():
    """The names that docs/api/index.md promises to the examples."""

    def network(filters, name):
        return keras.Sequential(
            [
                keras.Input((8, 8, 1)),
                keras.layers.Rescaling(1 / 64, -2, name="normalize"),
                keras.layers.Conv2D(filters, 3),
                keras.layers.BatchNormalization(),
                keras.layers.ReLU(),
                keras.layers.GlobalAveragePooling2D(),
                keras.layers.Dense(3),
            ],
            name=name,
        )

    random = np.random.default_rng(0)
    return {
        "teacher": network(4, "teacher"),
        "student": network(2, "student"),
        "images": random.integers(0, 256, (12, 8, 8, 1), "uint8"),
        "labels": np.arange(12) % 3,
    }


@pytest.fixture(autouse=True)
def docstring_names(request, doctest_namespace):
    import tf_deepinversion

    doctest_namespace.update(di=tf_deepinversion, keras=keras, np=np, tf=tf)
    if isinstance(request.node, pytest.DoctestItem):
        doctest_namespace.update(networks_of_the_examples())
