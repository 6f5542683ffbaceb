"""A head that grows: what is old stays to the bit; what is no head is named."""

import keras
import numpy as np
import pytest
from keras import layers
from tiny import CLASSES
from tiny import SHAPE
from tiny import tiny_teacher

from tf_deepinversion.incremental import Head
from tf_deepinversion.incremental import grow_head
from tf_deepinversion.models import ResNet14

IMAGES = np.random.default_rng(0).normal(size=(5, *SHAPE)).astype("float32")


def chain(*last, sequential=False):
    body = [layers.Conv2D(4, 3, activation="relu"), *last]
    if sequential:
        return keras.Sequential([keras.Input(SHAPE), *body])
    x = inputs = keras.Input(SHAPE)
    for layer in body:
        x = layer(x)
    return keras.Model(inputs, x, name="chain")


def pooled_first(units=CLASSES, **kwargs):
    pool = layers.GlobalAveragePooling2D()
    return chain(pool, layers.Dense(units, **kwargs), sequential=True)


def convolution_before_pooling():
    pool = layers.GlobalAveragePooling2D()
    return chain(layers.Conv2D(CLASSES, 1), pool, layers.Softmax())


def convolution_after_pooling():
    """As the MobileNets of `keras.applications` end."""
    return chain(
        layers.GlobalAveragePooling2D(keepdims=True),
        layers.Dropout(0.5),
        layers.Conv2D(CLASSES, 1),
        layers.Reshape((CLASSES,)),
        layers.Activation("softmax"),
    )


def nested():
    return keras.Sequential([keras.Input(SHAPE), tiny_teacher()])


def nested_twice():
    """A head within a top within a model, and a softmax around them."""
    top = keras.Sequential([keras.Input((4,)), layers.Dense(CLASSES)])
    x = inputs = keras.Input((4,))
    top = keras.Model(inputs, layers.Dropout(0.5)(top(layers.ReLU()(x))))
    softmax = keras.Sequential([keras.Input((CLASSES,)), layers.Softmax()])
    return chain(layers.GlobalAveragePooling2D(), top, softmax)


MODELS = {
    "nested": nested,
    "nested_twice": nested_twice,
    "functional": tiny_teacher,
    "softmax": lambda: tiny_teacher(activation="softmax"),
    "sequential": pooled_first,
    "without_bias": lambda: pooled_first(use_bias=False),
    "convolution_before_pooling": convolution_before_pooling,
    "convolution_after_pooling": convolution_after_pooling,
    "bfloat16": lambda: tiny_teacher(dtype="bfloat16"),
}


@pytest.mark.parametrize("name", MODELS)
def test_what_is_old_stays_to_the_bit(name, tmp_path):
    model = MODELS[name]()
    head = Head(model)
    grown = grow_head(model, 5, noise=0.1, seed=3)
    assert grown.output_shape == (None, 5) and grown.name == model.name
    assert [x.name for x in grown.layers] == [x.name for x in model.layers]
    for old, new in zip(model.weights, grown.weights, strict=True):
        assert old.dtype == new.dtype
        values = new.numpy()[..., :CLASSES] if old.shape != new.shape else new
        np.testing.assert_array_equal(old.numpy(), np.asarray(values))
    changed = [
        new.path
        for old, new in zip(model.weights, grown.weights, strict=True)
        if old.shape != new.shape
    ]
    assert len(changed) == len(head.layer.weights)
    grown.save(tmp_path / "grown.keras")
    again = keras.models.load_model(tmp_path / "grown.keras")
    images = IMAGES.astype(model.inputs[0].dtype)
    np.testing.assert_array_equal(again(images), grown(images))


@pytest.mark.parametrize("name", [n for n in MODELS if n != "bfloat16"])
def test_the_head_s_equation_gives_the_logits(name):
    model = MODELS[name]()
    head = Head(model)
    if head.layer.bias is not None:
        head.layer.bias.assign([0.5, -1.0, 2.0])
    logits = np.asarray(head(head.features_model()(IMAGES)))
    found = np.asarray(model(IMAGES))
    if found.min() > 0 and np.allclose(found.sum(-1), 1):
        logits = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    if name == "convolution_before_pooling":
        assert isinstance(model.layers[-1], layers.Softmax)
    np.testing.assert_allclose(logits, found, rtol=1e-4, atol=1e-6)


def test_new_logits_are_the_mean_of_old_ones():
    model = tiny_teacher()
    grown = grow_head(model, 5, noise=0.0)
    old, new = np.asarray(model(IMAGES)), np.asarray(grown(IMAGES))
    np.testing.assert_allclose(new[:, :CLASSES], old, rtol=1e-6)
    mean = old.mean(-1, keepdims=True)
    np.testing.assert_allclose(new[:, CLASSES:], mean + np.zeros(2), rtol=1e-4)
    np.testing.assert_array_equal(old.argmax(-1), new.argmax(-1))


def test_the_noise_is_the_seed_s_and_of_the_old_scale():
    model = ResNet14((28, 28, 1), classes=10, width=16)
    kernels = [
        grow_head(model, 510, noise=0.1, seed=seed).layers[-1].kernel.numpy()
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert np.abs(kernels[0] - kernels[2]).max() > 0
    old, new = kernels[0][:, :10], kernels[0][:, 10:]
    spread = (new - old.mean(-1, keepdims=True)).std()
    assert spread == pytest.approx(0.1 * old.std(), rel=0.03)


def test_the_model_stays_as_it_is():
    model = tiny_teacher()
    before = model.get_weights()
    grown = grow_head(model, 4)
    for weight in grown.weights:
        weight.assign(weight + 1)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert model.output_shape == (None, CLASSES)


class Subclassed(keras.Model):
    def call(self, x):
        return x


def shared():
    x = inputs = keras.Input((3,))
    dense = layers.Dense(3)
    return keras.Model(inputs, dense(dense(x)))


def two_outputs():
    x = keras.Input((3,))
    return keras.Model(x, [layers.Dense(3)(x), layers.Dense(3)(x)])


pool = layers.GlobalAveragePooling2D
REFUSED = {
    "subclassed": (Subclassed, TypeError, "functional model, or a built seq"),
    "unbuilt": (
        lambda: keras.Sequential([layers.Dense(3)]),
        TypeError,
        "built",
    ),
    "no_model": (
        lambda: layers.Dense(3),
        TypeError,
        "Expected a `keras.Model`",
    ),
    "shared": (shared, ValueError, "called more than once"),
    "two_outputs": (two_outputs, ValueError, "with 1 and 2"),
    "sigmoid": (
        lambda: pooled_first(activation="sigmoid"),
        ValueError,
        "neither linear nor softmax",
    ),
    "sigmoid_layer": (
        lambda: chain(pool(), layers.Dense(3), layers.Activation("sigmoid")),
        ValueError,
        "neither linear nor softmax",
    ),
    "softmax_of_one": (
        lambda: chain(pool(), layers.Dense(1), layers.Softmax()),
        ValueError,
        "a softmax of one output is always 1",
    ),
    "wide_convolution": (
        lambda: chain(layers.Conv2D(3, 3), pool()),
        ValueError,
        "kernel \\(3, 3\\)",
    ),
    "places": (
        lambda: chain(layers.Conv2D(3, 1), layers.Flatten()),
        ValueError,
        "3 outputs become",
    ),
    "normalized": (
        lambda: chain(pool(), layers.BatchNormalization()),
        ValueError,
        "another kind of layer",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_head_is_refused_by_name(name):
    build, kind, message = REFUSED[name]
    with pytest.raises(kind, match=message):
        grow_head(build(), 5)


@pytest.mark.parametrize("classes", [3, 2, 4.5])
def test_a_head_only_grows(classes):
    with pytest.raises(
        ValueError, match=f"above the model's 3 .*classes={classes}"
    ):
        grow_head(tiny_teacher(), classes)
    with pytest.raises(ValueError, match="noise=-1"):
        grow_head(tiny_teacher(), 5, noise=-1)


SINGLE = {
    "logit": lambda: chain(pool(), layers.Dense(1)),
    "sigmoid": lambda: pooled_first(activation="sigmoid", units=1),
    "sigmoid_layer": lambda: chain(
        pool(keepdims=True),
        layers.Conv2D(1, 1, use_bias=False),
        layers.Reshape((1,)),
        layers.Activation("sigmoid"),
    ),
}


@pytest.mark.parametrize("name", SINGLE)
def test_a_single_output_is_the_logit_of_two_classes(name):
    model = SINGLE[name]()
    head = Head(model)
    assert head.classes == 2
    if head.layer.bias is not None:
        head.layer.bias.assign([0.3])
    x = found = np.asarray(model(IMAGES))
    if name != "logit":
        x = np.log(found / (1 - found))
    logits = np.concatenate([0 * x, x], -1)
    np.testing.assert_allclose(
        head(head.features_model()(IMAGES)), logits, atol=1e-5
    )
    grown = np.asarray(grow_head(model, 3, noise=0.0)(IMAGES))
    logits = np.concatenate([logits, x / 2], -1)
    if name != "logit":
        logits = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    np.testing.assert_allclose(grown, logits, atol=1e-5)


def test_a_head_in_float32_after_bfloat16_computes_in_float32():
    policy = "mixed_bfloat16"
    x = inputs = keras.Input(SHAPE)
    x = layers.Conv2D(4, 3, dtype=policy)(x)
    x = layers.GlobalAveragePooling2D(dtype=policy)(x)
    network = keras.Model(inputs, layers.Dense(3, dtype="float32")(x))
    head = Head(network)
    np.testing.assert_array_equal(
        head(head.features_model()(IMAGES)), network(IMAGES)
    )


def test_a_mean_of_probabilities_is_no_head():
    pool = layers.GlobalAveragePooling2D()
    for ending in (
        [layers.Conv2D(5, 1, activation="softmax"), pool],
        [layers.Conv2D(5, 1), layers.Softmax(), pool],
    ):
        with pytest.raises(ValueError, match="pooling follows its probab"):
            Head(chain(*ending))
