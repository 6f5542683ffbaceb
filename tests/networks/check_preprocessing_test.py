"""Wrong preprocessing is found without data, and by one image."""

import keras
import numpy as np
import pytest
from keras import layers

from tf_deepinversion import Preprocessing
from tf_deepinversion import check_preprocessing
from tf_deepinversion import load_pretrained
from tf_deepinversion.datasets import load_test_images
from tf_deepinversion.incremental import learn_tasks
from tf_deepinversion.incremental import method
from tf_deepinversion.metrics import accuracy
from tf_deepinversion.networks.copies import copy_of
from tf_deepinversion.networks.remembered_input import RememberedInput
from tf_deepinversion.networks.remembered_input import contradict
from tf_deepinversion.networks.remembered_input import disregard
from tf_deepinversion.networks.remembered_input import feedings
from tf_deepinversion.networks.remembered_input import input_of
from tf_deepinversion.networks.remembered_input import natural_noise
from tf_deepinversion.networks.remembered_input import remembered_input

SHAPE = (16, 16, 1)
NAMES = ["fashion_mnist_resnet20", "fashion_mnist_vgg11"]


def images_fed(mean, deviation):
    """Images of known moments, with another spectrum than `natural_noise`."""
    random = np.random.default_rng(3)
    coarse = random.normal(size=(256, 4, 4, 1)).repeat(4, 1).repeat(4, 2)
    return mean + deviation * coarse.astype("float32")


def trained(mean, deviation, channels=16, before=(), seed=0):
    """A network whose first statistics are those of such images, by NumPy."""
    keras.utils.set_random_seed(seed)
    first = layers.Conv2D(channels, 3, padding="valid")
    norm = layers.BatchNormalization()
    model = keras.Sequential(
        [keras.Input(SHAPE), *before, first, norm, layers.Flatten()]
        + [layers.Dense(3)]
    )
    if not before:
        # Kernels of positive means: as of trained networks, some see
        # brightness.
        kernel = np.abs(np.asarray(first.kernel)) + 0.01
        kernel[..., ::2] -= kernel[..., ::2].mean((0, 1, 2))
        first.kernel.assign(kernel)
    seen = np.asarray(first(images_fed(mean, deviation)), "float64")
    norm.moving_mean.assign(seen.mean((0, 1, 2)))
    norm.moving_variance.assign(seen.var((0, 1, 2)))
    return model


@pytest.mark.parametrize(
    ("mean", "deviation"), [(0.45, 0.25), (-0.1, 0.5), (115, 60), (0, 1)]
)
def test_a_layer_tells_what_it_was_fed(mean, deviation):
    found = remembered_input(trained(mean, deviation))
    assert found.mean == pytest.approx(mean, abs=0.1 * deviation)
    # Another spectrum than the one that is assumed.
    assert found.deviation == pytest.approx(deviation, rel=0.25)


def test_what_is_disregarded_tells_again_after_a_training():
    model = trained(0.45, 0.25)
    disregard(model)
    assert input_of(model) is None
    norm = model.layers[1]
    norm.moving_mean.assign(norm.moving_mean * 1.01)
    assert input_of(model).mean == pytest.approx(0.45, abs=0.05)


def test_a_network_that_learned_other_images_is_no_contradiction(
    recwarn, tmp_path
):
    model = trained(0.45, 0.25)
    first, norm = model.layers[:2]
    norm.momentum = 0.0  # the statistics are those of the last batch
    features = layers.GlobalAveragePooling2D()(norm(first(model.inputs[0])))
    model = keras.Model(model.inputs, layers.Dense(3)(features))
    fed = Preprocessing(115, 64, (0, 1))
    dark = np.random.default_rng(0).integers(0, 20, (12, *SHAPE), "uint8")
    tasks = [(dark, 3 + np.arange(12) % 2), (dark, np.full(12, 5))]
    for _ in range(2):  # the second call finds what the first has learned
        learned = learn_tasks(
            model,
            tasks,
            method("finetune"),
            epochs=1,
            preprocessing=fed,
            folder=tmp_path,
            verbose=0,
        )
        accuracy(learned.network, dark, np.full(12, 5), fed)
    assert not [w for w in recwarn if "remembers" in str(w.message)]
    # A copy of the network that nobody trained here is told of.
    with pytest.warns(UserWarning, match="remembers inputs"):
        accuracy(copy_of(learned.network), dark, np.zeros(12, int), fed)


def left(model, share):
    """Leaves a share of the initial statistics, as after few steps."""
    norm = model.layers[1]
    norm.moving_mean.assign((1 - share) * norm.moving_mean)
    norm.moving_variance.assign(share + (1 - share) * norm.moving_variance)
    return model


def test_statistics_that_are_half_those_of_the_beginning_tell_nothing():
    # The values tell deviations three times as large as the images'.
    assert remembered_input(left(trained(0.3, 0.2), 0.5)) is None
    found = remembered_input(left(trained(0.3, 0.2), 0.002))
    assert found.mean == pytest.approx(0.3, abs=0.02)
    assert found.deviation == pytest.approx(0.2, rel=0.25)


def test_large_variances_are_of_no_beginning():
    model = trained(115, 60)
    first, norm = model.layers[:2]
    alike = np.linspace(0.9, 1, 16) * np.ones(first.kernel.shape)
    first.kernel.assign(alike)
    seen = np.asarray(first(images_fed(115, 60)), "float64")
    norm.moving_mean.assign(seen.mean((0, 1, 2)))
    norm.moving_variance.assign(seen.var((0, 1, 2)))
    assert remembered_input(model).mean == pytest.approx(115, abs=6)


@pytest.mark.parametrize("name", NAMES)
def test_networks_that_ship_remember_their_data(name):
    """Fashion-MNIST's pixels have a mean of 72.9 and a deviation of 90.0."""
    found = remembered_input(load_pretrained(name))
    assert found.mean == pytest.approx(72.9, abs=3)
    assert found.deviation == pytest.approx(90.0, rel=0.1)


def without_batch_normalization():
    return keras.Sequential(
        [keras.Input(SHAPE), layers.Flatten(), layers.Dense(3)]
    )


def of_random_statistics():
    model = trained(0, 1)
    norm = model.layers[1]
    random = np.random.default_rng(0)
    norm.moving_variance.assign(10 ** random.uniform(-3, 3, 16))
    return model


def never_trained():
    model = trained(0, 1)
    norm = model.layers[1]
    norm.moving_mean.assign(np.zeros(16))
    norm.moving_variance.assign(np.ones(16))
    return model


def diverged():
    network = trained(100, 50)
    for own in network.layers:
        if isinstance(own, layers.BatchNormalization):
            own.moving_variance.assign(own.moving_variance * np.nan)
    return network


def behind_relu(scale, bias):
    """ReLU is linear for gray images of 0, 1 and 2."""
    first = layers.Conv2D(16, 3, activation="relu", use_bias=bias)
    norm = layers.BatchNormalization()
    before = [layers.Rescaling(scale)] if scale else []
    model = keras.Sequential(
        [keras.Input(SHAPE), *before, first, norm, layers.Flatten()]
        + [layers.Dense(3)]
    )
    first.kernel.assign(np.abs(first.kernel))
    if bias:
        first.bias.assign(np.full(16, 0.1))
    fed = images_fed(0.45, 0.25)
    seen = np.asarray(first(fed), "float64")
    norm.moving_mean.assign(seen.mean((0, 1, 2)))
    norm.moving_variance.assign(seen.var((0, 1, 2)))
    return model


@pytest.mark.parametrize(
    "make",
    [
        lambda: behind_relu(None, False),
        lambda: behind_relu(1 / 255, True),
        without_batch_normalization,
        of_random_statistics,
        never_trained,
        diverged,
        lambda: trained(0, 1, channels=4),
        lambda: trained(0, 1, before=[layers.Activation("softplus")]),
    ],
    ids=[
        "relu",
        "relu far away",
        "no layer",
        "random",
        "never trained",
        "diverged",
        "few channels",
        "activation",
    ],
)
def test_a_layer_that_cannot_tell_says_nothing(make):
    assert remembered_input(make()) is None


def test_noise_has_the_spectrum_of_natural_images():
    noise = natural_noise(64, (32, 32, 3))
    assert noise.std() == pytest.approx(1)
    power = (np.abs(np.fft.fft(noise[..., 0], axis=1)) ** 2).mean((0, 2))
    # Of a line through such images the power falls by 2 to 4 an octave.
    assert 2 < power[2] / power[4] < 5 and 2 < power[4] / power[8] < 5
    alike = np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1]
    assert alike == pytest.approx(0.9, abs=0.03)


@pytest.mark.parametrize(
    ("told", "remembered", "expected"),
    [
        ((0.45, 0.25), (0.45, 0.25), False),
        ((0.45, 0.25), (0.5, 0.35), False),
        ((-0.1, 0.5), (0.45, 0.25), True),  # (-1, 1), trained on (0, 1)
        ((0.45, 0.25), (-0.1, 0.5), True),
        ((115, 57), (0.45, 0.25), True),
        ((0, 57), (115, 57), True),  # less the mean, trained on pixels
        ((0, 1), (-0.1, 0.45), True),
    ],
)
def test_conventions_that_contradict_each_other(told, remembered, expected):
    pair = RememberedInput(*told), RememberedInput(*remembered)
    assert contradict(*pair) == expected


@pytest.mark.parametrize("pixel_range", [(0, 1), (-1, 1), "normalized"])
def test_wrong_preprocessing_is_warned_of(pixel_range):
    teacher = load_pretrained(NAMES[0])
    wrong = Preprocessing(72.94, 90.02, pixel_range)
    with pytest.warns(UserWarning, match=r"remembers inputs of mean 71\.6"):
        found = check_preprocessing(teacher, wrong)
    assert found.contradicts and found.probabilities is None
    assert not check_preprocessing(teacher).contradicts


@pytest.mark.parametrize(
    ("remembered", "expected"),
    [
        ((71.6, 91.5), ["72, 92, (0, 255)"]),
        ((0.4, 0.25), ["102, 64, (0, 1)", "178, 32, (-1, 1)"]),
        ((-0.2, 0.5), ["102, 64, (-1, 1)"]),
        ((0.1, 1.1), ['mean, std, "normalized"']),
        ((900, 400), []),
    ],
)
def test_what_a_network_remembers_suggests_its_preprocessing(
    remembered, expected
):
    assert feedings(RememberedInput(*remembered)) == expected


def test_an_unknown_network_says_what_it_remembers():
    with pytest.raises(ValueError, match=r"whose first .* as from about Prep"):
        check_preprocessing(trained(0.45, 0.2))


def test_one_image_tells_the_convention():
    images, labels = load_test_images()
    teacher = load_pretrained(NAMES[0])
    wrong = Preprocessing(72.94, 90.02, (0, 1))
    with pytest.warns(UserWarning, match=r"With pixel_range=\(0, 255\)"):
        found = check_preprocessing(teacher, wrong, images[0], labels[0])
    logits = np.asarray(teacher(images[:1].astype("float32")), "float64")[0]
    exact = np.exp(logits - logits.max())
    exact = (exact / exact.sum())[labels[0]]
    assert found.probabilities["(0, 255)"] == pytest.approx(exact, rel=1e-4)
    assert found.probabilities["as given"] == found.probabilities["(0, 1)"]


def test_bad_input_is_refused():
    images, labels = load_test_images()
    teacher = load_pretrained(NAMES[0])
    with pytest.raises(ValueError, match="or neither"):
        check_preprocessing(teacher, image=images[0])
    with pytest.raises(ValueError, match=r"label in \[0, 10\)"):
        check_preprocessing(teacher, image=images[0], label=10)
    with pytest.raises(TypeError, match="load_model.*teacher='mine.keras'"):
        check_preprocessing("mine.keras")
    with pytest.raises(TypeError, match="uint8 pixels"):
        check_preprocessing(teacher, image=images[0] / 255.0, label=0)


def test_a_known_name_is_compared_with_what_the_network_remembers():
    """As of an application that its user trained on other inputs."""
    inside = trained(0.45, 0.2)
    inputs = keras.Input((*SHAPE[:2], 3))
    x = layers.Conv2D(1, 1, use_bias=False)(inputs)
    model = keras.Model(inputs, inside(x), name="mobilenetv2_0.35_32")
    model.layers[1].kernel.assign(np.full((1, 1, 3, 1), 1 / 3))
    with pytest.warns(UserWarning, match="remembers inputs of mean 0.4"):
        fed = Preprocessing.of(model)
    assert fed.pixel_range == (-1, 1)


def test_a_network_that_has_trained_since_is_traced_again():
    model = trained(0.45, 0.2)
    norm = model.layers[1]
    values = [variable.numpy() for variable in norm.weights]
    norm.moving_mean.assign(np.zeros(16))
    norm.moving_variance.assign(np.ones(16))
    fed = Preprocessing(115, 51, (0, 1))
    assert check_preprocessing(model, fed).remembered is None
    for variable, value in zip(norm.weights, values, strict=True):
        variable.assign(value)
    remembered = check_preprocessing(model, fed).remembered
    assert remembered == remembered_input(model)
    assert remembered.mean == pytest.approx(0.45, abs=0.02)


def test_an_input_of_whole_numbers_remembers_as_one_of_floats():
    plain = trained(0.45, 0.2)

    def fed(dtype):
        inputs = keras.Input(SHAPE, dtype=dtype)
        return keras.Model(inputs, plain(layers.Rescaling(1 / 255)(inputs)))

    assert remembered_input(fed("uint8")) == remembered_input(fed("float32"))
