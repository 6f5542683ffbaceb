"""Pixels, z and teachers: against gray levels and keras.applications."""

import inspect
import json
import warnings

import keras
import numpy as np
import pytest
from keras import layers
from tiny import with_head

from tf_deepinversion import DeepInversion
from tf_deepinversion import check_preprocessing
from tf_deepinversion import models
from tf_deepinversion.networks.preprocessing import Preprocessing

MEAN = (120.0, 110.0, 90.5)
STD = (60.0, 55.5, 70.0)
IMAGENET_MEAN = np.array([0.485, 0.456, 0.406]) * 255
IMAGENET_STD = np.array([0.229, 0.224, 0.225]) * 255


def random_pixels(channels=3, seed=0):
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (2, 4, 5, channels)).astype("float64")


def named(name, *body):
    """A tiny network of that name."""
    return keras.Sequential(
        [keras.Input((4, 4, 3)), *body, layers.GlobalAveragePooling2D()],
        name=name,
    )


def test_every_gray_level_comes_back():
    levels = np.arange(256).repeat(3).reshape(1, 16, 16, 3)
    p = Preprocessing(MEAN, STD)
    z = p.normalize(levels)
    assert z.dtype == np.float32
    np.testing.assert_allclose(z, (levels - MEAN) / STD, rtol=1e-5, atol=1e-6)
    pixels = p.to_pixels(z)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, levels)


def test_to_pixels_rounds_and_clips():
    p = Preprocessing(100, 10)
    z = np.array([-11, -9.97, 0.04, 0.06, 15.5, 99])[:, None]
    assert p.to_pixels(z)[:, 0].tolist() == [0, 0, 100, 101, 255, 255]


def test_to_pixels_refuses_what_is_not_finite():
    with pytest.raises(ValueError, match="not finite"):
        Preprocessing(100, 10).to_pixels(np.array([0.0, np.nan]))


def test_bounds_are_black_and_white():
    black, white = Preprocessing(MEAN, STD).bounds()
    np.testing.assert_allclose(black, -np.array(MEAN) / STD)
    np.testing.assert_allclose(white, (255 - np.array(MEAN)) / STD)


@pytest.mark.parametrize(
    "pixel_range,black,white",
    [
        ((0, 255), 0, 255),
        ((0, 1), 0, 1),
        ((-1, 1), -1, 1),
        (([-9, 0, 2], [9, 1, 4]), [-9, 0, 2], [9, 1, 4]),
    ],
)
@pytest.mark.parametrize("channel_order", ["rgb", "bgr"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_teacher_input(pixel_range, black, white, channel_order, dtype):
    pixels = random_pixels()
    z = ((pixels - MEAN) / STD).astype(dtype)
    preprocessing = Preprocessing(MEAN, STD, pixel_range, channel_order)
    fed = preprocessing.teacher_input(z)
    black, white = np.array(black), np.array(white)
    expected = black + pixels / 255 * (white - black)
    if channel_order == "bgr":
        expected = expected[..., ::-1]
    assert fed.dtype == dtype
    tolerance = 1e-4 if dtype == "float32" else 1e-10
    np.testing.assert_allclose(fed, expected, rtol=0, atol=tolerance)
    fed = preprocessing.fed(pixels.astype("uint8"))
    assert fed.dtype == "float32"
    np.testing.assert_allclose(fed, expected, rtol=0, atol=1e-4)


def test_teacher_input_of_a_teacher_that_is_fed_z():
    z = np.random.default_rng(1).normal(size=(2, 3, 3, 3))
    fed = Preprocessing(MEAN, STD, "normalized").teacher_input(z)
    np.testing.assert_allclose(fed, z, atol=1e-12)
    fed = Preprocessing(MEAN, STD, "normalized", "bgr").teacher_input(z)
    np.testing.assert_allclose(fed, z[..., ::-1], atol=1e-12)


def test_one_channel():
    p = Preprocessing(70, 90, (0, 1))
    pixels = random_pixels(channels=1)
    fed = p.teacher_input((pixels - 70) / 90)
    np.testing.assert_allclose(fed, pixels / 255, atol=1e-12)


@pytest.mark.parametrize(
    "convention,preprocess_input",
    [
        ("caffe", keras.applications.resnet50.preprocess_input),
        ("tf", keras.applications.mobilenet_v2.preprocess_input),
        ("torch", keras.applications.densenet.preprocess_input),
        ("pixels", keras.applications.efficientnet.preprocess_input),
    ],
)
def test_conventions_are_those_of_keras_applications(
    convention, preprocess_input
):
    pixels = random_pixels()
    fed = Preprocessing.imagenet(convention).teacher_input(
        (pixels - IMAGENET_MEAN) / IMAGENET_STD
    )
    np.testing.assert_allclose(
        fed, preprocess_input(pixels.copy()), rtol=0, atol=1e-4
    )


def applications():
    """The module and the models' name of each network of Keras."""
    for module in vars(keras.applications).values():
        if not hasattr(module, "preprocess_input"):
            continue
        for key, build in vars(module).items():
            if key[0].isupper():
                name = inspect.signature(build).parameters["name"].default
                yield pytest.param(module, build, name, id=key)


def build_application(build, name):
    """One whose name Keras makes from its size, or a tiny one of that name."""
    if name is None:
        return build(alpha=0.35, input_shape=(32, 32, 3), weights=None)
    includes = "include_preprocessing" in inspect.signature(build).parameters
    includes |= name.startswith("efficientnet")
    return named(name, *([layers.Rescaling(1 / 255)] if includes else []))


@pytest.mark.parametrize("module,build,name", applications())
def test_networks_of_keras_applications_are_known(module, build, name):
    pixels = random_pixels()
    p = Preprocessing.of(build_application(build, name))
    np.testing.assert_allclose(p.mean, IMAGENET_MEAN)
    np.testing.assert_allclose(p.std, IMAGENET_STD)
    np.testing.assert_allclose(
        p.teacher_input((pixels - p.mean) / p.std),
        module.preprocess_input(pixels.copy()),
        rtol=0,
        atol=1e-4,
    )


def mobilenet_v3(**kwargs):
    return keras.applications.MobileNetV3Small(
        weights=None,
        input_shape=(32, 32, 3),
        minimalistic=True,
        alpha=0.75,
        **kwargs,
    )


def test_a_network_that_rescales_by_itself_is_fed_pixels():
    pixels = random_pixels()
    p = Preprocessing.of(mobilenet_v3())
    fed = p.teacher_input((pixels - p.mean) / p.std)
    np.testing.assert_allclose(fed, pixels, atol=1e-4)


def test_the_same_network_without_its_rescaling_is_not_fed_pixels():
    # Keras: "inputs in the range [-1, 1]" then, under the same name.
    with pytest.raises(ValueError, match="preprocessing="):
        Preprocessing.of(mobilenet_v3(include_preprocessing=False))


def test_a_known_network_behind_a_rescaling_of_its_own_is_refused():
    images = keras.Input((32, 32, 3))
    network = keras.applications.MobileNetV2(
        input_tensor=layers.Rescaling(1 / 127.5, offset=-1)(images),
        alpha=0.35,
        weights=None,
    )
    with pytest.raises(ValueError, match="preprocessing="):
        Preprocessing.of(network)


@pytest.mark.parametrize("build", [models.ResNet20, models.VGG11BN])
@pytest.mark.parametrize("mean,std", [(72.9, 90.0), (list(MEAN), list(STD))])
def test_networks_of_this_package_are_known(build, mean, std, tmp_path):
    network = build((8, 8, 3), width=2, mean=mean, std=std, name="any_name")
    network.save(tmp_path / "network.keras")
    for model in (
        network,
        keras.models.load_model(tmp_path / "network.keras"),
    ):
        p = Preprocessing.of(model)
        np.testing.assert_allclose(p.mean, np.broadcast_to(mean, 3))
        np.testing.assert_allclose(p.std, np.broadcast_to(std, 3))
        fed = p.teacher_input((random_pixels() - mean) / np.array(std))
        np.testing.assert_allclose(fed, random_pixels(), atol=1e-10)


def with_first(*first, shape=(8, 8, 3)):
    """A network of some first layers."""
    network = [*first, layers.Flatten(), layers.Dense(2)]
    return keras.Sequential([keras.Input(shape), *network], name="mine")


def normalize(scale=1 / 60, offset=-2.0):
    return layers.Rescaling(scale, offset, name="normalize")


def test_a_normalization_behind_layers_that_leave_pixels_is_known():
    augmented = keras.Sequential([layers.RandomFlip(), layers.RandomZoom(0.1)])
    network = with_first(augmented, layers.Resizing(4, 4), normalize())
    p = Preprocessing.of(network)
    assert (p.mean.item(), p.std.item()) == pytest.approx((120, 60))


def test_a_network_that_normalizes_pixels_and_is_fed_other_inputs_is_told():
    network = with_first(normalize())
    with pytest.warns(UserWarning, match=r"itself.*\(-1, 1\)"):
        Preprocessing.of(network, Preprocessing(120, 60, (-1, 1)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Preprocessing.of(network, Preprocessing(70, 90))


def test_each_part_of_a_job_reads_the_network_and_one_warns(recwarn):
    network, wrong = with_first(normalize()), Preprocessing(120, 60, (-1, 1))
    for _ in range(2):
        Preprocessing.of(network, wrong)
    assert len(recwarn) == 1
    # The warning is about the line of the user, not of the library.
    assert recwarn[0].filename == __file__
    # Other inputs, or another network, are other news.
    Preprocessing.of(network, Preprocessing(120, 60, (0, 1)))
    Preprocessing.of(with_first(normalize()), wrong)
    assert len(recwarn) == 3
    # Whoever asks about the preprocessing is always told.
    check_preprocessing(network, wrong)
    assert len(recwarn) == 4


@pytest.mark.parametrize(
    "first",
    [
        [normalize(1 / 255, 0.0)],  # no pixels have no mean and deviate by 255
        [normalize(2.0, -1.0)],  # of pixels in [0, 1]
        [normalize(0.5, 0.5)],  # of pixels in [-1, 1]
        [normalize(-1 / 60, 2.0)],
        [normalize([1 / 60, 0.0, 1 / 60], -2.0)],
        [normalize(1 / 60, [-2.0, 1.0, -2.0])],
        [layers.Rescaling(255.0), normalize()],
        [layers.Normalization(mean=0.0, variance=0.01), normalize()],
        [layers.Conv2D(3, 3), normalize()],
    ],
)
def test_a_layer_is_not_trusted_for_its_name(first):
    network = with_first(*first)
    with pytest.raises(ValueError, match="'normalize' must.*Received: a Res"):
        Preprocessing.of(network)
    own = Preprocessing(100, 50)
    assert Preprocessing.of(network, own) is own


def test_a_layer_of_that_name_in_no_graph_is_not_trusted():
    class Subclassed(keras.Model):
        def __init__(self):
            super().__init__()
            self.normalize = normalize()

        def call(self, x):
            return self.normalize(255 * x)

    network = Subclassed()
    network(np.zeros((1, 8, 8, 3)))
    with pytest.raises(ValueError, match="'normalize' must"):
        Preprocessing.of(network)


@pytest.mark.parametrize(
    "values",
    [
        {"mean": MEAN},
        {"std": STD},
        {"pixel_range": ([0, 0, 0], [1, 1, 1])},
        {"pixel_range": (0, [1, 1, 1])},
    ],
)
def test_values_of_more_channels_than_the_images_have(values):
    p = Preprocessing(**{"mean": 100.0, "std": 50.0, **values})
    assert p.channels == 3
    gray, colored = (with_first(shape=(8, 8, n)) for n in (1, 3))
    assert Preprocessing.of(colored, p) is p
    with pytest.raises(ValueError, match="have 1 channels.*Received"):
        Preprocessing.of(gray, p)
    with pytest.raises(ValueError, match="have 1 channels.*Received"):
        DeepInversion(with_head(layers.Dense(3)), p)


@pytest.mark.parametrize(
    "name",
    [
        "my_net",
        "net_resnet50",
        "sequential",
        # A start alone proves nothing: these are what Keras calls a subclass
        # of the name DenseNet, and networks of Keras Hub, which are fed
        # otherwise.
        "dense_net",
        "mobile_net_image_classifier",
        "xception_image_classifier",
        "resnet50_cifar10",
        "resnet500",
        "densenet_bc",
        "mobilenet",
    ],
)
def test_an_unknown_network_is_refused(name):
    with pytest.raises(ValueError, match=f"pass preprocessing=.*'{name}'"):
        Preprocessing.of(named(name))


@pytest.mark.parametrize(
    "name,body",
    [
        ("NASNet", []),
        ("MobilenetV3small", [layers.Rescaling(1 / 127.5, offset=-1)]),
        ("mobilenet_1.00_None", []),
        ("mobilenetv2_1.40_224", []),
    ],
)
def test_names_that_keras_gave_or_gives(name, body):
    fed = Preprocessing.of(named(name, *body)).pixel_range
    assert fed == ((0, 255) if body else (-1, 1))


@pytest.mark.parametrize(
    "args",
    [
        (MEAN, STD, (-1, 1), "bgr"),
        (72.9, 90.0),
        (MEAN, STD, "normalized"),
        (MEAN, STD, ((-9, 0, 2), np.array([9, 1, 4]))),
    ],
)
def test_config_round_trip(args):
    p = Preprocessing(*args)
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(p)))
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is Preprocessing
    assert again.get_config() == p.get_config()
    z = np.random.default_rng(2).normal(size=(1, 2, 2, 3))
    np.testing.assert_array_equal(again.normalize(z), p.normalize(z))
    np.testing.assert_array_equal(again.teacher_input(z), p.teacher_input(z))


BAD = [
    ({"std": 0.25}, r"multiply both by 255\. Received: .*0\.25"),
    ({"mean": 0.5, "std": (0.2, 0.3, 1.0)}, "multiply both by 255"),
    ({"std": (50, 0, 50)}, r"`std` must be positive\. Received: std=\[50"),
    ({"std": -60}, "`std` must be positive"),
    ({"mean": np.nan}, "`mean` and `std` must be finite"),
    ({"std": np.inf}, "`mean` and `std` must be finite"),
    ({"mean": -0.5}, r"within \[0, 255\] gray levels\. Received: mean=\[-0"),
    ({"mean": (0, 256, 0)}, r"within \[0, 255\]"),
    ({"pixel_range": (1, -1)}, r"swap the two\. Received: .*\(1, -1\)"),
    ({"pixel_range": (1, 1)}, "black below white"),
    ({"pixel_range": ([0, 2, 0], [1, 1, 1])}, "black below white"),
    ({"pixel_range": (0, np.nan)}, "`pixel_range` must be finite"),
    ({"pixel_range": (0, 1, 2)}, r"pair \(black, white\)\. Received: .*2"),
    ({"pixel_range": ([0, 0], [1, 1]), "mean": MEAN}, "one per channel"),
    ({"pixel_range": ([0, 0, 0], [1, 1])}, "one per channel"),
    ({"pixel_range": "tf"}, "\"normalized\"\\. Received: pixel_range='tf'"),
    ({"channel_order": "gbr"}, "Received: channel_order='gbr'"),
    ({"mean": [[10.0], [120.0], [240.0]]}, r"array of shape \(3, 1\)"),
    ({"std": np.full((8, 8, 3), 50.0)}, r"array of shape \(8, 8, 3\)"),
    ({"mean": []}, r"array of shape \(0,\)"),
    ({"pixel_range": ([[0], [0]], [[1], [1]])}, r"array of shape \(2, 1\)"),
    ({"pixel_range": 5}, r"pair \(black, white\)\. Received: .*5"),
    ({"pixel_range": {0, 1}}, r"pair \(black, white\)\. Received: .*0, 1"),
]


@pytest.mark.parametrize("changes,message", BAD)
def test_bad_arguments(changes, message):
    with pytest.raises(ValueError, match=message):
        Preprocessing(**{"mean": 100.0, "std": 50.0, **changes})


def test_an_unknown_convention():
    with pytest.raises(ValueError, match="Received: convention='keras'"):
        Preprocessing.imagenet("keras")
