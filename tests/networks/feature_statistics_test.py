"""Taps on every kind of model, and R_feature against NumPy."""

import contextlib
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf
import zoo
from keras import layers

from tf_deepinversion.networks import batch_norm_moments
from tf_deepinversion.networks.batch_norm_moments import Moments
from tf_deepinversion.networks.batch_norm_moments import batch_norms
from tf_deepinversion.networks.batch_norm_moments import moments
from tf_deepinversion.networks.batch_norm_moments import tap
from tf_deepinversion.networks.call_hooks import Call
from tf_deepinversion.networks.call_hooks import collect
from tf_deepinversion.objective.distances import DISTANCES
from tf_deepinversion.objective.distances import plain_distance


def rng(seed=0):
    return np.random.default_rng(seed)


def make_bn(mean, variance, **kwargs):
    bn = layers.BatchNormalization(**kwargs)
    shape = [1] * 4
    shape[bn.axis] = len(mean)
    bn.build(tuple(shape))
    bn.moving_mean.assign(mean)
    bn.moving_variance.assign(variance)
    return bn


def numpy_distance(x, bn, form="plain"):
    """R_feature of one call, by NumPy's own mean and biased variance."""
    x = np.moveaxis(np.asarray(x, "float64"), bn.axis, -1)
    axes = tuple(range(x.ndim - 1))
    m = bn.moving_mean.numpy().astype("float64")
    v = bn.moving_variance.numpy().astype("float64")
    mean_gap, variance_gap = x.mean(axes) - m, x.var(axes) - v
    if form == "relative":
        v = v + bn.epsilon
        of_means = np.sqrt(np.sum(mean_gap**2) / np.sum(v))
        return of_means + np.sqrt(np.sum(variance_gap**2) / np.sum(v**2))
    if form == "normalized":
        mean_gap = mean_gap / np.sqrt(v + bn.epsilon)
        variance_gap = variance_gap / (v + bn.epsilon)
        return np.sqrt(np.mean(mean_gap**2)) + np.sqrt(np.mean(variance_gap**2))
    return np.sqrt(np.sum(mean_gap**2)) + np.sqrt(np.sum(variance_gap**2))


def distance_of(function, bn):
    return lambda x: function(moments(Call(bn, x)), bn)


def gradient_of(function, x):
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = function(x)
    return tape.gradient(value, x).numpy()


each_distance = pytest.mark.parametrize(
    "function,form", [(function, form) for form, function in DISTANCES.items()]
)


@each_distance
@pytest.mark.parametrize(
    "shape,axis", [((4, 3, 2, 5), -1), ((4, 5, 3, 2), 1), ((7, 5), -1)]
)
def test_distance(function, form, shape, axis):
    # Moving variances as wide apart as EfficientNet-Lite's: 0 to 600.
    bn = make_bn(rng(1).normal(size=5), [0, 1e-6, 1, 20, 600], axis=axis)
    x = rng().normal(size=shape) * 2 + 1
    expected = numpy_distance(x, bn, form)
    ours = distance_of(function, bn)
    np.testing.assert_allclose(ours(tf.constant(x)), expected, rtol=1e-10)
    np.testing.assert_allclose(
        ours(tf.constant(x, "float32")), expected, rtol=1e-4
    )


@each_distance
def test_gradient_is_that_of_finite_differences(function, form):
    bn = make_bn([0.3, -1.0], [0.5, 4.0], dtype="float64")
    x, h = rng(2).normal(size=(2, 3, 2, 2)), 1e-6
    expected = np.zeros_like(x)
    for index in np.ndindex(*x.shape):
        step = np.zeros_like(x)
        step[index] = h
        expected[index] = (
            numpy_distance(x + step, bn, form)
            - numpy_distance(x - step, bn, form)
        ) / (2 * h)
    np.testing.assert_allclose(
        gradient_of(distance_of(function, bn), x), expected, atol=1e-8
    )


@each_distance
def test_gradient_is_zero_where_the_statistics_fit_exactly(function, form):
    bn = make_bn([0.0, 5.0], [1.0, 4.0])
    x = np.array([[-1, 3], [1, 7], [-1, 7], [1, 3]], "float32")
    assert numpy_distance(x, bn, form) == 0
    ours = distance_of(function, bn)
    assert float(ours(tf.constant(x))) == 0
    np.testing.assert_array_equal(gradient_of(ours, x), 0)


@each_distance
def test_which_distances_know_how_large_features_are(function, form):
    x = rng(5).normal(size=(6, 4, 4, 3))
    mean, variance = rng(6).normal(size=3), np.array([0.1, 1.0, 30.0])
    one = make_bn(mean, variance, epsilon=1e-3)
    ten = make_bn(10 * mean, 100 * variance, epsilon=1e-1)
    a = float(distance_of(function, one)(tf.constant(x)))
    b = float(distance_of(function, ten)(tf.constant(10 * x)))
    if form == "plain":
        assert b > 20 * a
    else:
        assert b == pytest.approx(a, rel=1e-6)


def test_moments_are_sums_about_the_moving_mean():
    bn = make_bn([1.0, -2.0], [1.0, 1.0], axis=1)
    x = rng(3).normal(size=(4, 2, 3, 3))
    sums = moments(Call(bn, tf.constant(x)))
    assert float(sums.count) == 4 * 3 * 3
    shifted = x - np.array([1.0, -2.0])[:, None, None]
    np.testing.assert_allclose(sums.first, shifted.sum((0, 2, 3)))
    np.testing.assert_allclose(sums.second, (shifted**2).sum((0, 2, 3)))


def test_moments_of_pieces_add_up_to_those_of_the_whole():
    bn = make_bn(rng(1).normal(size=3), [1.0, 2.0, 3.0])
    x = tf.constant(rng(4).normal(size=(6, 2, 2, 3)))
    pieces = [moments(Call(bn, piece)) for piece in (x[:2], x[2:3], x[3:])]
    added = Moments(*map(sum, zip(*pieces, strict=True)))
    for ours, whole in zip(added, moments(Call(bn, x)), strict=True):
        np.testing.assert_allclose(ours, whole, rtol=1e-12)
    # Which the mean of the pieces' distances is not.
    np.testing.assert_allclose(
        plain_distance(added, bn), numpy_distance(x, bn), rtol=1e-10
    )


def test_variance_far_from_zero_in_float32():
    bn = make_bn([1000.0], [0.0])
    x = (1000 + rng(5).normal(size=(64, 8, 8, 1))).astype("float32")
    sums = moments(Call(bn, tf.constant(x)))
    mean_gap, variance = batch_norm_moments.mean_and_variance_gaps(sums, bn)
    exact = x.astype("float64")
    np.testing.assert_allclose(mean_gap[0], exact.mean() - 1000, atol=1e-5)
    np.testing.assert_allclose(variance[0], exact.var(), rtol=1e-3)


@each_distance
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_promoted(function, form, dtype):
    # In float16 the squares alone would overflow at 65,504.
    bn = make_bn([0.0, 10.0], [1.0, 400.0])
    x = tf.cast(rng(6).normal(size=(4, 3, 3, 2)) * 500, dtype)
    distance = distance_of(function, bn)(x)
    assert distance.dtype == "float32"
    exact = numpy_distance(tf.cast(x, "float64").numpy(), bn, form)
    np.testing.assert_allclose(distance, exact, rtol=1e-4)


# The taps. That they see every kind of model right is in zoo_test.py.


def images(seed=8, count=5):
    random = rng(seed)
    return random.normal(size=(count, *zoo.SHAPE)).astype("float32")


def make_model(build):
    """A model, its BatchNormalizations, and what they see by plain reading."""
    model, read, _ = zoo.teacher(build)
    return model, batch_norms(model), lambda x: [y for _, y in read(x)[1]]


def assert_records(records, bns, expected):
    assert [r.layer for r in records] == bns
    for record, x in zip(records, expected, strict=True):
        np.testing.assert_allclose(record.inputs, x, rtol=1e-4, atol=1e-5)


def untouched(*bns):
    return all("call" not in bn.__dict__ for bn in bns)


def test_other_normalizations_are_not_batch_norms():
    model = keras.Sequential(
        [
            keras.Input((4, 4, 2)),
            layers.GroupNormalization(1),
            layers.LayerNormalization(),
        ]
    )
    assert batch_norms(model) == []


def test_the_model_is_restored_after_an_exception():
    model, bns, _ = make_model(zoo.nested)
    with pytest.raises(RuntimeError, match="on purpose"), tap(model):
        assert not untouched(*bns)
        raise RuntimeError("on purpose")
    assert untouched(*bns)
    # Also after one within a call.
    with contextlib.suppress(ValueError), tap(model), collect():
        model(np.zeros((2, 9), "float32"))
    assert untouched(*bns)
    with collect() as records:
        model(images())
    assert records == []


def test_nested_taps_give_one_record_a_call():
    model, bns, oracle = make_model(zoo.sequential)
    with tap(model):
        with tap(model), collect() as records:
            model(images(), training=False)
        assert_records(records, bns, oracle(images()))
        assert not untouched(*bns)
    assert untouched(*bns)


def test_overlapping_taps():
    model, bns, oracle = make_model(zoo.functional)
    first, second = tap(model), tap(model)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    with collect() as records:
        model(images(), training=False)
    assert_records(records, bns, oracle(images()))
    second.__exit__(None, None, None)
    assert untouched(*bns)


def test_taps_of_two_models_that_share_a_layer():
    shared = layers.BatchNormalization()
    x = keras.Input(zoo.SHAPE)
    one = keras.Model(x, shared(x))
    two = keras.Model(x, shared(layers.Rescaling(2.0)(x)))
    with tap(two):
        with tap(one):
            pass
        with collect() as records:
            two(images(), training=False)
        assert_records(records, [shared], [2 * images()])
    assert untouched(shared)


def test_a_call_that_the_user_has_replaced_is_used_and_put_back():
    model, (bn, _), _ = make_model(zoo.functional)
    original = bn.call

    def users_own(inputs, **kwargs):
        return original(inputs, **kwargs) + 100

    object.__setattr__(bn, "call", users_own)
    expected = model(images())
    with tap(model), collect() as records:
        result = model(images())
    assert bn.__dict__["call"] is users_own
    assert len(records) == 2
    # Not to the bit: the other layer is read by `fast_batch_norm`.
    np.testing.assert_allclose(result, expected, rtol=1e-6)


def test_collectors_are_a_stack():
    model, bns, oracle = make_model(zoo.functional)
    with tap(model), collect() as outer:
        # Two empty lists are equal: closing must not take the wrong one.
        with collect() as inner:
            pass
        model(images(1), training=False)
        assert inner == []
        assert_records(outer, bns, oracle(images(1)))
        with collect() as inner:
            model(images(2), training=False)
        assert_records(inner, bns, oracle(images(2)))
    assert_records(outer, bns * 2, [*oracle(images(1)), *oracle(images(2))])
    with tap(model):
        model(images(3))
    assert len(outer) == 4 and len(inner) == 2


def test_two_threads_that_collect_at_once_do_not_mix():
    model, bns, oracle = make_model(zoo.functional)
    barrier = threading.Barrier(2, timeout=60)
    found = {}

    def work(seed):
        with collect() as records:
            barrier.wait()
            model(images(seed), training=False)
            barrier.wait()
            found[seed] = list(records)

    with tap(model):
        threads = [threading.Thread(target=work, args=(s,)) for s in (1, 2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for seed in (1, 2):
        assert_records(found[seed], bns, oracle(images(seed)))


def test_threads_that_tap_at_once_restore_the_model():
    model, bns, oracle = make_model(zoo.functional)
    barrier = threading.Barrier(2, timeout=60)
    found = {}

    def work(seed):
        barrier.wait()
        with tap(model):
            # Both are open; the first leaves while the second still reads.
            barrier.wait()
            if seed == 2:
                barrier.wait()
                with collect() as records:
                    model(images(seed), training=False)
                found[seed] = records
        if seed == 1:
            barrier.wait()

    threads = [threading.Thread(target=work, args=(s,)) for s in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert_records(found[2], bns, oracle(images(2)))
    assert untouched(*bns)
