"""Every kind of teacher is read right, and is left as it was."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import zoo
from keras import layers

from tf_deepinversion import CrossEntropy
from tf_deepinversion import FeatureStatistics
from tf_deepinversion.networks.batch_norm_moments import batch_norms
from tf_deepinversion.networks.classifier import Classifier
from tf_deepinversion.objective.terms import weighted_values
from tf_deepinversion.objective.view import View

LABELS = tf.constant([0, 1, 2, 0, 1])
TERMS = [CrossEntropy(), FeatureStatistics(0.7)]


def ours(classifier, x):
    """The statistics, the loss and its gradient in x, as inversion does it."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(x)
        reading = classifier.read(x)
        view = View(x, LABELS, reading.logits, reading.batch_norm_calls)
        sums = [term.sums(view) for term in TERMS]
        loss = sum(weighted_values(TERMS, sums, classifier.batch_norms))
    return tf.nest.flatten(sums[1]), loss, tape.gradient(loss, x)


def plainly(read, x):
    """The same of a plain reading, by the moments that TensorFlow knows."""
    x, statistics = tf.constant(x), []
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(x)
        logits, seen = read(x)
        loss = tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(LABELS, logits)
        )
        for bn, y in seen:
            m, v = zoo.plain(bn.moving_mean), zoo.plain(bn.moving_variance)
            mean, variance = tf.nn.moments(y, range(len(y.shape) - 1))
            loss += 0.7 * (tf.norm(mean - m) + tf.norm(variance - v))
            count = float(np.prod(y.shape[:-1]))
            second = count * (variance + tf.square(mean - m))
            statistics += [count, count * (mean - m), second]
    return statistics, loss, tape.gradient(loss, x)


def assert_close(found, expected, tolerance):
    for a, b in zip(
        tf.nest.flatten(found), tf.nest.flatten(expected), strict=True
    ):
        a, b = np.float64(a), np.float64(b)
        np.testing.assert_allclose(a, b, atol=tolerance * np.abs(b).max())


def read(classifier, images, **kwargs):
    with classifier.open():
        return tf.function(ours, **kwargs)(classifier, tf.constant(images))


def state(model):
    """All attributes of all layers and of their inputs, and the weights."""
    members = model._flatten_layers()
    inputs = [x for x in members if isinstance(x, layers.InputLayer)]
    members += [x.output for x in inputs]
    return (
        [(x, dict(vars(x))) for x in members],
        [w.numpy().tobytes() for w in model.weights],
    )


@pytest.mark.parametrize("kind", zoo.KINDS)
def test_a_kind_is_read_right_and_left_as_it_was(kind):
    model, plain_read, images = zoo.teacher(zoo.KINDS[kind])
    before, expected = state(model), plainly(plain_read, images)
    classifier = Classifier(model, images.shape[1:])
    assert_close(read(classifier, images), expected, 1e-5)
    with classifier.open():
        assert_close(ours(classifier, tf.constant(images)), expected, 1e-5)
    assert state(model) == before


@pytest.mark.parametrize(
    "kind",
    [
        "nested",
        "subclassed",
        "call_is_a_tf_function",
        "channels_first",
        "rematerialized",
    ],
)
def test_a_kind_is_read_right_by_xla(kind):
    model, plain_read, images = zoo.teacher(zoo.KINDS[kind])
    found = read(Classifier(model, images.shape[1:]), images, jit_compile=True)
    assert_close(found, plainly(plain_read, images), 1e-5)


@pytest.mark.parametrize(
    "kind", ["sequential_without_input", "rematerialized", "pixels"]
)
def test_a_kind_is_left_as_it_was_after_exceptions(kind):
    model, _, images = zoo.teacher(zoo.KINDS[kind])
    before = state(model)
    classifier = Classifier(model, images.shape[1:], "mixed_bfloat16")
    with pytest.raises(RuntimeError, match="on purpose"), classifier.open():
        raise RuntimeError("on purpose")
    # And within a call: there is a channel too few.
    with pytest.raises(ValueError), classifier.open():
        classifier.read(images[..., :1])
    assert state(model) == before


@pytest.mark.parametrize(
    "build,names",
    [
        (lambda: zoo.hidden_by(keras.remat), "{bns[1]}"),
        (lambda: zoo.hidden_by(tf.recompute_grad), "{bns[1]}"),
        (lambda: zoo.hidden_by(tf.function), "{bns[1]}"),
        (lambda: zoo.pixels("int32"), "{model}, {bns[0]}, {bns[1]}"),
    ],
)
def test_what_hides_a_layer_from_the_gradient_is_refused(build, names):
    model, _, _ = zoo.teacher(build)
    bns = [bn.path for bn in batch_norms(model)]
    received = names.format(model=model.path, bns=bns)
    with pytest.raises(ValueError, match=f"not reach.*Received: {received}$"):
        Classifier(model)


HALF = [
    zoo.functional,
    zoo.sequential_without_input,
    zoo.nested,
    zoo.subclassed,
    zoo.subclassed_of_models,
    zoo.custom_layers,
    zoo.assorted_layers,
]


@pytest.mark.parametrize(
    "build,dtype",
    [(build, "mixed_float16") for build in HALF]
    + [(build, "float16") for build in (zoo.nested, zoo.assorted_layers)],
)
def test_float16_is_read_in_float32(build, dtype):
    model, plain_read, images = zoo.teacher(build, dtype=dtype)
    found = read(Classifier(model, images.shape[1:]), images)
    assert_close(found, plainly(plain_read, images), 1e-5)


@pytest.mark.parametrize("build", HALF)
def test_bfloat16_is_computed_where_it_is_asked_for(build):
    model, plain_read, images = zoo.teacher(build)
    twin, _, _ = zoo.teacher(build, dtype="mixed_bfloat16")
    twin.set_weights(model.get_weights())
    classifier = Classifier(model, images.shape[1:], "mixed_bfloat16")
    with classifier.open():
        reading = classifier.read(tf.constant(images))
    logits, records = reading.logits, reading.batch_norm_calls
    assert {r.inputs.dtype for r in records} == {tf.bfloat16}
    np.testing.assert_array_equal(logits, twin(images, training=False))
    statistics, loss, gradient = read(classifier, images)
    dtypes = {x.dtype for x in [*statistics, loss, gradient]}
    assert (
        dtypes == {tf.float32} == {tf.as_dtype(w.dtype) for w in model.weights}
    )
    expected = plainly(plain_read, images)
    assert_close((statistics, loss, gradient), expected, 0.1)
