"""Gaussians of classes: moments, the map, the head, and tasks in a row."""

import keras
import numpy as np
import pytest
from inversions import NORMALIZED
from keras import layers
from tiny import SHAPE
from tiny import tiny_teacher
from tiny import with_head

from tf_deepinversion import Pool
from tf_deepinversion.incremental import ClassGaussians
from tf_deepinversion.incremental import Term
from tf_deepinversion.incremental import learn_tasks
from tf_deepinversion.incremental.class_gaussians import least_squares_map
from tf_deepinversion.metrics import accuracy
from tf_deepinversion.networks.reader import penultimate_features

RANDOM = np.random.default_rng(0)
LABELS = np.repeat([0, 1, 2], [30, 50, 20])
IMAGES = (
    RANDOM.integers(0, 150, (100, *SHAPE)) + 30 * LABELS[:, None, None, None]
)
IMAGES = IMAGES.astype("uint8")


def linear(change=None, shift=0.0):
    """A network whose four features are linear in the pixels."""
    random = np.random.default_rng(1)
    kernel, bias = random.normal(size=(64, 4)) / 50, random.normal(size=4)
    if change is not None:
        kernel, bias = kernel @ change, bias @ change + shift
    network = keras.Sequential(
        [
            keras.Input(SHAPE),
            layers.Rescaling(1 / 60, -2, name="normalize"),
            layers.Flatten(),
            layers.Dense(4),
            layers.Dense(3),
        ]
    )
    network.layers[2].set_weights([kernel, bias])
    return network


def extended(network, images):
    features = penultimate_features(network, images, NORMALIZED)
    return np.pad(
        features.astype("float64"), [(0, 0), (0, 1)], constant_values=1
    )


def measured(network=None):
    return ClassGaussians.measure(
        network or tiny_teacher(), IMAGES, LABELS, NORMALIZED
    )


def test_a_class_is_the_second_moments_of_its_features_and_of_one():
    gaussians = measured()
    for label in range(3):
        u = extended(tiny_teacher(), IMAGES[LABELS == label])
        np.testing.assert_allclose(
            gaussians.moments[label], u.T @ u / len(u), rtol=1e-4, atol=1e-5
        )


def test_the_map_is_of_weighted_least_squares():
    old, new = RANDOM.normal(size=(50, 5)), RANDOM.normal(size=(50, 5))
    weights = RANDOM.uniform(1, 9, 50)
    root = np.sqrt(weights)[:, None]
    expected, *_ = np.linalg.lstsq(root * old, root * new)
    found = least_squares_map(old, new, weights, ridge=1e-12)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    # Where no image shows a feature, the feature stays.
    old[:, 2] = new[:, 2] = 0
    found = least_squares_map(old, new, weights)
    np.testing.assert_allclose(found[2], np.eye(5)[2], atol=1e-9)


def test_moments_follow_a_network_that_changes_linearly():
    change, shift = RANDOM.normal(size=(4, 4)), RANDOM.normal(size=4)
    old, new = linear(), linear(change, shift)
    others = RANDOM.integers(0, 256, (40, *SHAPE), "uint8")
    moved = ClassGaussians.measure(old, IMAGES, LABELS).moved(
        old, new, others, np.arange(40) % 7
    )
    expected = ClassGaussians.measure(new, IMAGES, LABELS)
    for label in range(3):
        np.testing.assert_allclose(
            moved.moments[label], expected.moments[label], rtol=2e-3, atol=2e-3
        )


def test_each_class_weighs_the_same_in_the_map():
    old, new = tiny_teacher(0), tiny_teacher(1)
    rows = np.r_[np.arange(100), np.repeat(np.arange(30), 4)]
    one, other = (
        measured(old).moved(old, new, IMAGES[r], LABELS[r], NORMALIZED)
        for r in (np.arange(100), rows)
    )
    np.testing.assert_allclose(
        one.moments[1], other.moments[1], rtol=1e-3, atol=1e-3
    )


def log_densities(features, means, covariance):
    """Up to what all classes share, of Gaussians with one covariance."""
    away = features[:, None] - means
    return (
        -np.einsum("ncd,de,nce->nc", away, np.linalg.inv(covariance), away) / 2
    )


@pytest.mark.parametrize("classes", [3, 1])
def test_the_head_compares_densities(classes):
    network = with_head(layers.Dense(classes))
    labels = LABELS if classes == 3 else (LABELS > 0).astype(int)
    gaussians = ClassGaussians.measure(network, IMAGES, labels, NORMALIZED)
    solved = gaussians.network(network, shrinkage=0.1)
    features = penultimate_features(network, IMAGES, NORMALIZED).astype(
        "float64"
    )
    groups = [features[labels == c] for c in range(labels.max() + 1)]
    within = np.mean([np.cov(g.T, bias=True) for g in groups], 0)
    within += 0.1 * np.trace(within) / 4 * np.eye(4)
    expected = log_densities(
        features, np.array([g.mean(0) for g in groups]), within
    )
    logits = solved(NORMALIZED.fed(IMAGES)).numpy()
    if classes == 1:
        logits = np.pad(logits, [(0, 0), (1, 0)])
    np.testing.assert_allclose(
        logits - logits[:, :1], expected - expected[:, :1], rtol=0.01, atol=0.05
    )
    assert network.layers[-1].kernel.shape == solved.layers[-1].kernel.shape


def test_saved_moments_are_the_same_and_no_image_is_kept(tmp_path):
    gaussians = measured()
    gaussians.save(tmp_path / "gaussians.npz")
    loaded = ClassGaussians.load(tmp_path / "gaussians.npz")
    assert loaded.classes == [0, 1, 2]
    for label in range(3):
        np.testing.assert_array_equal(
            loaded.moments[label], gaussians.moments[label]
        )
    # 6 features and 1: 28 numbers a class, and the label.
    assert gaussians.kept_bytes == 3 * (28 + 1) * 4
    np.savez(tmp_path / "other.npz", images=IMAGES)
    with pytest.raises(ValueError, match="that `ClassGaussians.save` wrote"):
        ClassGaussians.load(tmp_path / "other.npz")


def test_refusals():
    with pytest.raises(ValueError, match=r"Received: classes \[0, 1\]"):
        ClassGaussians.measure(
            tiny_teacher(), IMAGES[:80], LABELS[:80], NORMALIZED
        ).network(tiny_teacher())
    bare = with_head(layers.Dense(3, use_bias=False))
    with pytest.raises(ValueError, match="use_bias=True"):
        measured(bare).network(bare)
    with pytest.raises(ValueError, match=r"\[\(5, 5\), \(7, 7\)\]"):
        measured().joined(measured(bare))
    with pytest.raises(ValueError, match="Received: shrinkage=0"):
        measured().head(shrinkage=0)


def noise(model, classes, folder, seed):
    labels = np.repeat(classes, 8)
    random = np.random.default_rng(seed)
    return Pool.of(
        random.integers(0, 256, (len(labels), *SHAPE), "uint8"), labels
    )


@pytest.mark.filterwarnings("ignore:After its training")
def test_tasks_follow_and_solve_the_head_after_each(tmp_path, eagerly):
    """As by hand, from the networks that each task saved."""
    tasks = [
        (IMAGES[LABELS < 2], LABELS[LABELS < 2] + 3),
        (IMAGES[LABELS == 2], LABELS[LABELS == 2] + 3),
    ]
    tests = [(IMAGES, LABELS), *tasks]
    pools = []

    def synthesize(*args):
        pools.append(noise(*args))
        return pools[-1]

    def learn(**kwargs):
        return learn_tasks(
            tiny_teacher(),
            tasks,
            # Changes the network, and teaches nothing.
            [
                Term(
                    "size",
                    1.0,
                    lambda step: keras.ops.mean(step.new.features**2),
                    True,
                )
            ],
            synthesize=synthesize,
            tests=tests,
            epochs=1,
            batch_size=20,
            preprocessing=NORMALIZED,
            folder=tmp_path,
            verbose=0,
            **kwargs,
        )

    trained = learn()
    assert trained.gaussians is None
    # In a finished folder nothing is trained again.
    found = learn(gaussians=measured())
    networks = [tiny_teacher()] + [
        keras.models.load_model(tmp_path / f"task_{i}.keras") for i in (1, 2)
    ]
    gaussians, replayed = measured(), []
    rows = [[accuracy(gaussians.network(networks[0]), *tests[0], NORMALIZED)]]
    for i, task in enumerate(tasks):
        replayed.append(pools[i])
        images, labels = (
            np.concatenate(
                [task[k], *([p.images, p.labels][k] for p in replayed)]
            )
            for k in (0, 1)
        )
        gaussians = gaussians.moved(
            networks[i], networks[i + 1], images, labels, NORMALIZED
        ).joined(ClassGaussians.measure(networks[i + 1], *task, NORMALIZED))
        solved = gaussians.network(networks[i + 1])
        rows.append([accuracy(solved, *t, NORMALIZED) for t in tests[: i + 2]])
    for ours, own in zip(
        found.network.get_weights(), solved.get_weights(), strict=True
    ):
        np.testing.assert_allclose(ours, own, rtol=1e-4, atol=1e-4)
    assert found.accuracies == rows != trained.accuracies
    assert found.gaussians.classes == list(range(6))
    statistics = 2 * 4 * (4 + 6)
    images = sum(p.images.nbytes for p in pools[:2])
    assert trained.kept_bytes == images + statistics
    assert found.kept_bytes - trained.kept_bytes == gaussians.kept_bytes
