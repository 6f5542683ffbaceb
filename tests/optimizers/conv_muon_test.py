"""Muon for convolutions, against NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_deepinversion import ConvMuon

RATE, MOMENTUM, DECAY = 0.1, 0.95, 0.5


def newton_schulz(x, steps=5):
    """The polynomial of each singular value; the directions stay."""
    x = x / np.linalg.norm(x)
    left, values, right = np.linalg.svd(x, full_matrices=False)
    for _ in range(steps):
        values = 3.4445 * values - 4.775 * values**3 + 2.0315 * values**5
    return left * values @ right


def numpy_muon(kernel, gradients):
    shape, momentum = kernel.shape, 0.0
    kernel = kernel.reshape(-1, shape[-1])
    for gradient in gradients:
        gradient = gradient.reshape(kernel.shape)
        momentum = MOMENTUM * momentum + gradient
        step = newton_schulz(gradient + MOMENTUM * momentum)
        kernel = kernel * (1 - RATE * DECAY)
        kernel = kernel - RATE * 0.2 * max(kernel.shape) ** 0.5 * step
    return kernel.reshape(shape)


@pytest.mark.parametrize("shape", [(3, 3, 2, 5), (1, 1, 3, 7), (3, 3, 1, 2)])
def test_steps_are_numpys(shape):
    random = np.random.default_rng(0)
    start, *gradients = random.normal(size=(5, *shape)).astype("float32")
    kernel = keras.Variable(start)
    optimizer = ConvMuon(RATE, weight_decay=DECAY)
    optimizer.build([kernel])
    apply = tf.function(lambda g: optimizer.apply([g], [kernel]))
    for gradient in gradients:
        apply(tf.constant(gradient))
    expected = numpy_muon(start, gradients)
    np.testing.assert_allclose(kernel.numpy(), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("shape", [(4,), (6, 3), (3, 3, 5, 1)])
def test_other_variables_are_adamws(shape):
    gradients = np.random.default_rng(0).normal(size=(3, *shape))
    moved = []
    for optimizer in (
        ConvMuon(0.1, adam_lr_ratio=0.5, adam_weight_decay=0.2),
        keras.optimizers.AdamW(0.05, weight_decay=0.4),
    ):
        # Keras' Muon decays by the whole learning rate.
        variable = keras.Variable(np.ones(shape), dtype="float32")
        for gradient in gradients:
            optimizer.apply([tf.constant(gradient, tf.float32)], [variable])
        moved.append(variable.numpy())
    np.testing.assert_allclose(*moved, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("given", "adamw"),
    [
        ({"exclude_layers": ["stem"]}, ["stem"]),
        ({"exclude_layers": ["st.m", "body"]}, ["stem", "body"]),
        ({}, ["patch_embedding"]),
        ({"exclude_embeddings": False}, []),
    ],
)
def test_what_is_excluded_is_adamws(given, adamw):
    names = ["stem", "body", "patch_embedding"]
    if "exclude_layers" in given:
        names.pop()
    steps = np.random.default_rng(0).normal(size=(2, 3, 3, 2, 4))
    for name in names:
        layer = keras.layers.Conv2D(4, 3, name=name)
        layer.build((None, 8, 8, 2))
        moved = []
        for made in (
            ConvMuon(0.1, adam_weight_decay=None, **given),
            keras.optimizers.Adam(0.1),
        ):
            layer.kernel.assign(np.zeros(layer.kernel.shape))
            for step in steps:
                made.apply([tf.constant(step, tf.float32)], [layer.kernel])
            moved.append(layer.kernel.numpy())
        assert np.allclose(*moved, 1e-4, 1e-6) == (name in adamw)


def test_a_larger_gradient_is_no_larger_step():
    gradient = np.random.default_rng(0).normal(size=(3, 3, 2, 4))
    moved = []
    for size in (1.0, 1000.0):
        kernel = keras.Variable(np.zeros(gradient.shape), dtype="float32")
        ConvMuon(0.1).apply([tf.constant(size * gradient, "float32")], [kernel])
        moved.append(kernel.numpy())
    np.testing.assert_allclose(*moved, rtol=1e-4, atol=1e-6)
    assert np.abs(moved[0]).max() > 0.01


def test_without_a_rate_for_its_size():
    gradient = np.random.default_rng(0).normal(size=(3, 3, 2, 4))
    kernel = keras.Variable(np.zeros(gradient.shape))
    ConvMuon(0.1, rms_rate=None).apply([tf.constant(gradient)], [kernel])
    expected = -0.1 * newton_schulz(gradient.reshape(18, 4))
    found = kernel.numpy().reshape(18, 4)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_round_trip():
    optimizer = ConvMuon(0.1, momentum=0.9, adam_lr_ratio=0.3)
    twin = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert type(twin) is ConvMuon
    assert twin.get_config() == optimizer.get_config()
