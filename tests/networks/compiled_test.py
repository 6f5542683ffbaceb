"""XLA compiles what it can, and nothing else unless it is asked to."""

import types

import keras
import pytest
import tensorflow as tf
from keras import layers

from tf_deepinversion import DeepInversion
from tf_deepinversion import Distillation
from tf_deepinversion import Preprocessing
from tf_deepinversion.incremental import IncrementalLearner
from tf_deepinversion.incremental import grow_head
from tf_deepinversion.incremental import method

PIXELS = Preprocessing(110, 60)


def network(*first):
    x = images = keras.Input((8, 8, 3))
    for layer in (
        *first,
        layers.Conv2D(4, 3),
        layers.BatchNormalization(),
        layers.GlobalAveragePooling2D(),
        layers.Dense(3),
    ):
        x = layer(x)
    return keras.Model(images, x)


def inversion(network):
    return DeepInversion(network, PIXELS)


def competition(other):
    return DeepInversion(network(), PIXELS, student=other)


def distillation(other):
    return Distillation(other, network(), PIXELS)


def of_a_student(other):
    return Distillation(network(), other, PIXELS)


def learner(network):
    return IncrementalLearner(
        network, grow_head(network, 5), method("lwf"), preprocessing=PIXELS
    )


MAKERS = [inversion, competition, distillation, of_a_student, learner]


@pytest.fixture
def accelerator(monkeypatch):
    """Keras's "auto" is never XLA on a machine of CPUs alone."""
    devices = [types.SimpleNamespace(device_type="GPU")]
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda *a: devices)


def resizing(interpolation):
    return layers.Resizing(6, 6, interpolation=interpolation)


@pytest.mark.parametrize(
    "layer,able",
    [
        (lambda: layers.ReLU(), True),
        (lambda: resizing("bilinear"), True),
        (lambda: resizing("nearest"), False),
        (lambda: layers.RandomZoom(0.1), False),
    ],
)
def test_auto_is_xla_where_all_layers_can(layer, able, accelerator):
    model = inversion(network(layer()))
    model.compile()
    assert model.jit_compile == able


@pytest.mark.parametrize("make", MAKERS)
def test_auto_looks_at_both_networks(make, accelerator):
    model = make(network(resizing("bicubic")))
    model.compile(optimizer="sgd")
    assert not model.jit_compile


@pytest.mark.parametrize("make", MAKERS)
def test_what_xla_has_no_kernel_for_is_refused_where_it_is_asked_for(make):
    model = make(network(layers.Resizing(6, 6, interpolation="bicubic")))
    with pytest.raises(ValueError, match="ResizeBicubic.*jit_compile=True"):
        model.compile(optimizer="sgd", jit_compile=True)
    model.compile(optimizer="sgd", jit_compile=False)


def test_xla_stays_where_it_is_asked_for():
    # Of its layers Keras says no, and in inference they do nothing.
    model = inversion(network(layers.RandomZoom(0.1)))
    model.compile(jit_compile=True)
    assert model.jit_compile
    model.fit([0, 1], steps=1, verbose=0)


def test_on_cpus_nothing_changes():
    model = inversion(network())
    model.compile()
    assert not model.jit_compile
