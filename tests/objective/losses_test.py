"""Cross-entropy and Jensen-Shannon against NumPy and finite differences."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tf_deepinversion.objective import losses


def softmax(logits):
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def numpy_cross_entropy(labels, logits):
    return np.array(
        [-np.log(softmax(z)[y]) for y, z in zip(labels, logits, strict=True)]
    )


def kullback_leibler(p, q):
    # 0 log 0 = 0, where a probability underflows.
    terms = [a * np.log(a / b) for a, b in zip(p, q, strict=True) if a > 0]
    return math.fsum(terms)


def numpy_jensen_shannon(teacher, student, temperature=3.0):
    pairs = zip(
        softmax(teacher / temperature),
        softmax(student / temperature),
        strict=True,
    )
    return np.array(
        [
            (
                kullback_leibler(p, (p + q) / 2)
                + kullback_leibler(q, (p + q) / 2)
            )
            / 2
            for p, q in pairs
        ]
    )


def logits(seed, shape=(4, 5), scale=3.0):
    return np.random.default_rng(seed).normal(size=shape) * scale


def gradient_of(function, x):
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = tf.reduce_sum(function(x))
    return tape.gradient(value, x).numpy()


def central_differences(function, x, h=1e-5):
    slopes = np.zeros_like(x)
    for index in np.ndindex(*x.shape):
        step = np.zeros_like(x)
        step[index] = h
        rise = function(x + step) - function(x - step)
        slopes[index] = rise.sum() / (2 * h)
    return slopes


def test_cross_entropy_is_minus_the_log_of_the_label_s_probability():
    labels = np.array([0, 4, 2, 2])
    np.testing.assert_allclose(
        losses.cross_entropy(labels, logits(0)),
        numpy_cross_entropy(labels, logits(0)),
        rtol=1e-12,
    )


def test_cross_entropy_s_gradient_is_softmax_minus_one_hot():
    labels = np.array([0, 4, 2, 2])
    np.testing.assert_allclose(
        gradient_of(lambda z: losses.cross_entropy(labels, z), logits(1)),
        softmax(logits(1)) - np.eye(5)[labels],
        atol=1e-12,
    )


def test_cross_entropy_of_extreme_logits():
    z = np.array([[1e4, 0, -1e4]] * 3, "float32")
    labels = np.array([0, 1, 2])
    np.testing.assert_allclose(
        losses.cross_entropy(labels, z), [0, 1e4, 2e4], rtol=1e-6
    )
    np.testing.assert_allclose(
        gradient_of(lambda x: losses.cross_entropy(labels, x), z),
        [[0, 0, 0], [1, -1, 0], [1, 0, -1]],
        atol=1e-6,
    )


@pytest.mark.parametrize("temperature", [1.0, 3.0, 20.0])
def test_jensen_shannon(temperature):
    np.testing.assert_allclose(
        losses.jensen_shannon(logits(0), logits(1), temperature),
        numpy_jensen_shannon(logits(0), logits(1), temperature),
        rtol=1e-10,
    )


def test_jensen_shannon_s_temperature_is_three():
    np.testing.assert_allclose(
        losses.jensen_shannon(logits(0), logits(1)),
        numpy_jensen_shannon(logits(0), logits(1), 3.0),
        rtol=1e-10,
    )


def test_jensen_shannon_is_symmetric():
    np.testing.assert_allclose(
        losses.jensen_shannon(logits(2), logits(3)),
        losses.jensen_shannon(logits(3), logits(2)),
        rtol=1e-12,
    )


def test_jensen_shannon_lies_between_zero_and_log_two():
    z = logits(4).astype("float32")
    # Logits are known up to a constant, which must not matter.
    np.testing.assert_allclose(losses.jensen_shannon(z, z + 7), 0, atol=1e-6)
    apart = np.array([[80.0, -80.0]], "float32")
    np.testing.assert_allclose(
        losses.jensen_shannon(apart, -apart), math.log(2), rtol=1e-6
    )


@pytest.mark.parametrize("side", ["teacher", "student"])
@pytest.mark.parametrize(
    "teacher,student",
    [
        (logits(5), logits(6)),
        # The second class is improbable to both, the first to one of them.
        (np.array([[9.0, -30.0, 1.0]]), np.array([[-9.0, -30.5, 2.0]])),
        # The first class is exactly as probable to the one as to the other.
        (np.array([[1.0, 2.0, 3.0]]), np.array([[1.0, 3.0, 2.0]])),
        (np.array([[2.0, 0.0, 0.0]]), np.array([[0.0, 0.0, 2.0]])),
    ],
    ids=["random", "improbable", "tie", "ties"],
)
def test_jensen_shannon_s_gradient(teacher, student, side):
    def ours(z):
        pair = (z, student) if side == "teacher" else (teacher, z)
        return losses.jensen_shannon(*pair)

    def oracle(z):
        pair = (z, student) if side == "teacher" else (teacher, z)
        return numpy_jensen_shannon(*pair)

    at = teacher if side == "teacher" else student
    np.testing.assert_allclose(
        gradient_of(ours, at), central_differences(oracle, at), atol=1e-9
    )


def test_jensen_shannon_s_gradient_is_zero_at_equality():
    z = logits(7).astype("float32")
    gradient = gradient_of(lambda x: losses.jensen_shannon(x, z), z)
    np.testing.assert_allclose(gradient, 0, atol=1e-7)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_jensen_shannon_s_gradient_with_logits_of_eighty(temperature):
    teacher = np.array([[80, -80, 0, 79], [80, 80, -80, -80]], "float32")
    student = np.array([[-80, 80, 1, 80], [78, -80, -79, 80]], "float32")

    def oracle(z):
        return numpy_jensen_shannon(z, student.astype("float64"), temperature)

    gradient = gradient_of(
        lambda z: losses.jensen_shannon(z, student, temperature), teacher
    )
    expected = central_differences(oracle, teacher.astype("float64"))
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(gradient, expected, atol=1e-6)


def test_agreed_divergence_is_kl_where_both_say_the_same():
    teacher = np.array([[2.0, 1.0, 0.0], [2.0, 1.0, 0.0], [0.0, 9.0, 1.0]])
    student = np.array([[1.0, 0.9, 0.0], [1.0, 1.1, 0.0], [-90.0, 5.0, 4.0]])
    expected = [
        kullback_leibler(softmax(t), softmax(s))
        for t, s in zip(teacher, student, strict=True)
    ]
    expected[1] = 0.0
    np.testing.assert_allclose(
        losses.agreed_divergence(teacher, student), expected, rtol=1e-10
    )
    gradient = gradient_of(
        lambda s: losses.agreed_divergence(teacher, s), student
    )
    agreed = np.array([[1.0], [0.0], [1.0]])
    np.testing.assert_allclose(
        gradient, agreed * (softmax(student) - softmax(teacher)), atol=1e-12
    )


def test_a_class_that_is_masked_adds_nothing():
    """Networks mask classes by logits of -inf, and 0 times -inf is NaN."""
    masked = tf.constant([[1.0, 2.0, -np.inf]])
    others = tf.constant([[0.5, -1.0, 3.0]])
    two, p = np.array([[1.0, 2.0]]), softmax(np.array([[1.0, 2.0]]))[0]
    with tf.GradientTape() as tape:
        tape.watch(masked)
        found = losses.cross_entropy([0], masked)
    np.testing.assert_allclose(found, numpy_cross_entropy([0], two), rtol=1e-6)
    np.testing.assert_allclose(
        tape.gradient(found, masked), [[p[0] - 1, p[1], 0]], rtol=1e-5
    )
    q = softmax(others.numpy().astype("float64"))[0]
    expected = kullback_leibler(p, q[:2])
    logs = [tf.nn.log_softmax(x) for x in (masked, others)]
    found = losses.kullback_leibler(*logs)
    np.testing.assert_allclose(found, [expected], rtol=1e-5)
    both = [masked, masked]
    for divergence in (losses.agreed_divergence, losses.jensen_shannon):
        np.testing.assert_allclose(divergence(*both), [0.0], atol=1e-6)
    m = (np.append(p, 0) + q) / 2
    half = kullback_leibler(np.append(p, 0), m)
    expected = (half + kullback_leibler(q, m)) / 2
    with tf.GradientTape() as tape:
        tape.watch([masked, others])
        found = losses.jensen_shannon(masked, others, temperature=1.0)
    np.testing.assert_allclose(found, [expected], rtol=1e-5)
    assert all(
        np.isfinite(g).all() for g in tape.gradient(found, [masked, others])
    )
    student = tf.Variable(others)
    with tf.GradientTape() as tape:
        found = losses.kullback_leibler(
            tf.nn.log_softmax(masked), tf.nn.log_softmax(student)
        )
    expected = q - np.append(p, 0)
    np.testing.assert_allclose(
        tape.gradient(found, student)[0], expected, rtol=1e-5
    )
