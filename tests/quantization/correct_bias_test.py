"""Corrected biases against sums in NumPy, and against means over images."""

import math

import keras
import numpy as np
import pytest
from drawn_norms import drawn_norm

from tf_deepinversion.networks.preprocessing import Preprocessing
from tf_deepinversion.quantization import correct_bias
from tf_deepinversion.quantization.layers.expected_inputs import expected_inputs
from tf_deepinversion.quantization.layers.expected_inputs import mean_of
from tf_deepinversion.quantization.layers.kernels import on_grid
from tf_deepinversion.quantization.layers.layer_graph import LayerGraph

L = keras.layers
PIXELS = Preprocessing(mean=127.5, std=50.0, pixel_range="normalized")
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (20, 8, 8, 1), "uint8")


def normalized(x, name, **kwargs):
    return drawn_norm(x, RANDOM, name, **kwargs)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 1))
    x = normalized(L.Conv2D(4, 3, name="stem")(inputs), "stem_bn")
    x = L.ReLU(6.0)(x)
    x = normalized(L.DepthwiseConv2D(3, name="deep")(x), "deep_bn")
    x = y = L.ReLU()(x)
    x = normalized(L.Conv2D(4, 1, name="narrow")(x), "narrow_bn", center=False)
    x = L.Add()([x, normalized(y, "other_bn")])
    inner = keras.Input((4, 4, 4))
    z = L.Conv2D(6, 1, groups=2, use_bias=True, name="grouped")(inner)
    x = keras.Model(inner, L.GlobalMaxPooling2D()(z), name="inner")(x)
    return keras.Model(inputs, L.Dense(3, name="logits")(x), name="any")


def error(layer, bits, axes):
    """What rounding adds to a kernel, in NumPy."""
    kernel = layer.kernel.numpy().astype("float64")
    scale = np.abs(kernel).max(axes, keepdims=True) / (2 ** (bits - 1) - 1)
    return np.rint(kernel / scale) * scale - kernel


def clipped_mean(mean, deviation, top=math.inf):
    """The mean of a normal distribution clipped to [0, top], closed form."""

    def density(x):
        return math.exp(-x * x / 2) / math.sqrt(2 * math.pi)

    def share(x):
        return (1 + math.erf(x / math.sqrt(2))) / 2

    low, high = -mean / deviation, (top - mean) / deviation
    within = mean * (share(high) - share(low))
    above = 0.0 if top == math.inf else top * (1 - share(high))
    return within + deviation * (density(low) - density(high)) + above


@pytest.mark.parametrize("top", [None, 6.0])
def test_mean_behind_relu_has_its_closed_form(top):
    mean, deviation = RANDOM.uniform(-3, 8, 20), RANDOM.uniform(0.1, 4, 20)
    expected = [
        clipped_mean(m, s, top or math.inf)
        for m, s in zip(mean, deviation, strict=True)
    ]
    np.testing.assert_allclose(
        mean_of(L.ReLU(top), mean, deviation), expected, atol=1e-5
    )


def test_inputs_follow_from_batch_normalization(model):
    graph = LayerGraph(model)
    found = {
        node.operation.name: expected_inputs(graph).get(id(node.operation))
        for node in graph.nodes
    }
    assert found["stem"] is None and found["logits"] is None
    bn = {name: model.get_layer(f"{name}_bn") for name in ("stem", "deep")}
    for reader, name, top in (
        ("deep", "stem", 6.0),
        ("narrow", "deep", math.inf),
    ):
        pairs = zip(bn[name].beta.numpy(), bn[name].gamma.numpy(), strict=True)
        expected = [clipped_mean(*pair, top) for pair in pairs]
        np.testing.assert_allclose(found[reader], expected, rtol=1e-4)
    # The residual addition: 0 of the one branch, beta of the other.
    other = model.get_layer("other_bn").beta.numpy()
    np.testing.assert_allclose(found["grouped"], other, rtol=1e-6)


def test_means_move_as_the_sums_say(model):
    before = model.get_weights()
    corrected = correct_bias(model, scheme="int4")
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    moved = {
        a.path: b.numpy() - a.numpy()
        for a, b in zip(model.weights, corrected.weights, strict=True)
    }
    bn = model.get_layer("stem_bn")
    pairs = zip(bn.beta.numpy(), bn.gamma.numpy(), strict=True)
    mean = np.array([clipped_mean(*pair, 6.0) for pair in pairs])
    deep = error(model.get_layer("deep"), 4, (0, 1)).sum((0, 1, 3)) * mean
    np.testing.assert_allclose(
        moved.pop("deep_bn/moving_mean"), deep, atol=1e-5
    )
    grouped = error(model.get_layer("inner").get_layer("grouped"), 4, (0, 1, 2))
    mean = model.get_layer("other_bn").beta.numpy()
    shift = [mean[:2] @ grouped[0, 0, :, :3], mean[2:] @ grouped[0, 0, :, 3:]]
    np.testing.assert_allclose(
        moved.pop("grouped/bias"), -np.concatenate(shift), atol=1e-5
    )
    assert np.abs(moved.pop("narrow_bn/moving_mean")).max() > 1e-3
    # The stem and the head read what no BatchNormalization tells.
    assert all(not np.any(change) for change in moved.values())


def test_images_keep_the_means_of_other_layers(model):
    corrected = correct_bias(model, IMAGES, PIXELS, scheme="int4")
    z = (IMAGES.astype("float32") - 127.5) / 50
    stem, bn = model.get_layer("stem"), model.get_layer("stem_bn")
    exact = bn(stem(z), training=False).numpy()
    own, own_bn = corrected.get_layer("stem"), corrected.get_layer("stem_bn")
    own.kernel.assign(on_grid(own.kernel, 4, depthwise=False))
    rounded = own_bn(own(z), training=False).numpy()
    plain = bn(own(z), training=False).numpy()
    mean = exact.mean((0, 1, 2))
    np.testing.assert_allclose(rounded.mean((0, 1, 2)), mean, atol=1e-4)
    assert np.abs(plain.mean((0, 1, 2)) - mean).max() > 1e-3
    head = corrected.get_layer("logits").bias.numpy()
    assert np.abs(head - model.get_layer("logits").bias.numpy()).max() > 1e-4


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_networks_of_mixed_precision_are_read_in_float32(policy):
    def network(dtype):
        return keras.Sequential(
            [
                keras.Input((8, 8, 1)),
                L.Conv2D(4, 3, activation="relu", dtype=dtype),
                L.Flatten(dtype=dtype),
                L.Dense(3, dtype=dtype),
            ]
        )

    mixed, plain = network(policy), network("float32")
    plain.set_weights(mixed.get_weights())
    found, expected = (
        correct_bias(x, IMAGES, PIXELS, scheme="int4") for x in (mixed, plain)
    )
    for mine, other in zip(found.weights, expected.weights, strict=True):
        np.testing.assert_array_equal(mine, other)
    assert found.layers[0].dtype_policy.name == policy


def test_what_rounds_nothing_is_refused(model):
    with pytest.raises(ValueError, match="rounds weights.*'float16'"):
        correct_bias(model, scheme="float16")
    with pytest.raises(ValueError, match="among int8.*'int5'"):
        correct_bias(model, scheme="int5")
    with pytest.raises(ValueError, match="functional or sequential"):
        correct_bias(L.Dense(2))


@pytest.mark.parametrize(("size", "rounds"), [(15, False), (17, True)])
def test_dynamic_corrects_what_it_rounds(size, rounds):
    # The converter leaves weights of fewer than 1,024 elements in float.
    inputs = keras.Input((8, 8, 1))
    x = normalized(L.Conv2D(size, 1)(inputs), "bn")
    x = L.GlobalAveragePooling2D()(L.ReLU()(x))
    model = keras.Model(inputs, L.Dense(64, name="logits")(x))
    corrected = correct_bias(model, scheme="dynamic")
    moved = corrected.get_layer("logits").bias - model.get_layer("logits").bias
    assert (np.abs(moved).max() > 0) == rounds


@pytest.mark.parametrize("function", ["glu", "softmax", "log_softmax"])
def test_functions_over_channels_have_no_known_mean(function):
    inputs = keras.Input((8, 8, 1))
    x = normalized(L.Conv2D(4, 3)(inputs), "bn")
    x = L.Conv2D(2, 1, name="reader")(L.Activation(function)(x))
    model = keras.Model(inputs, L.Dense(3)(L.Flatten()(x)))
    graph = LayerGraph(model)
    assert id(model.get_layer("reader")) not in expected_inputs(graph)
    assert correct_bias(model) is not None
