"""`ClassMeans` against NumPy, piece by piece, and on heads of any kind."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny import tiny_teacher

from tf_deepinversion import ClassMeans
from tf_deepinversion import DeepInversion
from tf_deepinversion import Preprocessing
from tf_deepinversion import Recipe
from tf_deepinversion import Stage
from tf_deepinversion.networks.call_hooks import Call
from tf_deepinversion.objective.class_means import head_length
from tf_deepinversion.objective.view import View

LABELS = np.array([2, 0, 3, 2, 0, 2])  # no image of class 1


def head(classes=4, features=5, seed=0):
    layer = keras.layers.Dense(classes, dtype="float64")
    layer.build((None, features))
    layer.kernel.assign(
        np.random.default_rng(seed).normal(size=(features, classes))
    )
    return layer


def view(layer, h, labels=LABELS):
    call = Call(layer, tf.constant(h))
    return View(tf.zeros((len(h), 1, 1, 1)), labels, None, [], head=call)


def expected(rows, h, labels, length):
    present = np.unique(labels)
    means = np.stack([h[labels == c].mean(0) for c in present])
    targets = length * rows[present]
    means, targets = (m - m.mean(0) for m in (means, targets))
    distance = np.linalg.norm(means - targets, axis=1).mean()
    return distance / np.linalg.norm(targets, axis=1).mean()


def test_the_distance_of_the_means_to_the_rows_of_the_head():
    layer, h = head(), np.random.default_rng(1).normal(size=(6, 5))
    term = ClassMeans(length=1.7)
    found = term.value(term.sums(view(layer, h)), [])
    rows = layer.kernel.numpy().T
    np.testing.assert_allclose(found, expected(rows, h, LABELS, 1.7))
    # Images whose means lie where the rows say have the distance 0, however
    # they differ within a class and wherever their common mean is.
    apart = rows[[2, 0, 3, 2, 0, 2]] * 1.7 + 40
    apart[[0, 3]] += [[1.0], [-1.0]]
    found = term.value(term.sums(view(layer, apart)), [])
    np.testing.assert_allclose(found, 0, atol=1e-6)


def test_a_single_class_has_nothing_to_match():
    layer, h = head(), np.random.default_rng(1).normal(size=(6, 5))
    term, h = ClassMeans(), tf.constant(h)
    with tf.GradientTape() as tape:
        tape.watch(h)
        alone = View(None, np.full(6, 2), None, [], head=Call(layer, h))
        found = term.value(term.sums(alone), [])
    assert float(found) == 0
    np.testing.assert_array_equal(tape.gradient(found, h), 0)


def test_pieces_of_a_batch_add_up_and_have_a_gradient():
    layer, h = head(), np.random.default_rng(1).normal(size=(6, 5))
    term = ClassMeans()
    pieces = [
        term.sums(view(layer, h[part], LABELS[part]))
        for part in (slice(0, 4), slice(4, 6))
    ]
    added = [a + b for a, b in zip(*pieces, strict=True)]
    whole = term.sums(view(layer, h))
    for one, other in zip(added, whole, strict=True):
        np.testing.assert_allclose(one, other)
    x = tf.constant(h)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = term.value(term.sums(view(layer, x)), [])
    gradient = tape.gradient(value, x).numpy()
    moved = h.copy()
    moved[1, 2] += 1e-6
    change = term.value(term.sums(view(layer, moved)), []) - value
    np.testing.assert_allclose(gradient[1, 2], change / 1e-6, rtol=1e-4)


def test_the_estimated_length_gives_the_means_a_cross_entropy_of_a_thousandth():
    # The rows of a simplex are as far apart as can be.
    rows = 3.0 * (np.eye(6) - 1 / 6)
    length = float(head_length(tf.constant(rows)))
    logits = length * rows @ rows.T
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    np.testing.assert_allclose(-np.diag(log_p), 0.001, rtol=1e-6)


def test_a_single_logit_has_the_rows_zero_and_w():
    layer, h = head(classes=1), np.random.default_rng(1).normal(size=(4, 5))
    labels = np.array([0, 1, 1, 0])
    term = ClassMeans(length=2.0)
    found = term.value(term.sums(view(layer, h, labels)), [])
    rows = np.stack([np.zeros(5), layer.kernel.numpy()[:, 0]])
    np.testing.assert_allclose(found, expected(rows, h, labels, 2.0))


def test_a_teacher_without_a_dense_head_is_refused():
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(3, 3, padding="same")(inputs)
    x = keras.layers.BatchNormalization()(x)
    teacher = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
    model = DeepInversion(teacher, Preprocessing(127.5, 50.0))
    with pytest.raises(ValueError, match="dense head.*ClassMeans"):
        model.compile(loss=[ClassMeans()])
    with pytest.raises(ValueError, match="length=0"):
        ClassMeans(length=0)


def test_images_of_an_inversion_move_their_class_means():
    recipe = Recipe([ClassMeans(length=0.3)], [Stage(30)])
    fed = Preprocessing(127.5, 50.0)
    model = DeepInversion(tiny_teacher(), fed, recipe=recipe)
    found = model.fit([0, 1, 2, 0, 1, 2], verbose=0, steps_per_epoch=1)
    values = found.history["class_means"]
    assert values[-1] < 0.5 * values[0]
