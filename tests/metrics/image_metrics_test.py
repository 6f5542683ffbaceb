"""The figures of sets of images, against a few lines of NumPy each."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_deepinversion.metrics.image_sets import FrechetDistance
from tf_deepinversion.metrics.image_sets import InceptionScore
from tf_deepinversion.metrics.image_sets import precision_and_recall


def numpy_inception_score(logits):
    p = np.exp(logits - logits.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    divergences = (p * (np.log(p) - np.log(p.mean(0)))).sum(-1)
    return np.exp(divergences.mean())


@pytest.mark.parametrize("pieces", [1, 3, 50])
def test_inception_score_is_numpy_s_however_it_is_cut(pieces):
    logits = np.random.default_rng(0).normal(size=(50, 7)) * 3
    score = InceptionScore(classes=7)
    for piece in np.array_split(logits, pieces):
        score.update_state(piece)
    assert float(score.images) == 50
    expected = numpy_inception_score(logits)
    assert float(score.result()) == pytest.approx(expected, rel=1e-12)


def test_inception_score_at_its_bounds():
    score = InceptionScore(classes=4)
    score.update_state(1e4 * np.eye(4))  # p log p would be 0 x -inf
    assert float(score.result()) == pytest.approx(4)
    score.reset_state()
    score.update_state(1e4 * np.eye(4)[[2, 2, 2]])
    assert float(score.result()) == pytest.approx(1)


def two_sets(features=5, made=40, real=60, seed=0):
    random = np.random.default_rng(seed)
    mix = random.normal(size=(2, features, features))
    a = random.normal(size=(made, features)) @ mix[0] + 10
    return a, random.normal(size=(real, features)) @ mix[1] + 11


def numpy_frechet(a, b):
    ca, cb = (np.cov(x, rowvar=False) for x in (a, b))
    # The eigenvalues of C C' itself, which is not symmetric.
    crossed = np.sqrt(np.linalg.eigvals(ca @ cb).astype(complex)).real.sum()
    gap = ((a.mean(0) - b.mean(0)) ** 2).sum()
    return gap + np.trace(ca) + np.trace(cb) - 2 * crossed


@pytest.mark.parametrize("pieces", [1, 4])
def test_frechet_distance_is_numpy_s_however_it_is_cut(pieces):
    a, b = two_sets()
    distance = FrechetDistance(features=5)
    for piece in np.array_split(a, pieces):
        distance.update_state(piece)
    for piece in np.array_split(b, pieces):
        distance.update_state(piece, real=True)
    assert distance.images.numpy().tolist() == [40, 60]
    expected = numpy_frechet(a, b)
    assert float(distance.result()) == pytest.approx(expected, rel=1e-10)


def test_frechet_distance_with_fewer_images_than_features():
    a, b = two_sets(features=30, made=8, real=9)
    distance = FrechetDistance(features=30)
    distance.update_state(a)
    distance.update_state(b, real=True)
    # Singular covariances: rounding alone is left of most eigenvalues.
    expected = numpy_frechet(a, b)
    assert float(distance.result()) == pytest.approx(expected, rel=1e-4)
    same = FrechetDistance(features=30)
    same.update_state(a)
    same.update_state(a, real=True)
    assert float(same.result()) == pytest.approx(0, abs=1e-4)


def test_features_far_from_0_are_refused_and_can_be_moved():
    a, b = two_sets()
    expected = numpy_frechet(a, b)
    for offset in (0.0, 1e4, 1e8):
        distance = FrechetDistance(features=5)
        distance.update_state(a + offset)
        distance.update_state(b + offset, real=True)
        if offset < 1e8:
            found = float(distance.result())
            assert found == pytest.approx(expected, rel=1e-4)
        else:
            with pytest.raises(ValueError, match="subtract the same vector"):
                distance.result()


def test_states_add_up_as_replicas_add_them():
    a, b = two_sets()
    parts = [FrechetDistance(features=5) for _ in "ab"]
    for metric, some, real in zip(
        parts, (a[:15], a[15:]), (b[:9], b[9:]), strict=True
    ):
        metric.update_state(some)
        metric.update_state(real, real=True)
    whole = FrechetDistance(features=5)
    for one, other, both in zip(
        *(m.variables for m in parts), whole.variables, strict=True
    ):
        both.assign(one + other)
    expected = numpy_frechet(a, b)
    assert float(whole.result()) == pytest.approx(expected, rel=1e-10)


def test_results_in_a_graph():
    logits = np.random.default_rng(0).normal(size=(50, 7))
    a, b = two_sets()
    score, distance = InceptionScore(classes=7), FrechetDistance(features=5)

    @tf.function
    def results():
        score.update_state(logits)
        distance.update_state(a)
        distance.update_state(b, real=True)
        return score.result(), distance.result()

    found = [float(x) for x in results()]
    expected = [numpy_inception_score(logits), numpy_frechet(a, b)]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_too_little_is_an_error():
    distance = FrechetDistance(features=2)
    distance.update_state(np.ones((3, 2)))
    distance.update_state(np.ones((1, 2)), real=True)
    with pytest.raises(ValueError, match=r"two images.*\[3, 1\]"):
        distance.result()
    with pytest.raises(ValueError, match=r"\(n, 2\).*shape=\(3, 1\)"):
        distance.update_state(np.ones((3, 1)))
    with pytest.raises(ValueError, match="bool. Received: real=2"):
        distance.update_state(np.ones((3, 2)), real=2)
    with pytest.raises(ValueError, match="1 or more. Received: 0"):
        InceptionScore(classes=0)
    with pytest.raises(ValueError, match="inception_score.*one image.*0"):
        InceptionScore(classes=2).result()


def test_a_nan_among_the_numbers_is_an_error():
    score, distance = InceptionScore(classes=2), FrechetDistance(features=2)
    numbers = np.array([[0.0, np.nan], [1.0, 0.0]])
    score.update_state(numbers)
    distance.update_state(numbers)
    distance.update_state(np.eye(2), real=True)
    for metric in (score, distance):
        with pytest.raises(ValueError, match=f"{metric.name}.*a NaN"):
            metric.result()
    with pytest.raises(ValueError, match="`real` must be finite.*1 of 8"):
        precision_and_recall(np.ones((4, 2)), [*np.ones((3, 2)), numbers[0]], 1)


@pytest.mark.parametrize(
    "metric", [InceptionScore(4, "score"), FrechetDistance(4, "distance")]
)
def test_metrics_come_back_from_their_configuration(metric):
    again = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(metric)
    )
    assert type(again) is type(metric)
    assert again.get_config() == metric.get_config()
    assert {v.dtype for v in again.variables} == {"float64"}


def slow_share(points, centers, k):
    inside = 0
    for point in points:
        for center in centers:
            radius = sorted(np.linalg.norm(centers - center, axis=1))[k]
            if np.linalg.norm(point - center) <= radius:
                inside += 1
                break
    return inside / len(points)


@pytest.mark.parametrize("block", [7, 1000])
def test_precision_and_recall_by_their_definition(block):
    random = np.random.default_rng(0)
    made, real = random.normal(size=(30, 3)), random.normal(size=(40, 3)) * 2
    found = precision_and_recall(made, real, neighbors=2, block=block)
    expected = slow_share(made, real, 2), slow_share(real, made, 2)
    assert expected[0] > expected[1] > 0
    assert found == pytest.approx(expected)


def test_one_mode_made_of_two_is_precise_and_recalls_half():
    random = np.random.default_rng(0)
    near, far = random.normal(size=(2, 50, 2)) * 0.01
    real = np.concatenate([near, far + 5])
    assert precision_and_recall(near, real) == (1.0, 0.5)
    with pytest.raises(ValueError, match="neighbors=50, 50 and 100"):
        precision_and_recall(near, real, neighbors=50)
    with pytest.raises(ValueError, match="equal numbers of.*(50, 2).*(50, 1)"):
        precision_and_recall(near, near[:, :1])


@pytest.mark.parametrize("offset", [1e6, 1e8])
def test_precision_and_recall_do_not_depend_on_the_origin(offset):
    random = np.random.default_rng(0)
    made, real = random.integers(0, 1000, (2, 200, 4)).astype("float64")
    expected = precision_and_recall(made, real)
    found = precision_and_recall(made + offset, real + offset)
    assert found == expected and min(found) < 1


@pytest.mark.parametrize("wrong", [{"block": 0}, {"neighbors": 1.5}])
def test_numbers_of_precision_and_recall_are_whole(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=f"`{name}` must be a whole number"):
        precision_and_recall(np.eye(9), np.eye(9), **wrong)
