"""Each term against NumPy; terms of pieces add up; gradients are exact."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tf_deepinversion.networks.call_hooks import Call
from tf_deepinversion.objective.image_terms import L2
from tf_deepinversion.objective.image_terms import TotalVariation
from tf_deepinversion.objective.student_terms import AgreedDivergence
from tf_deepinversion.objective.student_terms import Competition
from tf_deepinversion.objective.teacher_terms import CrossEntropy
from tf_deepinversion.objective.teacher_terms import FeatureStatistics
from tf_deepinversion.objective.terms import Term
from tf_deepinversion.objective.terms import draw
from tf_deepinversion.objective.terms import weighted_values
from tf_deepinversion.objective.view import View

# A teacher that NumPy can follow: it reads the image and its square by two
# BatchNormalizations, and its logits are linear in the pixels.
SHAPE = (3, 4, 2)
CLASSES = 4
LABELS = np.array([2, 0, 3, 1, 1])


def make_batch_norms():
    found = []
    for mean, variance in (([0.2, -0.3], [0.5, 2.0]), ([1.0, 0], [0, 30.0])):
        bn = layers.BatchNormalization(dtype="float64")
        bn.build((None, 2))
        bn.moving_mean.assign(mean)
        bn.moving_variance.assign(variance)
        found.append(bn)
    return found


BATCH_NORMS = make_batch_norms()
HEADS = np.random.default_rng(0).normal(size=(2, np.prod(SHAPE), CLASSES))


def images(count=5, seed=1):
    return np.random.default_rng(seed).normal(size=(count, *SHAPE))


def view(x, labels=LABELS):
    x = tf.convert_to_tensor(x)
    flat = tf.reshape(x, (-1, np.prod(SHAPE)))
    seen = zip(BATCH_NORMS, (x, x * x), strict=True)
    return View(
        x,
        tf.constant(labels),
        flat @ HEADS[0],
        [Call(*pair) for pair in seen],
        flat @ HEADS[1],
    )


def probabilities(x, head, temperature=1.0):
    e = np.exp(x.reshape(len(x), -1) @ HEADS[head] / temperature)
    return e / e.sum(-1, keepdims=True)


def numpy_cross_entropy(x, labels=LABELS, temperature=1.0):
    p = probabilities(x, 0, temperature)
    return -np.mean([np.log(p[i, y]) for i, y in enumerate(labels)])


def numpy_competition(x, temperature=3.0):
    p, q = (probabilities(x, head, temperature) for head in (0, 1))
    m = (p + q) / 2
    js = np.sum(p * np.log(p / m) + q * np.log(q / m), axis=-1) / 2
    return 1 - js.mean()


def numpy_agreed_divergence(x):
    p, q = probabilities(x, 0), probabilities(x, 1)
    agreed = p.argmax(-1) == q.argmax(-1)
    assert 0 < agreed.sum() < len(x)
    return -np.mean(agreed * np.sum(p * np.log(p / q), axis=-1))


def numpy_features(x, first_weight=1.0):
    total = 0
    for seen, bn, factor in zip(
        (x, x * x), BATCH_NORMS, (first_weight, 1), strict=True
    ):
        mean_gap = seen.mean((0, 1, 2)) - bn.moving_mean.numpy()
        variance_gap = seen.var((0, 1, 2)) - bn.moving_variance.numpy()
        total += factor * np.linalg.norm(mean_gap)
        total += factor * np.linalg.norm(variance_gap)
    return total


def numpy_normalized_features(x, first_weight=1.0):
    distances = []
    for seen, bn in zip((x, x * x), BATCH_NORMS, strict=True):
        v = bn.moving_variance.numpy() + bn.epsilon
        mean_gap = seen.mean((0, 1, 2)) - bn.moving_mean.numpy()
        variance_gap = seen.var((0, 1, 2)) - bn.moving_variance.numpy()
        distances.append(
            np.sqrt(np.mean(mean_gap**2 / v))
            + np.sqrt(np.mean((variance_gap / v) ** 2))
        )
    return (first_weight * distances[0] + distances[1]) / 2


def numpy_differences(x):
    return (
        np.diff(x, axis=2),
        np.diff(x, axis=1),
        x[:, 1:, 1:] - x[:, :-1, :-1],
        x[:, 1:, :-1] - x[:, :-1, 1:],
    )


TERMS = {
    "cross_entropy": (CrossEntropy(1.5), numpy_cross_entropy),
    "softened": (
        CrossEntropy(0.3, temperature=3.0),
        lambda x: numpy_cross_entropy(x, temperature=3.0),
    ),
    "features": (FeatureStatistics(2.0), numpy_features),
    "features first": (
        FeatureStatistics(0.1, first_weight=10.0),
        lambda x: numpy_features(x, 10.0),
    ),
    "normalized": (
        FeatureStatistics(0.2, form="normalized"),
        numpy_normalized_features,
    ),
    "normalized first": (
        FeatureStatistics(0.2, form="normalized", first_weight=3.0),
        lambda x: numpy_normalized_features(x, 3.0),
    ),
    "total variation": (
        TotalVariation(0.3),
        lambda x: sum(np.sqrt((d**2).sum()) for d in numpy_differences(x)),
    ),
    "total variation l1": (
        TotalVariation(0.7, form="l1"),
        lambda x: sum(np.abs(d).mean() for d in numpy_differences(x)),
    ),
    "l2": (L2(0.4), lambda x: np.sqrt((x**2).sum())),
    "l2 of images": (
        L2(0.5, over="images"),
        lambda x: np.mean(np.sqrt((x**2).sum((1, 2, 3)))),
    ),
    "competition": (Competition(0.6), numpy_competition),
    "competition T": (
        Competition(0.6, temperature=1.5),
        lambda x: numpy_competition(x, 1.5),
    ),
    "agreed divergence": (AgreedDivergence(0.8), numpy_agreed_divergence),
}
each_term = pytest.mark.parametrize(
    "term,oracle", TERMS.values(), ids=TERMS.keys()
)


def central_differences(function, x, h=1e-6):
    slopes = np.zeros_like(x)
    for index in np.ndindex(*x.shape):
        step = np.zeros_like(x)
        step[index] = h
        slopes[index] = (function(x + step) - function(x - step)) / (2 * h)
    return slopes


def pieces_of(x):
    return [(x[:2], LABELS[:2]), (x[2:3], LABELS[2:3]), (x[3:], LABELS[3:])]


def added(pieces):
    return tf.nest.map_structure(lambda *sums: sum(sums), *pieces)


def value_of(term, sums):
    return term.value(sums, BATCH_NORMS)


@each_term
def test_value_is_numpy_s(term, oracle):
    value = value_of(term, term.sums(view(images())))
    np.testing.assert_allclose(value, oracle(images()), rtol=1e-12)


@each_term
def test_sums_of_pieces_add_up_to_those_of_the_batch(term, oracle):
    pieces = [term.sums(view(*piece)) for piece in pieces_of(images())]
    total = added(pieces)
    np.testing.assert_allclose(
        value_of(term, total), oracle(images()), rtol=1e-10
    )
    tf.nest.map_structure(
        lambda ours, whole: np.testing.assert_allclose(
            ours, whole, rtol=1e-10, atol=1e-10
        ),
        total,
        term.sums(view(images())),
    )


def whole_loss(x):
    return sum(term.weight * oracle(x) for term, oracle in TERMS.values())


def test_weighted_values_are_the_terms_times_their_weights():
    terms = [term for term, _ in TERMS.values()]
    sums = [term.sums(view(images())) for term in terms]
    np.testing.assert_allclose(
        weighted_values(terms, sums, BATCH_NORMS),
        [term.weight * oracle(images()) for term, oracle in TERMS.values()],
        rtol=1e-10,
    )


def test_a_term_keeps_nothing_of_the_teacher_that_it_has_read():
    """One term serves two inversions whose graphs are traced in turn."""
    term = FeatureStatistics()
    sums = term.sums(view(images()))
    bn = BATCH_NORMS[1]
    x = tf.constant(images())
    one = View(x, LABELS, None, [Call(bn, x)])
    np.testing.assert_allclose(
        term.value(term.sums(one), [bn]),
        np.linalg.norm(images().mean((0, 1, 2)) - bn.moving_mean.numpy())
        + np.linalg.norm(images().var((0, 1, 2)) - bn.moving_variance.numpy()),
    )
    np.testing.assert_allclose(value_of(term, sums), numpy_features(images()))


def test_statistics_that_are_not_synchronized_are_the_mean_of_the_pieces():
    term = FeatureStatistics(first_weight=3.0, synchronized=False)
    pieces = [term.sums(view(*piece)) for piece in pieces_of(images())]
    each = [numpy_features(x, 3.0) for x, _ in pieces_of(images())]
    value = value_of(term, added(pieces))
    np.testing.assert_allclose(value, np.mean(each), rtol=1e-10)
    assert abs(np.mean(each) / numpy_features(images(), 3.0) - 1) > 1e-3


def test_gradients_of_pieces_by_cotangents_are_the_gradient_of_the_whole():
    terms = [term for term, _ in TERMS.values()]
    tapes, inputs, parts = [], [], []
    for piece, labels in pieces_of(images()):
        x = tf.constant(piece)
        with tf.GradientTape() as tape:
            tape.watch(x)
            parts.append([t.sums(view(x, labels)) for t in terms])
        tapes.append(tape)
        inputs.append(x)
    total = added(parts)
    with tf.GradientTape() as tape:
        tape.watch(total)
        values = weighted_values(terms, total, BATCH_NORMS)
        loss = sum(tf.cast(v, "float64") for v in values)
    cotangents = tape.gradient(
        loss, total, unconnected_gradients=tf.UnconnectedGradients.ZERO
    )
    found = np.concatenate(
        [
            tape.gradient(part, x, output_gradients=cotangents)
            for tape, part, x in zip(tapes, parts, inputs, strict=True)
        ]
    )
    expected = central_differences(whole_loss, images())
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(
    "term,text",
    [
        (CrossEntropy(), "cross_entropy"),
        (FeatureStatistics(), "feature_statistics"),
        (TotalVariation(), "total_variation"),
        (L2(), "l2"),
        (Competition(), "competition"),
        (AgreedDivergence(), "agreed_divergence"),
    ],
)
def test_names_and_needs(term, text):
    assert term.name == text
    assert term.weight == 1
    assert term.needs_batch_norms == (text == "feature_statistics")
    assert term.needs_student == (text in ("competition", "agreed_divergence"))


@each_term
def test_config_round_trip(term, oracle):
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(term)))
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is type(term)
    assert again.get_config() == term.get_config()
    assert again.weight == term.weight
    np.testing.assert_allclose(
        value_of(again, again.sums(view(images()))),
        oracle(images()),
        rtol=1e-10,
    )


@pytest.mark.parametrize("weight", [-1, -1e-9, np.nan, np.inf])
@pytest.mark.parametrize(
    "make",
    [
        AgreedDivergence,
        Competition,
        CrossEntropy,
        FeatureStatistics,
        L2,
        TotalVariation,
    ],
)
def test_bad_weights(make, weight):
    message = f"not negative. Received: weight={weight} for {make.__name__}"
    with pytest.raises(ValueError, match=message):
        make(weight)


@pytest.mark.parametrize(
    "make,message",
    [
        (lambda: FeatureStatistics(first_weight=-1), "first_weight=-1"),
        (lambda: FeatureStatistics(first_weight=np.nan), "first_weight=nan"),
        (lambda: TotalVariation(form="l3"), '"l1" or "l2".*form=\'l3\''),
        (lambda: L2(over="pixels"), "Received: over='pixels'"),
        (lambda: Competition(temperature=0), "positive.*temperature=0"),
        (lambda: CrossEntropy(feature_dropout=1), "in .0, 1.*dropout=1"),
        (lambda: CrossEntropy(feature_dropout=-0.1), "dropout=-0.1"),
        (lambda: CrossEntropy(temperature=-1), "positive.*temperature=-1"),
        (lambda: CrossEntropy(temperature=np.inf), "finite.*temperature=inf"),
        (lambda: Competition(temperature=np.nan), "temperature=nan"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_terms_draw_rows_of_their_own_that_differ_by_step():
    terms = [CrossEntropy(feature_dropout=0.5), L2()]
    terms.append(CrossEntropy(feature_dropout=0.5))
    seed = tf.constant([3, 0])
    one, none, other = draw(terms, seed, tf.constant(7), 5, 6)
    assert one.shape == other.shape == (5, 6) and none.shape == (5, 0)
    assert (one.numpy() != other.numpy()).all()
    again, *_ = draw(terms, seed, tf.constant(7), 5, 6)
    np.testing.assert_array_equal(one, again)
    later, *_ = draw(terms, seed, tf.constant(8), 5, 6)
    assert (one.numpy() != later.numpy()).all()


def test_a_dropped_feature_leaves_the_cross_entropy_of_the_others():
    term, head = CrossEntropy(feature_dropout=0.25), layers.Dense(CLASSES)
    features = np.random.default_rng(2).normal(size=(5, 3)).astype("float32")
    head.build((None, 3))
    numbers = np.random.default_rng(3).uniform(size=(5, 3))
    seen = View(
        tf.zeros((5, *SHAPE)),
        tf.constant(LABELS),
        None,
        [],
        head=Call(head, tf.constant(features)),
        numbers=tf.constant(numbers, "float32"),
    )
    kept = np.where(numbers < 0.75, features / 0.75, 0)
    logits = kept @ head.kernel.numpy()
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    expected = -np.mean([np.log(p[i, y]) for i, y in enumerate(LABELS)])
    found = value_of(term, term.sums(seen))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert term.needs_features and not CrossEntropy().needs_features


def test_a_term_of_the_user_s_own():
    class Brightness(Term):
        name = "brightness"

        def sums(self, view):
            return [tf.reduce_sum(view.images)]

        def value(self, sums, batch_norms):
            return sums[0]

    (value,) = weighted_values(
        [Brightness(0.5)], [Brightness().sums(view(images()))], BATCH_NORMS
    )
    np.testing.assert_allclose(value, images().sum() / 2, rtol=1e-12)
