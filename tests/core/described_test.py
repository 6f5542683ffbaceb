"""What is described alike does the same; what does otherwise is not."""

import functools
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from tiny import with_head

from tf_deepinversion import L2
from tf_deepinversion.core.described import architecture
from tf_deepinversion.core.run_state import fingerprint
from tf_deepinversion.transforms.base import Transform
from tf_deepinversion.transforms.shifts import HorizontalFlip

layers = keras.layers


class Faded(Transform):
    """Without a config."""

    def __init__(self, strength):
        self._strength = strength


class FadedFlip(HorizontalFlip):
    """With a config that is its parent's."""

    def __init__(self, strength):
        super().__init__()
        self.strength = strength


class HeavyL2(L2):
    def __init__(self, power):
        super().__init__()
        self.power = power


class Slow(keras.optimizers.SGD):
    def __init__(self, slowness):
        super().__init__(0.1)
        self.slowness = slowness


class Looking(Transform):
    """By a network."""

    def __init__(self, seed):
        keras.utils.set_random_seed(seed)
        inputs = keras.Input((4,))
        self.network = keras.Model(inputs, layers.Dense(2)(inputs))


def power(exponent):
    return lambda x: x**exponent


class Held:
    def __init__(self, held):
        self.held = held


@pytest.mark.parametrize(
    "make",
    [
        Faded,
        FadedFlip,
        HeavyL2,
        Slow,
        Looking,
        power,
        lambda x: functools.partial(pow, x),
        lambda x: Faded(x).__init__,
        lambda x: Held(Held([power(x)])),
        lambda x: Held(keras.Variable([0.0, x])),
        lambda x: Held(np.full(3, x)),
        lambda x: keras.optimizers.LossScaleOptimizer(Slow(x)),
    ],
)
def test_of_one_strength_alike_and_of_another_not(make):
    assert fingerprint({"of": [make(2)]}) == fingerprint({"of": [make(2)]})
    assert fingerprint({"of": [make(2)]}) != fingerprint({"of": [make(3)]})


def test_one_class_is_not_another():
    optimizers = keras.optimizers.SGD(0.1), keras.optimizers.Lion(0.1)

    class Other(keras.optimizers.SGD):
        pass

    found = {fingerprint(o) for o in (*optimizers, Other(0.1))}
    assert len(found) == 3


class Hidden(HorizontalFlip):
    def __init__(self, strength):
        super().__init__()
        self._hidden = strength


class Slotted:
    __slots__ = ("strength",)

    def __init__(self, strength):
        self.strength = strength


class Rate(keras.optimizers.schedules.LearningRateSchedule):
    def __call__(self, step):
        return 0.1


def test_what_cannot_be_told_apart_is_refused_with_the_way_out():
    circle = Held(None)
    circle.held = circle
    for value in (Hidden(1), Slotted(1), circle):
        with pytest.raises(TypeError, match="get_config"):
            fingerprint({"of": value})
    with pytest.raises(TypeError, match="get_config.*Received: a SGD"):
        fingerprint({"of": keras.optimizers.SGD(Rate())})


def residual(first):
    """The same layers, of the same weights, wired in two ways."""
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((8, 8, 3))
    seen = [x]
    for _ in range(2):
        x = layers.Conv2D(3, 3, padding="same")(x)
        seen.append(x)
    x = layers.Add()([seen[first], x])
    return keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))


class Power(layers.Layer):
    """Without a config."""

    def __init__(self, function, exponent):
        super().__init__()
        self.function, self.exponent = function, exponent

    def call(self, x):
        return x**self.exponent


class Scaled(keras.Model):
    """A block that cannot be saved; it has a name of its own."""

    def __init__(self, inner, factors, name=None):
        super().__init__(name=name)
        self.inner, self.factors = inner, factors

    def call(self, x):
        return self.factors[0] * self.inner(x)


def scaled(factor):
    keras.utils.set_random_seed(0)
    block = Scaled(layers.Conv2D(3, 3), [2.0, 1.0 + factor])
    return Scaled(block, [1.0])


@pytest.mark.parametrize(
    "make",
    [
        residual,
        scaled,
        lambda x: with_head(layers.LeakyReLU(x / 10), layers.Dense(2)),
        lambda x: with_head(layers.Dense(2, ["relu", "tanh"][x])),
        lambda x: with_head(keras.Sequential([layers.LeakyReLU(x / 10)])),
        lambda x: with_head(Power(power(x), x)),
        lambda x: with_head(
            layers.SpectralNormalization(layers.Dense(2 + x)), layers.Dense(2)
        ),
    ],
)
def test_an_architecture_is_all_but_weights_and_names(make):
    assert fingerprint(architecture(make(0))) == fingerprint(
        architecture(make(0))
    )
    assert fingerprint(architecture(make(0))) != fingerprint(
        architecture(make(1))
    )


def test_weights_and_architecture_are_described_of_a_network():
    network = residual(0)
    found = fingerprint({"teacher": network})
    assert found == fingerprint({"teacher": residual(0)})
    network.layers[1].bias.assign([0, 0, 1e-3])
    assert found != fingerprint({"teacher": network})


def everything():
    return fingerprint(
        [
            Faded(1),
            FadedFlip(2),
            Held(power(3)),
            Held({"cat", "dog", "bird", "fish"}),
            lambda name: name in {"cat", "dog", "bird", "fish"},
            residual(1),
            with_head(Power(power(1), 2)),
            keras.optimizers.Adam(0.1),
        ]
    )


def test_another_process_describes_alike():
    """Keras has counted up other names in it."""
    script = "import described_test; print(described_test.everything())"
    result = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    layers.Conv2D(1, 1)
    assert result.stdout.strip() == everything()
