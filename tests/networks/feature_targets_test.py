"""Statistics of images and of weights, against NumPy."""

import warnings
import zipfile

import keras
import numpy as np
import pytest
from keras import layers
from modern import modern
from modern import plain
from modern import randomized
from tiny import CLASSES
from tiny import SHAPE
from tiny import tiny_teacher
from tiny import with_head

import tf_deepinversion as di
from tf_deepinversion.networks.batch_norm_moments import batch_norms
from tf_deepinversion.networks.batch_norm_moments import moments
from tf_deepinversion.networks.call_hooks import collect
from tf_deepinversion.networks.call_hooks import watch
from tf_deepinversion.networks.reader import read_statistics
from tf_deepinversion.networks.replace_statistics import restated
from tf_deepinversion.objective.distances import DISTANCES

FED = di.Preprocessing(127.5, 50.0, "normalized")
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (23, *SHAPE), "uint8")


def seen(model, names, side):
    """What layers are given or give for all images: `(values, channels)`."""
    chosen = [model.get_layer(name) for name in names]
    with watch(chosen), collect() as calls:
        model(FED.normalize(IMAGES))
    return [
        np.asarray(getattr(call, side), "float64").reshape(
            -1, getattr(call, side).shape[-1]
        )
        for call in calls
    ]


def assert_statistics(targets, expected):
    for one, rows in zip(targets.statistics, expected, strict=True):
        np.testing.assert_allclose(one.moving_mean, rows.mean(0), atol=1e-6)
        np.testing.assert_allclose(one.moving_variance, rows.var(0), rtol=1e-5)


def measure(model, images=IMAGES, layers=None, **kwargs):
    return di.FeatureTargets.measure(model, images, layers, FED, **kwargs)


@pytest.mark.parametrize("batch_size", [None, 1, 7])
def test_measured_are_the_mean_and_variance_of_all_images(batch_size):
    model = modern()
    targets = measure(model, batch_size=batch_size)
    names = ["shared", "shared", "group", "tokens"]
    assert [x.name for x in targets.statistics] == names
    assert {x.side for x in targets.statistics} == {"inputs"}
    assert_statistics(targets, seen(model, names[1:], "inputs"))
    assert (targets.images, targets.source) == (23, "images")


def test_without_normalizations_what_kernels_give_is_measured():
    model = plain()
    targets = measure(model)
    names = ["conv", "depthwise", "hidden"]  # not the head
    assert [x.name for x in targets.statistics] == names
    assert_statistics(targets, seen(model, names, "outputs"))


def test_chosen_layers_are_measured_in_the_order_of_their_calls():
    model = modern()
    head = model.get_layer("head")
    targets = measure(model, layers=[head, "tokens"])
    assert [(x.name, x.side) for x in targets.statistics] == [
        ("tokens", "inputs"),
        ("head", "outputs"),
    ]
    assert_statistics(
        targets,
        seen(model, ["tokens"], "inputs")[:1]
        + seen(model, ["head"], "outputs"),
    )


def test_channels_first_and_several_axes():
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input(SHAPE)
    x = layers.Permute((3, 1, 2))(layers.Conv2D(4, 3)(x))
    x = layers.GroupNormalization(2, axis=1, name="first")(x)
    x = layers.LayerNormalization((1, 2, 3), name="all")(
        layers.Permute((2, 3, 1))(x)
    )
    x = layers.Dense(CLASSES)(layers.GlobalAveragePooling2D()(x))
    model = randomized(keras.Model(inputs, x))
    targets = measure(model)
    assert [x.axis for x in targets.statistics] == [1, -1]
    between = keras.Model(inputs, model.get_layer("first").input)
    first = np.asarray(between(FED.normalize(IMAGES)), "float64")
    np.testing.assert_allclose(
        targets.statistics[0].moving_variance, first.var((0, 2, 3)), rtol=1e-5
    )
    assert_statistics(
        di.FeatureTargets(targets.statistics[1:], "", ""),
        seen(model, ["all"], "inputs"),
    )
    implied = di.FeatureTargets.from_weights(model).statistics[1]
    gamma, beta = (
        np.asarray(w, "float64").reshape(-1, 4)
        for w in model.get_layer("all").get_weights()
    )
    np.testing.assert_allclose(implied.moving_mean, beta.mean(0))
    np.testing.assert_allclose(
        implied.moving_variance, (gamma**2).mean(0) + beta.var(0)
    )


def test_weights_imply_statistics():
    """Channels that are alike: many random ones, and any images."""
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input(SHAPE)
    x = layers.Conv2D(6, 3)(x)
    x = layers.BatchNormalization(name="batch", epsilon=0.5)(x)
    x = layers.LayerNormalization(name="layer")(layers.Conv2D(4, 3)(x))
    x = layers.RMSNormalization(name="root")(x)
    x = layers.Dense(CLASSES)(layers.GlobalAveragePooling2D()(x))
    model = randomized(keras.Model(inputs, x))
    batch, layer, root = (
        model.get_layer(name) for name in ("batch", "layer", "root")
    )
    batch.moving_mean.assign(RANDOM.normal(size=6))
    found = di.FeatureTargets.from_weights(model)
    sides = [(x.name, x.side) for x in found.statistics]
    assert sides == [
        ("batch", "inputs"),
        ("layer", "outputs"),
        ("root", "outputs"),
    ]
    for one, mean, variance in zip(
        found.statistics,
        (batch.moving_mean, layer.beta, np.zeros(4)),
        (
            batch.moving_variance,
            np.asarray(layer.gamma, "float64") ** 2,
            np.asarray(root.scale, "float64") ** 2,
        ),
        strict=True,
    ):
        np.testing.assert_array_equal(one.moving_mean, mean)
        np.testing.assert_array_equal(one.moving_variance, variance)
    assert found.statistics[0].epsilon == 0.5
    assert found.source == "weights"


@pytest.mark.parametrize("width", [4, 8])
def test_weights_of_places_imply_nothing_of_channels(width):
    """Of 8 columns and 8 channels, gamma would be taken for the channels'."""
    inputs = keras.Input((8, width, 3))
    x = layers.Conv2D(8, 3, padding="same")(inputs)
    x = layers.LayerNormalization(axis=[1, 2], name="places")(x)
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, layers.Dense(CLASSES)(x))
    with pytest.raises(ValueError, match="places.*take.*measure.*axis=.1, 2"):
        di.FeatureTargets.from_weights(model)
    images = RANDOM.integers(0, 256, (10, 8, width, 3), "uint8")
    found = di.FeatureTargets.measure(model, images, preprocessing=FED)
    assert found.statistics[0].moving_mean.shape == (8,)


@pytest.mark.parametrize("size", [-1, 0, 2.5, "a", True])
def test_a_batch_size_is_a_whole_number(size):
    with pytest.raises(ValueError, match="`batch_size` must be a whole"):
        di.FeatureTargets.measure(
            tiny_teacher(), IMAGES, preprocessing=FED, batch_size=size
        )


def test_a_layer_of_several_outputs_has_no_features():
    inputs = keras.Input(SHAPE)
    x = layers.Reshape((-1, SHAPE[-1]))(inputs)
    attention = layers.MultiHeadAttention(2, 4, name="attention")
    x, _ = attention(x, x, return_attention_scores=True)
    x = layers.GlobalAveragePooling1D()(x)
    model = keras.Model(inputs, layers.Dense(CLASSES)(x))
    with pytest.raises(ValueError, match="one tensor of features.*attention"):
        di.FeatureTargets.measure(
            model, IMAGES, ["attention"], preprocessing=FED
        )


def test_measured_batch_norms_give_the_distance_of_the_closed_form():
    """A network that stores these images' statistics, and one by targets."""
    model = tiny_teacher()
    targets, twin = measure(model), restated(model, IMAGES, FED)
    others = RANDOM.integers(0, 256, (6, *SHAPE), "uint8")
    stored = read_statistics(twin, others, FED)
    classifier = di.networks.Classifier(model, targets=targets)
    with classifier.open():
        calls = classifier.read(FED.fed(others)).batch_norm_calls
    assert classifier.batch_norms == targets.statistics
    for distance in DISTANCES.values():
        for call, (layer, sums) in zip(calls, stored, strict=True):
            found = distance(moments(call), call.layer)
            np.testing.assert_allclose(found, distance(sums, layer), rtol=1e-4)


def test_the_distance_of_images_to_targets():
    model = modern()
    targets = measure(model)
    given = {"preprocessing": FED, "targets": targets}
    assert di.metrics.feature_distance(model, IMAGES, **given) < 1e-4
    found = di.metrics.feature_distance(model, IMAGES[:12], **given)
    few = measure(model, IMAGES[:12])
    expected = sum(
        np.linalg.norm(a.moving_mean - b.moving_mean)
        + np.linalg.norm(a.moving_variance - b.moving_variance)
        for a, b in zip(few.statistics, targets.statistics, strict=True)
    )
    assert found == pytest.approx(expected, rel=1e-4)
    with pytest.raises(ValueError, match="pass `targets`.*'modern'"):
        di.metrics.feature_distance(model, IMAGES, FED)
    with pytest.raises(ValueError, match="of another network"):
        di.metrics.feature_distance(modern(seed=3), IMAGES, **given)
    labels = np.zeros(len(IMAGES), int)
    row = di.reports.measure_images(IMAGES, labels, model, FED)
    assert row["feature_distance"] is None
    row = di.reports.measure_images(IMAGES, labels, model, FED, targets=targets)
    assert row["feature_distance"] < 1e-4


def test_saved_is_loaded(tmp_path):
    model = modern()
    targets = measure(model)
    targets.save(tmp_path / "targets.npz")
    loaded = di.FeatureTargets.load(tmp_path / "targets.npz")
    assert str(loaded.get_config()) == str(targets.get_config())
    for one, other in zip(loaded.statistics, targets.statistics, strict=True):
        assert vars(one).keys() == vars(other).keys()
        for name, value in vars(one).items():
            np.testing.assert_array_equal(value, vars(other)[name])
    loaded.require_network(model)
    # Nothing but two numbers a channel.
    with zipfile.ZipFile(tmp_path / "targets.npz") as file:
        arrays = [n for n in file.namelist() if n != "_header.npy"]
    assert len(arrays) == 2 * len(targets.statistics)
    with np.load(tmp_path / "targets.npz") as file:
        assert {file[n[:-4]].shape for n in arrays} == {(4,), (6,)}


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "other.npz"
    np.savez(path, images=IMAGES)
    with pytest.raises(ValueError, match="`FeatureTargets.save` wrote"):
        di.FeatureTargets.load(path)
    path.write_bytes(b"damaged")
    with pytest.raises(ValueError, match="other.npz"):
        di.FeatureTargets.load(path)
    with pytest.raises(FileNotFoundError):
        di.FeatureTargets.load(tmp_path / "none.npz")


def test_images_that_say_nothing_are_refused():
    model = modern()
    with pytest.raises(ValueError, match="at least 10 images.*9 images"):
        measure(model, IMAGES[:9])
    with pytest.raises(TypeError, match="uint8.*float"):
        measure(model, IMAGES / 255)
    with pytest.raises(ValueError, match="takes images of shape"):
        measure(model, IMAGES[:, :5])
    with pytest.raises(ValueError, match="shape .n, height, width"):
        measure(model, IMAGES[..., 0])


def test_layers_without_features_are_refused():
    model = modern()
    with pytest.raises(ValueError, match="of the teacher.*Received: 'gone'"):
        measure(model, layers=["gone"])
    with pytest.raises(ValueError, match="at least one layer"):
        measure(model, layers=[])

    class Forgetful(keras.Model):
        def __init__(self):
            super().__init__()
            self.norm = layers.LayerNormalization(name="idle")
            self.head = layers.Dense(CLASSES)

        def call(self, x):
            return self.head(keras.ops.mean(x, (1, 2)))

    with pytest.raises(ValueError, match="never calls.*Received: idle"):
        measure(Forgetful(), layers=["idle"])


def test_targets_of_another_network_are_refused():
    targets = measure(modern())
    with pytest.raises(ValueError, match="'modern'.*but other weights"):
        di.DeepInversion(modern(seed=3), FED, targets=targets)
    with pytest.raises(ValueError, match="'plain'.*other layers"):
        di.DeepInversion(plain(), FED, targets=targets)
    with pytest.raises(TypeError, match="Expected `FeatureTargets`.*targets=3"):
        di.DeepInversion(modern(), FED, targets=3)


def test_statistics_that_are_not_finite_are_refused():
    model = plain()
    model.get_layer("conv").kernel.assign_add(
        np.full((3, 3, 1, 4), 3e38, "float32")
    )
    with pytest.raises(ValueError, match="finite.*'conv'|'depthwise'"):
        measure(model)


def test_without_targets_the_ways_out_are_named():
    model = di.DeepInversion(modern(), FED)
    with pytest.raises(
        ValueError, match=r"measure\(.*from_weights\(.*image priors only"
    ) as found:
        model.compile()
    assert "folded" not in str(found.value)
    with pytest.raises(ValueError, match="folded into them"):
        di.DeepInversion(plain(), FED).compile()
    with pytest.raises(ValueError, match="no such layer. There are three"):
        di.DeepInversion(plain(bias=False), FED).compile()
    with pytest.raises(ValueError, match="without normalizations.*folded"):
        di.FeatureTargets.from_weights(plain())


@pytest.mark.parametrize(
    "norm", [layers.BatchNormalization, layers.LayerNormalization]
)
def test_a_network_that_was_never_trained_is_warned_of(norm):
    model = (
        with_head(norm(name="norm"), layers.Dense(CLASSES))
        if (norm is layers.BatchNormalization)
        else _normalized_by_layers()
    )
    targets = di.FeatureTargets.from_weights(model)
    with pytest.warns(UserWarning, match="as they are before training"):
        di.DeepInversion(model, FED, targets=targets).compile()
    randomized(model)
    for layer in batch_norms(model):
        layer.moving_variance.assign(2 * layer.moving_variance)
    targets = di.FeatureTargets.from_weights(model)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        di.DeepInversion(model, FED, targets=targets).compile()
    assert not [w for w in found if "before training" in str(w.message)]


def _normalized_by_layers():
    x = inputs = keras.Input(SHAPE)
    x = layers.LayerNormalization()(layers.Conv2D(4, 3)(x))
    x = layers.Dense(CLASSES)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, x)
