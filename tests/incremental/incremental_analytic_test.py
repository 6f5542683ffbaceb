"""The analytic head against ridge regression on all images at once."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from inversions import NORMALIZED
from keras import layers
from tiny import SHAPE
from tiny import tiny_teacher

import tf_deepinversion as di
from tf_deepinversion.incremental import AnalyticHead
from tf_deepinversion.incremental import pooled_features
from tf_deepinversion.incremental import random_features
from tf_deepinversion.incremental.analytic_head import RIDGES
from tf_deepinversion.networks.reader import penultimate_features

RANDOM = np.random.default_rng(0)
LABELS = np.repeat([0, 1, 2, 3], [7, 40, 20, 33])
# Images of a class are brighter than those of the class before.
IMAGES = RANDOM.integers(0, 180, (100, *SHAPE)) + 25 * LABELS.reshape(
    -1, 1, 1, 1
)
IMAGES = IMAGES.astype("uint8")


def tiny_features(**kwargs):
    return random_features(SHAPE, **{"filters": 2, "size": 3, **kwargs})


def learned(order=((0, 1), (2, 3)), **kwargs):
    head = AnalyticHead(tiny_features(), **kwargs)
    for task in order:
        rows = np.isin(LABELS, task)
        head.update(IMAGES[rows], LABELS[rows])
    return head


def expected_logits(z, labels, ridge):
    """Ridge regression of one-hot labels, each class of weight 1."""
    count = labels.max() + 1
    weight = 1 / np.bincount(labels)[labels] / count
    center = weight @ z
    z = (z - center) / np.sqrt(weight @ (z - center) ** 2)
    y = np.eye(count)[labels]
    normal = z.T @ (weight[:, None] * z) + ridge * np.eye(z.shape[1])
    y -= 1 / count
    fitted = z @ np.linalg.solve(normal, z.T @ (weight[:, None] * y))
    return fitted / np.mean(weight @ (fitted - y) ** 2)


def test_features_are_pooled_lengths_of_responses_and_mean_colors():
    model = random_features(
        (8, 8, 2), filters=3, size=3, threshold=0.3, mean=100, std=50, places=2
    )
    kernel = model.get_layer("filters").kernel.numpy()[:, :, 0]
    np.testing.assert_allclose(kernel.sum((0, 1)), 0, atol=1e-6)
    np.testing.assert_allclose((kernel**2).sum((0, 1)), 1, atol=1e-6)
    pixels = RANDOM.integers(0, 256, (5, 8, 8, 2))
    z, length = (pixels - 100) / 50, np.zeros((5, 6, 6, 3))
    for i in range(6):
        for j in range(6):
            patch = z[:, i : i + 3, j : j + 3]
            responses = np.einsum("nijc,ijf->ncf", patch, kernel)
            length[:, i, j] = np.sqrt((responses**2).sum(1))
    cells = np.maximum(length - 0.3, 0).reshape(5, 2, 3, 2, 3, 3)
    colors = z.reshape(5, 2, 4, 2, 4, 2)
    expected = [x.mean((2, 4)).reshape(5, -1) for x in (cells, colors)]
    np.testing.assert_allclose(
        model(pixels), np.concatenate(expected, -1), atol=1e-5
    )


def test_edges_are_the_same_in_other_colors():
    """Which are the old ones turned in the space of colors."""
    model = random_features((12, 12, 3), filters=4, mean=0, std=1)
    turn, _ = np.linalg.qr(RANDOM.normal(size=(3, 3)))
    colors = RANDOM.normal(size=(5, 12, 12, 3)).astype("float32")
    turned = colors @ turn.astype("float32") + 7
    one, other = (model(x).numpy() for x in (turned, colors))
    edges = one.shape[1] - 4 * 4 * 3
    np.testing.assert_allclose(one[:, :edges], other[:, :edges], rtol=1e-4)


def test_a_gradient_is_finite_where_nothing_responds():
    plain = tf.zeros((1, *SHAPE))
    with tf.GradientTape() as tape:
        tape.watch(plain)
        total = tf.reduce_sum(tiny_features(threshold=0)(plain))
    assert np.isfinite(tape.gradient(total, plain)).all()


def test_other_seeds_and_sizes_give_other_features():
    one, other = (tiny_features(seed=s)(IMAGES[:2]).numpy() for s in (0, 1))
    assert np.abs(one - other).max() > 0.01
    colored = random_features((9, 17, 3), filters=1, mean=[1, 2, 3])
    # Along the axes 2 and 10 responses, by 2 and 4 cells, and 9 and 17 pixels.
    assert colored.output_shape == (None, 2 * 4 + 3 * 3 * 4)
    for wrong in (
        {"size": 9},
        {"filters": 0},
        {"threshold": -1},
        {"std": 0},
        {"mean": float("nan")},
        {"mean": [1, 2]},
    ):
        with pytest.raises(ValueError, match=f"Received: {next(iter(wrong))}="):
            tiny_features(**wrong)
    with pytest.raises(ValueError, match="without open sizes"):
        random_features((None, 8, 1))


@pytest.mark.parametrize("ridge", [1e-3, 0.5])
def test_sums_give_the_regression_on_all_images(ridge):
    model = learned(ridge=ridge).classifier()
    z = tiny_features()(IMAGES).numpy().astype("float64")
    expected = expected_logits(z, LABELS, ridge)
    np.testing.assert_allclose(model(IMAGES), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("noise", [0, 100])
def test_the_best_ridge_is_that_of_cross_validation(noise):
    """Of the hat matrix of all images, which the head does not have."""
    labels = np.arange(80) % 4
    images = RANDOM.normal(50 * labels[:, None], 30 + noise, (80, 64))
    images = images.clip(0, 255).reshape(80, *SHAPE).astype("uint8")
    head = AnalyticHead(tiny_features(filters=4))
    head.update(images, labels)
    z = head.features(images).numpy().astype("float64")
    z = (z - z.mean(0)) / z.std(0)
    y, n = np.eye(4)[labels], len(z)
    scores, left_out = [], []
    for ridge in RIDGES:
        hat = z @ np.linalg.solve(z.T @ z / n + ridge * np.eye(z.shape[1]), z.T)
        hat = (hat + 1) / n
        wrong = y - hat @ y
        scores.append(np.mean(wrong**2) / (1 - np.trace(hat) / n) ** 2)
        left_out.append(np.mean((wrong.T / (1 - np.diag(hat))) ** 2))
    best = int(np.argmin(scores))
    assert head.best_ridge() == RIDGES[best]
    # Each image left out in turn has nearly the least error.
    assert left_out[best] < 1.02 * min(left_out)
    plain = AnalyticHead(tiny_features(filters=4), ridge=RIDGES[best])
    plain.update(images, labels)
    for a, b in zip(head.solve(), plain.solve(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_order_of_tasks_cannot_matter():
    one, *others = [
        learned(order).classifier()(IMAGES).numpy()
        for order in (((0, 1), (2, 3)), ((2, 3), (0, 1)), ((3,), (0, 2), (1,)))
    ]
    for other in others:
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3)


def test_a_constant_feature_tells_nothing():
    head = AnalyticHead(tiny_features())
    images = np.where(np.arange(8)[:, None] < 4, IMAGES[..., 0], 7)[..., None]
    head.update(images, LABELS)  # black below: the responses are 0 there
    kernel, bias = head.solve()
    assert np.isfinite(kernel).all() and np.isfinite(bias).all()
    dark = head.features(images).numpy().std(0) == 0
    assert dark.any() and not kernel[dark].any()


def test_a_saved_head_goes_on_and_holds_no_image(tmp_path):
    head = learned([(0, 1)], ridge=0.01)
    head.save(tmp_path / "head.npz")
    loaded = AnalyticHead.load(tmp_path / "head.npz")
    with np.load(tmp_path / "head.npz") as file:
        arrays = {name: file[name] for name in file.files}
    size = head.features.output_shape[1]
    assert arrays.pop("_header").dtype.kind == "U"
    assert arrays["second"].shape == (size * (size + 1) // 2,)
    assert arrays["means"].shape == (2, size)
    names = {"second", "means", "classes", "counts", "features"}
    assert set(arrays) == names
    kept = sum(array.nbytes for array in arrays.values())
    assert abs(head.kept_bytes - kept) < 100  # a date within `features`
    assert loaded.ridge == 0.01
    for one in (head, loaded):
        one.update(IMAGES[LABELS > 1], LABELS[LABELS > 1])
    for a, b in zip(head.solve(), loaded.solve(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_classifier_is_a_plain_network(tmp_path):
    model = learned().classifier()
    model.save(tmp_path / "analytic.keras")
    loaded = keras.models.load_model(tmp_path / "analytic.keras")
    np.testing.assert_array_equal(model(IMAGES), loaded(IMAGES))
    assert not model.trainable_weights


def test_the_classifier_becomes_a_file_of_integers():
    """`quantize` refuses operations that have no form in 8 bits."""
    model = learned(((0, 1, 2, 3),)).classifier()
    content = di.quantization.quantize(model, IMAGES)
    found = di.quantization.LiteRT(content)(IMAGES).argmax(1)
    assert np.mean(found == model(IMAGES).numpy().argmax(1)) > 0.9


def test_features_may_be_those_of_a_network():
    network = tiny_teacher()
    features = pooled_features(network, NORMALIZED)
    expected = penultimate_features(network, IMAGES, NORMALIZED)
    np.testing.assert_allclose(features(IMAGES), expected, atol=1e-5)
    head = AnalyticHead(features, ridge=0.1)
    head.update(IMAGES, LABELS)
    network.layers[1].kernel.assign_add(network.layers[1].kernel)
    np.testing.assert_allclose(
        head.classifier()(IMAGES),
        expected_logits(expected.astype("float64"), LABELS, 0.1),
        rtol=1e-3,
        atol=1e-3,
    )


def test_maps_before_the_pooling_become_their_means():
    network = keras.Sequential(
        [
            keras.Input(SHAPE),
            layers.Conv2D(4, 3),
            layers.Conv2D(5, 1),
            layers.GlobalAveragePooling2D(),
        ]
    )
    z = pooled_features(network, NORMALIZED)(IMAGES).numpy()
    kernel, bias = network.layers[1].get_weights()
    np.testing.assert_allclose(
        z @ kernel[0, 0] + bias,
        network(NORMALIZED.fed(IMAGES)),
        atol=1e-5,
    )


def test_features_may_be_the_last_maps_of_each_size():
    """For classes that the network has never seen."""
    inputs = keras.Input((8, 8, 2))
    x = layers.Rescaling(1 / 255)(inputs)  # no maps of its own
    x = first = layers.Conv2D(3, 3, padding="same", activation="relu")(x)
    x = layers.ZeroPadding2D(1)(x)  # 10x10, maps of no new size
    x = second = layers.Conv2D(4, 3, strides=2)(x)  # 4x4
    x = layers.GlobalAveragePooling2D()(second)
    network = keras.Model(inputs, layers.Dense(2)(x))
    images = RANDOM.integers(0, 256, (5, 8, 8, 2)).astype("uint8")
    fed = di.Preprocessing(127, 64)
    found = pooled_features(network, fed, places=2)(images).numpy()
    maps = keras.Model(inputs, [first, second])(images.astype("float32"))
    expected = [
        x.numpy()
        .reshape(5, 2, x.shape[1] // 2, 2, x.shape[1] // 2, -1)
        .mean((2, 4))
        .reshape(5, -1)
        for x in maps
    ]
    np.testing.assert_allclose(found, np.concatenate(expected, 1), rtol=1e-5)


def test_gates_and_normalized_pixels_are_no_maps():
    """As in EfficientNet: squeeze, excite, and scale all places alike."""
    inputs = keras.Input((8, 8, 2))
    normalization = layers.Normalization()
    normalization.adapt(RANDOM.normal(size=(4, 8, 8, 2)))
    x = first = layers.Conv2D(3, 3, strides=2)(normalization(inputs))  # 3x3
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    x = x * layers.Conv2D(3, 1, activation="sigmoid")(gate)
    second = layers.Conv2D(4, 2)(x)  # 2x2
    x = layers.GlobalAveragePooling2D()(second)
    network = keras.Model(inputs, layers.Dense(2)(x))
    found = pooled_features(network, di.Preprocessing(127, 64), places=1)
    images = RANDOM.integers(0, 256, (5, 8, 8, 2)).astype("float32")
    scaled, last = keras.Model(inputs, [first, second])(images)
    scaled *= network.layers[4](tf.reduce_mean(scaled, (1, 2), keepdims=True))
    expected = [x.numpy().mean((1, 2)) for x in (scaled, last)]
    np.testing.assert_allclose(
        found(images), np.concatenate(expected, 1), rtol=1e-4, atol=1e-4
    )


def test_maps_with_channels_first_have_no_places():
    inputs = keras.Input((8, 8, 2))
    x = layers.Permute((3, 1, 2))(inputs)
    x = layers.Conv2D(3, 3, data_format="channels_first")(x)
    x = layers.GlobalAveragePooling2D(data_format="channels_first")(x)
    network = keras.Model(inputs, layers.Dense(2)(x))
    with pytest.raises(ValueError, match="channels first in 'conv2d"):
        pooled_features(network, di.Preprocessing(127, 64), places=2)


def test_an_interrupted_update_changes_nothing(monkeypatch):
    head, rest = learned([(0, 1)]), np.isin(LABELS, (2, 3))
    moments = AnalyticHead._moments

    def interrupted(self, images):
        if len(images) == (LABELS == 3).sum():
            raise KeyboardInterrupt
        return moments(self, images)

    with monkeypatch.context() as patch:
        patch.setattr(AnalyticHead, "_moments", interrupted)
        with pytest.raises(KeyboardInterrupt):
            head.update(IMAGES[rest], LABELS[rest])
    head.update(IMAGES[rest], LABELS[rest])
    for part, whole in zip(head.solve(), learned().solve(), strict=True):
        np.testing.assert_array_equal(part, whole)


def test_where_no_error_can_be_estimated_the_ridge_is_the_largest():
    """One image of a class: as many images as weigh the same are four."""
    head = AnalyticHead(tiny_features())
    head.update(IMAGES[[0, *range(7, 47)]], np.repeat([0, 1], [1, 40]))
    assert head.best_ridge() == RIDGES[-1]


def test_a_network_s_logits_may_be_features(tmp_path):
    network = keras.Sequential(
        [
            keras.Input(SHAPE),
            layers.Flatten(),
            layers.Dense(3, name="logits"),
        ]
    )
    head = AnalyticHead(network, ridge=np.float32(0.5))
    head.update(IMAGES, LABELS)
    expected = expected_logits(network(IMAGES).numpy(), LABELS, 0.5)
    head.save(tmp_path / "head.npz")
    loaded = AnalyticHead.load(tmp_path / "head.npz").classifier()
    np.testing.assert_allclose(loaded(IMAGES), expected, rtol=1e-3, atol=1e-3)


def test_a_network_without_maps_has_no_places():
    vectors = keras.Sequential(
        [keras.Input((4, 4, 1)), layers.Flatten(), layers.Dense(2)]
    )
    with pytest.raises(ValueError, match="features of shape \\(None, 16\\)"):
        pooled_features(vectors, di.Preprocessing(127, 64), places=2)
    with pytest.raises(ValueError, match="Received: places=0"):
        pooled_features(tiny_teacher(), NORMALIZED, places=0)


def test_refusals(tmp_path):
    head = learned([(0, 1)])
    with pytest.raises(ValueError, match="Received: labels \\[1\\]"):
        head.update(IMAGES[LABELS == 1], LABELS[LABELS == 1])
    with pytest.raises(ValueError, match="Received: classes \\[0, 3\\]"):
        learned([(0, 3)]).classifier()
    with pytest.raises(ValueError, match="Received: classes \\[0\\]"):
        learned([(0,)]).solve()
    with pytest.raises(ValueError, match="with the output \\(None, 6, 6, 4\\)"):
        AnalyticHead(
            keras.Sequential([keras.Input(SHAPE), layers.Conv2D(4, 3)])
        )
    with pytest.raises(ValueError, match="Received: ridge=0"):
        AnalyticHead(tiny_features(), ridge=0)
    np.savez(tmp_path / "other.npz", images=IMAGES)
    with pytest.raises(ValueError, match="that `AnalyticHead.save` wrote"):
        AnalyticHead.load(tmp_path / "other.npz")
