"""The softmax is found and put back; what cannot be inverted is refused."""

import gc
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tf_deepinversion.networks.classifier import Classifier
from tf_deepinversion.networks.ending import masked_logits
from tf_deepinversion.networks.replicas import in_scope

SHAPE = (3, 3, 1)
EPSILON = 1e-3


class Head(layers.Layer):
    """A layer that holds the one which ends in a softmax."""

    def __init__(self, last):
        super().__init__()
        self.last = last

    def call(self, x):
        return self.last(x)


class Subclassed(keras.Model):
    def __init__(self, *last):
        super().__init__()
        self.body = [layers.Flatten(), layers.Dense(4)]
        self.norm = layers.BatchNormalization()
        self.last = list(last)

    def call(self, x):
        for layer in (*self.body, self.norm, *self.last):
            x = layer(x)
        return x


def body(*last):
    """dense(bn(dense(flat image))), then `last`, as a functional model."""
    x = images = keras.Input(SHAPE)
    for layer in (
        layers.Flatten(),
        layers.Dense(4),
        layers.BatchNormalization(),
        *last,
    ):
        x = layer(x)
    return keras.Model(images, x)


def nested(*last):
    images = keras.Input(SHAPE)
    return keras.Model(images, body(*last)(images))


def dense_softmax():
    return [layers.Dense(3, activation="softmax")]


def dense_then_activation():
    return [layers.Dense(3), layers.Activation("softmax", dtype="float32")]


def dense_then_softmax_layer():
    return [layers.Dense(3), layers.Softmax()]


def inside_a_sequential():
    return [keras.Sequential([layers.Dense(3), layers.Softmax()])]


def inside_a_layer():
    return [Head(layers.Dense(3, activation="softmax"))]


HEADS = [
    dense_softmax,
    dense_then_activation,
    dense_then_softmax_layer,
    inside_a_sequential,
    inside_a_layer,
]


def with_weights(model, seed=0):
    model(np.zeros((1, *SHAPE), "float32"))
    random = np.random.default_rng(seed)
    model.set_weights(
        [random.uniform(0.5, 2, w.shape) for w in model.get_weights()]
    )
    return model


def noise(seed=1, count=5):
    random = np.random.default_rng(seed)
    return random.normal(size=(count, *SHAPE)).astype("float32")


def numpy_logits(model, images):
    """What the networks above compute, in float64, but for the softmax."""
    k1, b1, gamma, beta, mean, variance, k2, b2 = map(
        np.float64, model.get_weights()
    )
    x = images.reshape(len(images), -1).astype("float64") @ k1 + b1
    x = (x - mean) / np.sqrt(variance + EPSILON) * gamma + beta
    return x @ k2 + b2


def numpy_softmax(logits):
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize("build", [body, nested, Subclassed])
@pytest.mark.parametrize("head", HEADS)
def test_a_final_softmax_is_taken_off_and_put_back(build, head):
    model = with_weights(build(*head()))
    expected = numpy_logits(model, noise())
    classifier = Classifier(model, SHAPE)
    assert classifier.classes == 3
    with classifier.open():
        logits = classifier.read(noise()).logits
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
    # It gives probabilities again, and keeps no trace.
    np.testing.assert_allclose(
        model(noise()), numpy_softmax(expected), atol=1e-5
    )
    for layer in model._flatten_layers():
        assert "call" not in layer.__dict__
    softmaxes = [
        getattr(layer, "activation", None) is keras.activations.softmax
        or isinstance(layer, layers.Softmax)
        for layer in model._flatten_layers()
    ]
    assert sum(softmaxes) == 1


@pytest.mark.parametrize("build", [body, Subclassed])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_logits_in_a_graph(build, jit_compile):
    model = with_weights(build(*dense_then_softmax_layer()))
    classifier = Classifier(model, SHAPE)
    call = tf.function(
        lambda x: classifier.read(x).logits, jit_compile=jit_compile
    )
    with classifier.open():
        logits = call(tf.constant(noise()))
    expected = numpy_logits(model, noise())
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)


def test_a_model_that_gives_logits():
    model = with_weights(body(layers.Dense(3)))
    classifier = Classifier(model)
    with classifier.open():
        reading = classifier.read(noise())
    logits, records = reading.logits, reading.batch_norm_calls
    expected = numpy_logits(model, noise())
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
    assert [r.layer for r in records] == [model.layers[3]]
    kernel, bias = model.get_weights()[:2]
    np.testing.assert_allclose(
        records[0].inputs, noise().reshape(5, -1) @ kernel + bias, rtol=1e-4
    )
    assert classifier.image_shape == SHAPE


@pytest.mark.parametrize("final", [[], [layers.Softmax]])
def test_a_softmax_within_is_left_alone(final):
    inner = layers.Dense(4, activation="softmax")
    model = with_weights(body(inner, layers.Dense(3), *(f() for f in final)))
    twin = body(layers.Dense(4), layers.Softmax(), layers.Dense(3))
    twin.set_weights(model.get_weights())
    classifier = Classifier(model)
    with classifier.open():
        logits = classifier.read(noise()).logits
    assert inner.activation is keras.activations.softmax
    np.testing.assert_allclose(logits, twin(noise()), atol=1e-5)


def test_a_classifier_made_while_another_is_open():
    model = with_weights(body(layers.Dense(3, activation="softmax")))
    with Classifier(model).open():
        second = Classifier(model)
        with second.open():
            logits = second.read(noise()).logits
    expected = numpy_logits(model, noise())
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("activation", "last"),
    [(None, []), ("softmax", []), (None, [layers.Softmax])],
)
def test_a_mask_leaves_a_part_of_the_features(activation, last):
    head = layers.Dense(3, activation=activation)
    model = with_weights(body(head, *(f() for f in last)))
    classifier = Classifier(model)
    assert classifier.features == 4
    mask = np.random.default_rng(2).uniform(size=(5, 4)).astype("float32")
    with classifier.open():
        reading = classifier.read(noise())
    logits, records = reading.logits, reading.batch_norm_calls
    masked = masked_logits(reading.head, mask)
    expected = numpy_logits(model, noise())
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
    kernel, bias = (np.float64(w) for w in head.get_weights())
    features = keras.Model(model.inputs, head.input)(noise()).numpy()
    np.testing.assert_allclose(
        masked, (features * mask) @ kernel + bias, rtol=1e-4, atol=1e-4
    )
    assert len(records) == 1


def test_a_head_that_is_not_dense_has_no_features_to_mask():
    images = keras.Input((8, 8, 1))
    x = layers.Conv2D(3, 1)(layers.BatchNormalization()(images))
    model = keras.Model(images, layers.GlobalAveragePooling2D()(x))
    assert Classifier(model).features is None


def test_one_softmax_layer_at_the_end_and_within():
    shared = layers.Softmax()
    model = with_weights(body(layers.Dense(4), shared, layers.Dense(3), shared))
    twin = body(layers.Dense(4), layers.Softmax(), layers.Dense(3))
    twin.set_weights(model.get_weights())
    classifier = Classifier(model)
    with classifier.open():
        logits = classifier.read(noise()).logits
    np.testing.assert_allclose(logits, twin(noise()), atol=1e-5)


class TwoHeads(keras.Model):
    """Its auxiliary head, which nobody reads, is called with its layers."""

    def __init__(self, last):
        super().__init__()
        self.stem, self.norm = layers.Conv2D(6, 2), layers.BatchNormalization()
        self.mean, self.dense = layers.GlobalAveragePooling2D(), last
        self.softmax = layers.Softmax()

    def call(self, images):
        maps = self.norm(self.stem(images))
        found = self.softmax(self.dense(self.mean(maps)))
        self.softmax(self.dense(self.mean(keras.ops.square(maps))))
        return found


@pytest.mark.parametrize("activation", [None, "softmax"])
def test_a_layer_that_is_called_again_after_the_end(activation):
    model = TwoHeads(layers.Dense(3, activation=activation))
    if activation:
        model.softmax = layers.Identity()
    model(noise())
    with_weights(model)
    classifier = Classifier(model, SHAPE)
    with classifier.open():
        reading = classifier.read(noise())
    found = keras.ops.softmax(reading.logits)
    np.testing.assert_allclose(found, model(noise()), rtol=1e-5)
    maps = model.norm(model.stem(noise()), training=False)
    np.testing.assert_array_equal(reading.pooling.inputs, maps)
    np.testing.assert_array_equal(
        reading.features, keras.ops.mean(maps, (1, 2))
    )
    np.testing.assert_allclose(
        keras.ops.mean(reading.class_maps, (1, 2)), reading.logits, atol=1e-4
    )


def test_open_restores_after_an_exception():
    dense, softmax = layers.Dense(3, activation="softmax"), layers.Softmax()
    for model in (body(dense), body(layers.Dense(3), softmax)):
        classifier = Classifier(model)
        with pytest.raises(RuntimeError, match="on purpose"):
            with classifier.open():
                raise RuntimeError("on purpose")
        for layer in model.layers:
            assert "call" not in layer.__dict__
        np.testing.assert_allclose(model(noise()).numpy().sum(-1), 1, rtol=1e-5)
    assert dense.activation is keras.activations.softmax


def test_two_classifiers_of_one_model_may_be_open_at_once():
    model = with_weights(body(*dense_then_softmax_layer()))
    first, second = Classifier(model), Classifier(model)
    with first.open():
        with second.open():
            pass
        reading = first.read(noise())
    logits, records = reading.logits, reading.batch_norm_calls
    expected = numpy_logits(model, noise())
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
    assert len(records) == 1
    np.testing.assert_allclose(
        model(noise()), numpy_softmax(expected), atol=1e-5
    )


@pytest.mark.parametrize("head", [dense_softmax, dense_then_softmax_layer])
def test_classifiers_of_one_model_may_overlap(head):
    model = with_weights(body(*head()))
    expected = numpy_logits(model, noise())
    first, second = Classifier(model), Classifier(model)
    one, two = first.open(), second.open()
    one.__enter__()
    two.__enter__()
    one.__exit__(None, None, None)
    logits = second.read(noise()).logits
    two.__exit__(None, None, None)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        model(noise()), numpy_softmax(expected), atol=1e-5
    )


def test_a_training_caller_does_not_move_the_statistics():
    teacher = with_weights(body(layers.Dense(3)))
    classifier = Classifier(teacher)
    before = teacher.get_weights()

    class Caller(keras.Model):
        def call(self, x):
            return classifier.read(x).logits

    caller, other = Caller(), layers.BatchNormalization(momentum=0.5)

    @tf.function
    def step(x):
        # Both inherit the phase, and this one is to move.
        other(x, training=True)
        return caller(x, training=True)

    with classifier.open():
        logits = step(tf.constant(noise()))
    for weight, was in zip(teacher.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, was)
    assert (other.moving_mean.numpy() != 0).all()
    expected = numpy_logits(teacher, noise())
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)


def test_making_a_classifier_changes_nothing():
    model = with_weights(body(layers.Dropout(0.5), layers.Dense(3)))
    model.layers[2].trainable = False
    before = model.get_weights()
    flags = [layer.trainable for layer in model.layers]
    Classifier(model)
    assert [layer.trainable for layer in model.layers] == flags
    for weight, was in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, was)


@pytest.mark.parametrize(
    "dtype,expected",
    [
        ("mixed_float16", "float32"),
        ("mixed_bfloat16", "float32"),
        ("float64", "float64"),
    ],
)
def test_logits_are_in_float32_at_least(dtype, expected):
    images = keras.Input(SHAPE)
    x = layers.Flatten(dtype=dtype)(images)
    x = layers.BatchNormalization(dtype=dtype)(x)
    model = keras.Model(images, layers.Dense(3, dtype=dtype)(x))
    classifier = Classifier(model)
    with classifier.open():
        logits = classifier.read(tf.constant(noise())).logits
    assert logits.dtype == expected


def unknown_size(channels=1):
    images = keras.Input((None, None, channels))
    x = layers.BatchNormalization()(images)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(images, layers.Dense(3)(x))


def test_the_size_of_the_images_may_be_given():
    assert Classifier(unknown_size(), (8, 6, 1)).image_shape == (8, 6, 1)
    subclassed = Subclassed(layers.Dense(2))
    assert Classifier(subclassed, SHAPE).image_shape == SHAPE
    assert Classifier(body(layers.Dense(3)), SHAPE).image_shape == SHAPE


def two_outputs():
    images = keras.Input(SHAPE)
    x = layers.Flatten()(images)
    return keras.Model(images, [layers.Dense(3)(x), layers.Dense(3)(x)])


def named_outputs():
    images = keras.Input(SHAPE)
    x = layers.Flatten()(images)
    return keras.Model(
        images, {"a": layers.Dense(3)(x), "b": layers.Dense(3)(x)}
    )


def a_map_of_classes():
    images = keras.Input(SHAPE)
    return keras.Model(images, layers.Conv2D(3, 1)(images))


def two_inputs():
    images, other = keras.Input(SHAPE), keras.Input(SHAPE)
    x = layers.Flatten()(layers.Add()([images, other]))
    return keras.Model([images, other], layers.Dense(3)(x))


def vectors():
    return keras.Sequential([keras.Input((7,)), layers.Dense(3)])


class OwnSoftmax(Subclassed):
    def call(self, x):
        return keras.ops.softmax(super().call(x))


def nan_weights():
    model = with_weights(body(layers.Dense(3)))
    kernel = model.layers[-1].kernel.numpy()
    kernel[0, 0] = np.nan
    model.layers[-1].kernel.assign(kernel)
    return model


SIZE = r"image_shape=\(.*\), or --image_size=H,W to the command. Received: "


@pytest.mark.parametrize(
    "build,image_shape,message",
    [
        (two_outputs, None, r"one output of shape \(batch, classes\)"),
        (named_outputs, None, r"one output of shape \(batch, classes\)"),
        (a_map_of_classes, None, r"one output of shape \(batch, classes\)"),
        (two_inputs, None, "one input, the image"),
        (vectors, None, r"\(height, width, channels\).*\(None, 7\)"),
        (nan_weights, None, "weights that are not finite.*Received: dense"),
        (unknown_size, None, SIZE + r"input_shape=\(None, None, None, 1\)"),
        (lambda: Subclassed(layers.Dense(3)), None, SIZE),
        (unknown_size, (8, None, 1), SIZE),
        (unknown_size, (8, 8), SIZE),
        (unknown_size, (8, 8, 3), r"takes images of shape \(None, None, 1\)"),
        (
            lambda: body(layers.Dense(3)),
            (5, 5, 1),
            r"takes images of shape \(3, 3, 1\)\. "
            r"Received: image_shape=\(5, 5, 1\)",
        ),
        (
            lambda: OwnSoftmax(layers.Dense(3)),
            SHAPE,
            "returns probabilities, .* could be found: end the model with",
        ),
        (
            lambda: body(layers.Dense(3, activation="softmax"), Twice()),
            None,
            "returns probabilities, .* could be found",
        ),
    ],
)
def test_what_cannot_be_inverted_is_refused(build, image_shape, message):
    with pytest.raises(ValueError, match=message):
        Classifier(build(), image_shape)


class Twice(layers.Layer):
    """Probabilities to other probabilities: no softmax is at the end."""

    def call(self, p):
        return p**2 / keras.ops.sum(p**2, -1, keepdims=True)


def test_a_saved_model_is_refused(tmp_path):
    body(layers.Dense(3)).export(tmp_path, verbose=False)
    layer = keras.layers.TFSMLayer(tmp_path, call_endpoint="serve")
    for hidden in (layer, tf.saved_model.load(tmp_path)):
        with pytest.raises(TypeError, match=r"SavedModel.*load the \.keras"):
            Classifier(hidden)
    wrapped = keras.Sequential([keras.Input(SHAPE), layer])
    with pytest.raises(ValueError, match="this teacher calls no such layer"):
        Classifier(wrapped).require_batch_norms()


def test_batch_norms_are_required_by_whom_needs_them():
    Classifier(body(layers.Dense(3))).require_batch_norms()
    model = keras.Sequential(
        [
            keras.Input(SHAPE),
            layers.LayerNormalization(),
            layers.Flatten(),
            layers.Dense(3),
        ],
        name="without",
    )
    with pytest.raises(ValueError, match="no such layer.*Received: 'without'"):
        Classifier(model).require_batch_norms()


def test_a_model_is_copied_into_the_scope_of_several_replicas():
    devices = tf.config.list_logical_devices("CPU")
    if len(devices) < 2:
        pytest.skip("needs two logical devices, see conftest.py")
    model = with_weights(body(layers.Dense(3)))
    assert in_scope(model, tf.distribute.get_strategy()) is model
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    copy = in_scope(model, strategy)
    assert copy is not model
    for weight, was in zip(
        copy.get_weights(), model.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(weight, was)
    assert in_scope(copy, strategy) is copy
    with pytest.raises(ValueError, match=r"`with strategy\.scope\(\):`"):
        in_scope(with_weights(Subclassed(layers.Dense(3))), strategy)


class OfItsSize(keras.Model):
    """It calls another layer, or in another order, where images are small."""

    def __init__(self, swapped):
        super().__init__()
        self.convolution = layers.Conv2D(2, 1)
        self.norms = [layers.BatchNormalization() for _ in range(2)]
        self.head = layers.Dense(3)
        self.swapped = swapped

    def call(self, x):
        small = x.shape[1] == 2 and self.swapped
        x = self.convolution(x)
        for norm in self.norms[::-1] if small else self.norms:
            x = norm(x)
        return self.head(keras.ops.mean(x, (1, 2)))


def test_the_order_of_calls_is_known_and_the_same_at_each_size():
    model = OfItsSize(swapped=False)
    classifier = Classifier(model, SHAPE)
    assert classifier.batch_norms == model.norms
    classifier.require_size((2, 2, 1))
    swapped = Classifier(OfItsSize(swapped=True), SHAPE)
    with pytest.raises(ValueError, match=r"cannot read images.*\(2, 2, 1\)"):
        swapped.require_size((2, 2, 1))


def test_what_was_read_is_not_kept_alive():
    network = body(layers.Dense(3), layers.Softmax())
    Classifier(network)
    gone = weakref.ref(network)
    del network
    gc.collect()
    assert gone() is None


def test_a_dense_layer_of_places_is_no_head():
    """Its features would be mixed with those of other images."""
    x = images = keras.Input((4, 4, 1))
    x = layers.Conv2D(5, 3)(x)
    x = layers.GlobalAveragePooling2D(keepdims=True)(x)
    x = layers.Flatten()(layers.Dense(3)(x))
    for network in (
        keras.Model(images, x),
        keras.Model(images, layers.Softmax()(x)),
    ):
        classifier = Classifier(network)
        with classifier.open():
            reading = classifier.read(tf.ones((2, 4, 4, 1)))
        assert classifier.features is None and reading.head is None
        assert reading.features.shape == (2, 3)
