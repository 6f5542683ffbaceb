"""A new file is run: it must answer as the network does, or say so."""

import re

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import tf_deepinversion as di
from tf_deepinversion.quantization import LiteRT
from tf_deepinversion.quantization import _quantize
from tf_deepinversion.quantization.file.model_file import read_model
from tf_deepinversion.quantization.file.symmetric_operands import (
    with_symmetric_operands,
)

FED = di.Preprocessing(127.5, 64.0, (-1, 1))
IMAGES = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 3), "uint8")


def network(body):
    """A convolution, what `body` makes of its output, and a dense head."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3))
    x = body(layers.Conv2D(4, 3)(inputs))
    x = layers.Flatten()(x) if len(x.shape) == 4 else x
    return keras.Model(inputs, layers.Dense(4)(x), name="any")


def attention(x):
    x = layers.Reshape((36, 4))(x)
    x = layers.MultiHeadAttention(2, 4)(x, x)
    return layers.GlobalAveragePooling1D()(x)


def logits_of(model):
    return np.asarray(model(FED.fed(IMAGES.astype("float32"))), "float64")


def quantized(model, scheme="int8", **kwargs):
    return di.quantize(model, IMAGES, FED, scheme=scheme, verbose=0, **kwargs)


@pytest.mark.parametrize(
    ("scheme", "most"), [("int8", 0.02), ("int4", 0.1), ("int16x8", 0.01)]
)
def test_attention_answers_as_the_network_does(scheme, most):
    model = network(attention)
    content, logits = quantized(model, scheme), logits_of(model)
    error = np.abs(LiteRT(content)(IMAGES) - logits).max()
    assert error < most * np.ptp(logits)


def keys(make):
    """A product of two activations; `make` gives the second."""

    def body(x):
        x = layers.Reshape((36, 4))(layers.ReLU()(x))
        second = make(layers.Dense(4)(x))
        product = ops.matmul(x, ops.transpose(second, (0, 2, 1)))
        return layers.GlobalAveragePooling1D()(product)

    return body


@pytest.mark.parametrize(
    "make",
    [
        lambda x: ops.max(ops.reshape(x, (-1, 9, 4, 4)), axis=2),
        lambda x: ops.softmax(4 * x, axis=1),
        ops.sigmoid,
        lambda x: ops.clip(x, -50.0, 50.0),
    ],
    ids=["max", "softmax", "sigmoid", "clip"],
)
def test_second_operands_of_any_operation(make):
    model = network(keys(make))
    content, logits = quantized(model), logits_of(model)
    answers = LiteRT(bytearray(content))(IMAGES)
    assert np.abs(answers - logits).max() < 0.05 * np.ptp(logits)


@pytest.mark.parametrize("bias", [0.0, 200.0])
def test_noise_of_a_step_is_no_other_answer(bias, recwarn):
    # Probabilities that hardly vary, or not at all, and steps of 1 / 256.
    model = network(layers.ReLU())
    head = model.layers[-1]
    head.kernel.assign(1e-3 * head.kernel)
    head.bias.assign(np.float32([bias, 0, 0, 0]))
    quantized(keras.Model(model.inputs, layers.Softmax()(model.outputs[0])))
    assert not [w for w in recwarn if "signal-to-noise" in str(w.message)]


def ranges_of_operands(content):
    """(low, high, zero point) of each second operand of two activations."""
    (graph,) = read_model(content).subgraphs
    found = []
    for operation in graph.operators:
        if type(operation.builtinOptions).__name__ == "BatchMatMulOptionsT":
            known = graph.tensors[operation.inputs[1]].quantization
            (scale,), (zero,) = known.scale, known.zeroPoint
            found.append((scale * (-128 - zero), scale * (127 - zero), zero))
    return found


def test_ranges_of_second_operands_are_symmetric(monkeypatch):
    made = []

    def noted(content):
        made.append(content)
        return with_symmetric_operands(content)

    monkeypatch.setattr(_quantize, "with_symmetric_operands", noted)
    symmetric = ranges_of_operands(quantized(network(attention)))
    plain = ranges_of_operands(*made)
    assert len(plain) == 2 and all(zero for *_, zero in plain)
    for (low, high, _), (_, most, zero) in zip(plain, symmetric, strict=True):
        assert zero == 0 and most == pytest.approx(max(-low, high), rel=1e-5)


def test_a_file_that_answers_otherwise_says_how_far():
    # The converter gives celu's first operation the range of the second.
    model = network(layers.Activation("celu"))
    with pytest.warns(UserWarning, match="ratio of .* dB") as seen:
        content = quantized(model)
    text = " ".join(str(warning.message) for warning in seen)
    (told,) = re.findall(r"ratio of (-?\d+) dB", text)
    some = np.linspace(0, 59, 32).astype(int)
    exact = logits_of(model)[some]
    noise = LiteRT(content)(IMAGES[some]) - exact
    ratio = np.sum((exact - exact.mean(0)) ** 2) / np.sum(noise**2)
    assert int(told) == pytest.approx(10 * np.log10(ratio), abs=0.51)
    assert int(told) < 10


@pytest.mark.parametrize(
    ("body", "scheme", "message"),
    [
        (
            layers.UpSampling2D(2),
            "int16x8",
            "LiteRT cannot compute 'any'.*tile",
        ),
        (
            lambda x: ops.sum(x, (1, 2)),
            "int16x8",
            "not add several values of int16.*`ops.mean`",
        ),
        (layers.Activation("softsign"), "int8", "LiteRT cannot compute"),
    ],
)
def test_a_file_that_nobody_can_run_is_refused(body, scheme, message):
    with pytest.raises(ValueError, match=message):
        quantized(network(body), scheme)


@pytest.mark.parametrize("scheme", ["int8", "dynamic", "float16"])
def test_weights_that_are_not_finite_are_refused(scheme):
    model = network(layers.ReLU())
    kernel = np.array(model.layers[-1].kernel)
    kernel[0, 0] = np.nan
    model.layers[-1].kernel.assign(kernel)
    with pytest.raises(ValueError, match="not finite.*dense.*/kernel"):
        quantized(model, scheme)


def test_weights_that_float16_cannot_hold_are_refused():
    model = network(layers.ReLU())
    kernel = np.array(model.layers[-1].kernel)
    kernel[0, 0] = 1e5
    model.layers[-1].kernel.assign(kernel)
    with pytest.raises(ValueError, match="within 65504.*larger weight in"):
        quantized(model, "float16")
    kernel[0, 0] = 60000
    model.layers[-1].kernel.assign(kernel)
    assert quantized(model, "float16")


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        ("model.tflite", TypeError, "`read_bytes`.*str"),
        (b"none", ValueError, "4 bytes that are none"),
    ],
)
def test_what_litert_refuses(content, error, message):
    with pytest.raises(error, match=message):
        LiteRT(content)
    with pytest.raises(ValueError, match="`threads` must be a whole number"):
        LiteRT(content, threads=0)


@pytest.mark.parametrize("name", ["_conv", "conv 1"])
def test_a_name_that_tensorflow_cannot_write_is_told(tmp_path, name):
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(2, 3, name=name)(inputs)
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))
    message = f"rename the layer.*{name}/"
    with pytest.raises(ValueError, match=message):
        quantized(model)
    with pytest.raises(ValueError, match=message):
        di.export(model, tmp_path / "saved", FED)
    assert not (tmp_path / "saved").exists()
