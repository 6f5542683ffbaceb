"""The figures about images, against NumPy on the network's own outputs."""

import keras
import numpy as np
import pytest
from inversions import NORMALIZED
from tiny import tiny_teacher

import tf_deepinversion as di
from tf_deepinversion.metrics import diversity
from tf_deepinversion.metrics import recognition
from tf_deepinversion.metrics.verification import verification_table
from tf_deepinversion.networks import reader
from tf_deepinversion.networks.preprocessing import Preprocessing


def some_images(n, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, 8, 8, 1), "uint8")


def z_of(images):
    return ((images.astype("float32") - 127.5) / 50).astype("float32")


@pytest.mark.parametrize("batch_size", [3, 7, 100])
def test_feature_distance_is_the_papers_whatever_the_pieces(
    monkeypatch, batch_size
):
    for read in (reader.read_logits, reader.read_statistics):
        defaults = None, batch_size, *read.__defaults__[2:]
        monkeypatch.setattr(read, "__defaults__", defaults)
    teacher, images = tiny_teacher(), some_images(7)
    expected = 0.0
    for i in range(2):
        bn = teacher.get_layer(f"bn{i}")
        x = keras.Model(teacher.inputs, bn.input)(z_of(images)).numpy()
        x = x.astype("float64")
        mean, variance = bn.moving_mean.numpy(), bn.moving_variance.numpy()
        expected += np.linalg.norm(x.mean((0, 1, 2)) - mean)
        expected += np.linalg.norm(x.var((0, 1, 2)) - variance)
    actual = recognition.feature_distance(teacher, images, NORMALIZED)
    assert actual == pytest.approx(expected, rel=1e-5)


def test_agreement_knows_what_each_network_is_fed():
    teacher, student = tiny_teacher(), tiny_teacher(1)
    images = some_images(40)
    for network, inputs in ((teacher, z_of(images)), (student, images / 255)):
        head = network.layers[-1]
        mean = network(inputs.astype("float32")).numpy().mean(0)
        head.bias.assign(head.bias - mean)  # all classes occur
    # The student reads [0, 1]; by default it reads what its teacher reads.
    own, shares = Preprocessing(0.0, 255.0, "normalized"), set()
    said = teacher(z_of(images)).numpy().argmax(-1)
    for fed, inputs in ((own, images / 255), (None, z_of(images))):
        answers = student(inputs.astype("float32")).numpy().argmax(-1)
        found = recognition.agreement(teacher, student, images, NORMALIZED, fed)
        assert found == (said == answers).mean()
        shares.add(found)
    assert len(shares) == 2, shares
    other = di.models.ResNet20((8, 8, 1), 5, width=2)
    with pytest.raises(ValueError, match="Received: 3 and 5 classes"):
        recognition.agreement(teacher, other, images, NORMALIZED)


def test_accuracy_counts():
    teacher, images = tiny_teacher(), some_images(11)
    guesses = teacher(z_of(images)).numpy().argmax(-1)
    labels = guesses.copy()
    labels[:4] = (labels[:4] + 1) % 3
    actual = recognition.accuracy(teacher, images, labels, NORMALIZED)
    assert actual == pytest.approx(7 / 11)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 3], r"`labels` must lie in \[0, 3\).*from 0 to 3"),
        ([0, -1], "from -1 to 0"),
        ([0.0, 1.0], "`labels` must be integers.*float64"),
    ],
)
def test_labels_that_the_network_does_not_have_are_no_errors_of_it(
    labels, message
):
    teacher, images = tiny_teacher(), some_images(2)
    with pytest.raises((ValueError, TypeError), match=message):
        recognition.accuracy(teacher, images, np.array(labels), NORMALIZED)
    with pytest.raises((ValueError, TypeError), match=message):
        verification_table(
            {"made": (images, np.array(labels))},
            {"other": teacher},
            {"other": NORMALIZED},
        )


def test_penultimate_features_feed_the_head():
    teacher, images = tiny_teacher(), some_images(5)
    features = reader.penultimate_features(teacher, images, NORMALIZED)
    kernel, bias = teacher.layers[-1].get_weights()
    np.testing.assert_allclose(
        features @ kernel + bias, teacher(z_of(images)), rtol=1e-4, atol=1e-5
    )


def test_spread_is_the_deviation_within_classes():
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1], 20_000)
    # Two classes far apart, of variance 4 and 16 in each of 3 dimensions.
    scale = np.where(labels == 0, 2.0, 4.0)[:, None]
    features = random.normal(size=(40_000, 3)) * scale + 100 * labels[:, None]
    expected = np.sqrt((3 * 4 + 3 * 16) / 2)
    actual = diversity.within_class_spread(features, labels)
    assert actual == pytest.approx(expected, rel=0.02)


def test_spread_is_unbiased_for_few_images():
    # Variances 2 and 8, of two images each; the third class has one.
    features = [[0.0], [2.0], [0.0], [4.0], [9.0]]
    found = diversity.within_class_spread(features, [0, 0, 1, 1, 2])
    assert found == pytest.approx(np.sqrt((2 + 8) / 2))


def test_ten_good_pictures_repeated_have_no_spread():
    features = np.random.default_rng(0).normal(size=(10, 4))
    labels = np.tile(np.arange(10), 5)
    spread = diversity.within_class_spread(np.tile(features, (5, 1)), labels)
    assert spread == pytest.approx(0, abs=1e-12)
    with pytest.raises(ValueError, match="class with two images.*10 images"):
        diversity.within_class_spread(features, np.arange(10))
    with pytest.raises(ValueError, match=r"\(10, 4\) and \(10, 2\)"):
        diversity.within_class_spread(features, np.eye(10)[:, :2])
    features[3, 1] = np.nan
    with pytest.raises(ValueError, match="`features`.*1 of 40 numbers"):
        diversity.within_class_spread(features, labels[:10])


def test_alike_gives_images_of_the_wanted_labels_each_once():
    labels = np.array([2, 0, 1, 1, 0, 2])
    images = np.arange(6)
    chosen = diversity.alike(images, labels, [1, 1, 0, 2])
    assert chosen.tolist() == [2, 3, 1, 0]
    with pytest.raises(ValueError, match="3 images of class 1.*Received: 2"):
        diversity.alike(images, labels, [1, 1, 1])
    with pytest.raises(ValueError, match=r"\(6,\) and labels of shape \(5,\)"):
        diversity.alike(images, labels[:5], [1])


def test_confusion_counts_each_pair():
    random = np.random.default_rng(0)
    labels, said = random.integers(0, 7, (2, 500))
    expected = np.zeros((8, 8), int)
    for row, column in zip(labels, said, strict=True):
        expected[row, column] += 1
    found = recognition.confusion(
        labels.astype("uint8"), said.astype("int8"), 8
    )
    np.testing.assert_array_equal(found, expected)
    # uint8 labels of 100 classes must not wrap around.
    high = recognition.confusion(np.array([99], "uint8"), [3], 100)
    assert high[99, 3] == 1 and high.sum() == 1
    assert recognition.confusion([], [], 2).tolist() == [[0, 0], [0, 0]]


def test_the_most_confused_are_those_of_the_matrix():
    random = np.random.default_rng(0)
    labels, said = random.integers(0, 6, (2, 200))
    counts = recognition.confusion(labels, said, 6) * (1 - np.eye(6, dtype=int))
    order = np.argsort(-counts, axis=None, kind="stable")[:7]
    expected = [(i // 6, i % 6, counts.flat[i]) for i in order]
    assert recognition.most_confused(labels, said, 6, 7) == expected
    assert recognition.most_confused([1, 2], [1, 2], 3) == []
    with pytest.raises(ValueError, match="`labels` must lie in"):
        recognition.most_confused([3], [0], 3)
    with pytest.raises(ValueError, match="`most` must be.*most=-1"):
        recognition.most_confused([2], [0], 3, most=-1)


@pytest.mark.parametrize(
    ("labels", "said", "message"),
    [
        ([0, 1], [0], "as many predictions"),
        ([0, 3], [0, 0], "`labels` must lie in .0, 3"),
        ([0, 0], [0, -1], "`predictions` must lie.*from -1 to 0"),
        ([[0, 1]], [[0, 1]], r"one per image.*shapes \(1, 2\)"),
        ([0, 1], [0.0, 1.5], "`predictions` must be integers.*float64"),
    ],
)
def test_what_confusion_refuses(labels, said, message):
    for function in (recognition.confusion, recognition.most_confused):
        with pytest.raises((ValueError, TypeError), match=message):
            function(labels, said, 3)


def test_divergence_is_the_mean_of_kl():
    t, s = np.random.default_rng(0).normal(size=(2, 9, 5)) * 3
    p, q = (np.exp(x) / np.exp(x).sum(-1, keepdims=True) for x in (t, s))
    expected = (p * np.log(p / q)).sum(-1).mean()
    assert recognition.divergence(t, s) == pytest.approx(expected, rel=1e-5)
    # A class that is impossible to the teacher adds nothing.
    for never in (0.0, -np.inf):
        pair = [[0.0, -np.inf]], [[0.0, never]]
        expected = np.log(2) if never == 0 else 0
        assert recognition.divergence(*pair) == pytest.approx(expected)
    assert recognition.divergence([[0.0, 0.0]], [[0.0, -np.inf]]) == np.inf
    assert recognition.divergence(t, t + 1) == pytest.approx(0, abs=1e-6)
    # In float32 at least, and of the same images.
    rough = [np.asarray(keras.ops.cast(x, "bfloat16")) for x in (t, s)]
    exact = recognition.divergence(*(x.astype("float32") for x in rough))
    assert recognition.divergence(*rough) == exact
    with pytest.raises(ValueError, match=r"\(9, 5\) and \(1, 5\)"):
        recognition.divergence(t, s[:1])
    with pytest.raises(ValueError, match=r"at least one.*\(0, 5\)"):
        recognition.divergence(t[:0], s[:0])
    with pytest.raises(ValueError, match=r"two classes.*\(9, 1\)"):
        recognition.divergence(t[:, :1], s[:, :1])
    with pytest.raises(ValueError, match="`student_logits`.*NaN"):
        recognition.divergence(t, s * np.nan)
    mixed = recognition.divergence(t, s.astype("float32"))
    assert mixed == pytest.approx(recognition.divergence(t, s), rel=1e-5)


def test_classes_are_counted_by_how_frequent_they_are():
    assert diversity.effective_classes([4] * 9) == 1
    assert diversity.effective_classes(np.arange(50) % 10) == pytest.approx(10)
    p = np.array([0.9, 0.1])
    found = diversity.effective_classes([0] * 9 + [7])
    assert found == pytest.approx(np.exp(-(p * np.log(p)).sum()), abs=1e-5)
    for wrong in ([], [0, -1], [0.5], [[0], [1]]):
        with pytest.raises(ValueError, match="integers from 0. Received: an"):
            diversity.effective_classes(wrong)


def test_penultimate_features_of_a_subclassed_and_of_a_headless_network():
    teacher, images = tiny_teacher(activation="softmax"), some_images(5)
    features = reader.penultimate_features(teacher, images, NORMALIZED)

    class Wrapped(keras.Model):
        def __init__(self):
            super().__init__()
            self.inner = teacher

        def call(self, x, training=False):
            return self.inner(x, training=training)

    found = reader.penultimate_features(Wrapped(), images, NORMALIZED)
    np.testing.assert_allclose(found, features, rtol=1e-5)
    pooled = keras.layers.GlobalAveragePooling2D()(
        keras.layers.Conv2D(3, 3)(teacher.inputs[0])
    )
    headless = keras.Model(teacher.inputs, pooled)
    np.testing.assert_allclose(
        reader.penultimate_features(headless, images, NORMALIZED),
        headless(z_of(images)),
        rtol=1e-5,
    )
