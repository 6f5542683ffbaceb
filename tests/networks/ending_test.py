"""How a network ends decides what its outputs are, and what feeds its head."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from tiny import SHAPE
from tiny import with_head

from tf_deepinversion import CrossEntropy
from tf_deepinversion import DeepInversion
from tf_deepinversion import Distillation
from tf_deepinversion import Preprocessing
from tf_deepinversion.incremental import grow_head
from tf_deepinversion.networks import reader
from tf_deepinversion.networks.classifier import Classifier
from tf_deepinversion.networks.ending import masked_logits
from tf_deepinversion.pruning import ChannelGraph
from tf_deepinversion.quantization import LiteRT
from tf_deepinversion.quantization import quantize

PIXELS = Preprocessing(110, 60)


class Applied(layers.Layer):
    """A function as a layer."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def call(self, x):
        return self.function(x)


def ending_in(function):
    """A network whose last layer is a function of five logits."""
    return with_head(layers.Dense(5), function)


BOUNDED = {
    "sigmoid": lambda: with_head(layers.Dense(5, activation="sigmoid")),
    "tf.nn.sigmoid": lambda: with_head(
        layers.Dense(5, activation=tf.nn.sigmoid)
    ),
    "ops.sigmoid": lambda: ending_in(keras.ops.sigmoid),
    "Lambda": lambda: ending_in(layers.Lambda(tf.sigmoid)),
    "by hand": lambda: ending_in(Applied(lambda x: 1 / (1 + tf.exp(-x)))),
    "hard_sigmoid": lambda: with_head(
        layers.Dense(5, activation="hard_sigmoid")
    ),
    "tanh": lambda: with_head(layers.Dense(5, activation="tanh")),
    "tanh, to [0, 1]": lambda: ending_in(
        Applied(lambda x: tf.tanh(x) / 2 + 0.5)
    ),
    "a mean of sigmoids": lambda: ending_in(
        Applied(lambda x: tf.reduce_mean(tf.sigmoid(x)[:, None], 1))
    ),
    "in float32 of bfloat16": lambda: with_head(
        layers.Dense(5, dtype="mixed_bfloat16"),
        layers.Activation("sigmoid", dtype="float32"),
    ),
    "one": lambda: with_head(layers.Dense(1, activation=tf.nn.sigmoid)),
}


@pytest.mark.parametrize("kind", BOUNDED)
def test_outputs_with_bounds_are_no_logits(kind):
    with pytest.raises(
        ValueError, match=r"single logit or sigmoid.*within \[-1, 1\]"
    ):
        Classifier(BOUNDED[kind]())


@pytest.mark.parametrize(
    "last", [keras.ops.softmax, layers.Lambda(tf.nn.softmax)]
)
def test_a_softmax_that_is_no_layer_is_refused(last):
    with pytest.raises(ValueError, match="end the model with a `Softmax`"):
        Classifier(ending_in(last))


class Temperature(layers.Layer):
    def build(self, shape):
        self.temperature = self.add_weight((), "ones", name="temperature")

    def call(self, x):
        return x / self.temperature


SMALL = {
    "linear": [],
    "relu": [layers.ReLU()],
    "by a learned temperature": [Temperature()],
    "a mean": [layers.Reshape((1, 5)), layers.GlobalAveragePooling1D()],
    "a BatchNormalization": [layers.BatchNormalization()],
    "with a zero": [Applied(lambda x: tf.concat([0 * x[:, :1], x], -1))],
}


@pytest.mark.parametrize("kind", SMALL)
def test_small_logits_are_logits(kind):
    # Of features that have bounds, whatever the image.
    model = with_head(
        layers.LayerNormalization(),
        layers.Dense(
            5, kernel_initializer=keras.initializers.RandomNormal(0, 1e-3)
        ),
        *SMALL[kind],
    )
    logits = model(1e5 * np.ones((1, *SHAPE)), training=False)
    assert np.abs(logits).max() < 0.1
    assert Classifier(model).classes == len(logits[0])


def test_outputs_beyond_one_are_taken_for_logits():
    capped = ending_in(Applied(lambda x: 30 * tf.tanh(x / 30)))
    assert Classifier(capped).classes == 5
    own = ending_in(Applied(lambda x: tf.sign(x) * tf.sqrt(tf.abs(x))))
    assert Classifier(own).classes == 5


@pytest.mark.parametrize(
    ("dtype", "last"),
    [
        ("float32", "linear"),
        ("mixed_float16", "softmax"),
        ("mixed_bfloat16", "softmax"),
        pytest.param("float32", "softmax", marks=pytest.mark.slow),
        pytest.param("mixed_float16", "linear", marks=pytest.mark.slow),
        pytest.param("mixed_bfloat16", "linear", marks=pytest.mark.slow),
    ],
)
def test_a_dense_head_is_found_behind_a_cast(dtype, last):
    keras.config.set_dtype_policy(dtype)
    try:
        model = with_head(
            layers.Dense(5), layers.Activation(last, dtype="float32")
        )
    finally:
        keras.config.set_dtype_policy("float32")
    inversion = DeepInversion(model, PIXELS)
    inversion.fit([0, 1], 1, verbose=0)
    assert inversion.terms[0].feature_dropout == 0.5  # of its recipe
    features = reader.penultimate_features(model, inversion.images, PIXELS)
    assert features.shape == (2, 4)
    classifier = Classifier(model)
    images = np.random.default_rng(0).normal(size=(3, *SHAPE)).astype("float32")
    with classifier.open():
        reading = classifier.read(images)
    all_left = masked_logits(reading.head, np.ones((3, 4)))
    # A product in bfloat16 is rounded after its 8th bit.
    np.testing.assert_allclose(all_left, reading.logits, atol=0.03)


@pytest.mark.parametrize(
    "model",
    [
        lambda: with_head(layers.Dense(5, activation="relu")),
        lambda: ending_in(layers.ReLU()),
        lambda: ending_in(Applied(lambda x: tf.transpose(tf.transpose(x)))),
    ],
)
def test_feature_dropout_without_a_dense_head_is_refused(model):
    # What follows the product with its kernel would be left out.
    inversion = DeepInversion(model(), PIXELS)
    assert Classifier(inversion.teacher).features is None
    with pytest.raises(ValueError, match="dense head.*'feature_dropout': 0.5"):
        inversion.compile(loss=[CrossEntropy(feature_dropout=0.5)])
    inversion.compile()  # the recipe's, and its cross-entropy drops nothing
    assert inversion.terms[0].feature_dropout == 0


class Insisting(layers.Layer):
    """A BatchNormalization that is always in training."""

    def __init__(self):
        super().__init__()
        self.norm = layers.BatchNormalization()

    def call(self, x, training=False):
        return self.norm(x, training=True)


@pytest.mark.parametrize("strategy", [False, True])
def test_a_network_that_changes_when_it_is_read_is_refused(strategy):
    devices = ["CPU:0", "CPU:1"] if strategy else ["CPU:0"]
    with tf.distribute.MirroredStrategy(devices).scope():
        model = with_head(layers.Dense(3), Insisting())
        before = model.get_weights()
        with pytest.raises(ValueError, match="changes the model.*moving_mean"):
            Classifier(model)
    for weight, was in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, was)


def test_a_network_made_for_so_many_images_is_probed_with_as_many():
    images = keras.Input((8, 8, 1), batch_size=3)
    x = layers.BatchNormalization()(images)
    x = Applied(lambda x: tf.reshape(x, (3, 64)))(x)
    model = keras.Model(images, layers.Dense(2)(x))
    assert Classifier(model).classes == 2


def test_no_gradient_is_computed_eagerly_to_read_a_network():
    # TensorFlow's kernel of a weight's gradient may write past its memory;
    # in a graph nobody asks for that one.
    def gradient(upstream):
        assert not tf.executing_eagerly()
        return upstream

    through = tf.custom_gradient(lambda x: (tf.identity(x), gradient))
    model = with_head(Applied(through), layers.Dense(3))
    assert Classifier(model).classes == 3
    tf.config.run_functions_eagerly(True)
    try:
        assert Classifier(model).classes == 3
    finally:
        tf.config.run_functions_eagerly(False)


def test_statistics_that_are_no_vectors_are_refused():
    class Planes(layers.Layer):
        def build(self, shape):
            shape = (1, *shape[1:])
            self.moving_mean = self.add_weight(shape, "zeros")
            self.moving_variance = self.add_weight(shape, "ones")

        def call(self, x):
            return (x - self.moving_mean) / self.moving_variance

    with pytest.raises(ValueError, match=r"\(channels,\).*planes.*\(1, 4\)"):
        Classifier(with_head(Planes(), layers.Dense(3)))


@pytest.mark.parametrize("activation", ["sigmoid", None])
def test_a_single_output_is_taken_everywhere(activation):
    """As the logits (0, x), which a network of two outputs has by weights."""
    single = with_head(layers.Dense(1, activation=activation))
    one, two = single.layers[-1], layers.Dense(2)
    one.kernel.assign(one.kernel / 50)
    twin = keras.Model(single.inputs[0], two(one.input))
    two.set_weights([np.concatenate([0 * w, w], -1) for w in one.get_weights()])
    pixels = np.random.default_rng(0).integers(0, 256, (8, *SHAPE), "uint8")
    answers = [reader.read_logits(x, pixels, PIXELS) for x in (single, twin)]
    np.testing.assert_allclose(answers[0], answers[1], atol=1e-5)
    images = []
    for teacher in (single, twin):
        inversion = DeepInversion(teacher, PIXELS)
        inversion.compile(loss=[CrossEntropy(feature_dropout=0.5)])
        inversion.fit([0, 1], 1, verbose=0)
        images.append(inversion.images.astype(int))
    assert np.abs(images[0] - images[1]).max() <= 1
    Distillation(twin, with_head(layers.Dense(1)), PIXELS)
    assert grow_head(single, 3).output_shape == (None, 3)
    assert ChannelGraph(single).count == 4
    served = LiteRT(quantize(single, pixels, PIXELS))
    expected = single(np.float32(pixels)).numpy()
    gap = np.abs(served(pixels) - expected).max()
    assert gap < 0.1 * np.abs(expected).max()
    with pytest.raises(ValueError, match="a logit or a probability"):
        served.accuracy(pixels, np.zeros(8, int))


class Noisy(layers.Layer):
    """Adds random numbers whatever the phase, with no seed of its own."""

    def call(self, x):
        return x + tf.random.normal(tf.shape(x))


class Hard(layers.Layer):
    """A layer that is always in training."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def call(self, x):
        return self.layer(x, training=True)


@pytest.mark.parametrize(
    "random",
    [
        lambda: Hard(layers.Dropout(0.5)),
        lambda: Hard(layers.GaussianNoise(1.0)),
        Noisy,
    ],
    ids=["Dropout", "GaussianNoise", "tf.random"],
)
def test_a_network_that_is_random_in_inference_is_warned_about(random):
    model = with_head(random(), layers.Dense(3))
    with pytest.warns(UserWarning, match="draws random numbers") as given:
        Classifier(model)
    (warning,) = [x for x in given if "draws random" in str(x.message)]
    assert warning.filename == __file__


def test_random_numbers_that_change_no_answer_are_not_warned_about():
    """Keras 3.15 draws those of `RandomHue` in inference, for nothing."""
    inputs = keras.Input(SHAPE)
    x = layers.RandomHue(0.5, value_range=(0, 1))(inputs)
    x = layers.Dropout(0.5)(layers.GlobalAveragePooling2D()(x))
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="The model draws")
        Classifier(keras.Model(inputs, layers.Dense(3)(x)))
