"""What a quantized file holds, read back and computed again in NumPy."""

import keras
import numpy as np
import pytest

from tf_deepinversion.networks.copies import copy_of
from tf_deepinversion.networks.preprocessing import Preprocessing
from tf_deepinversion.quantization import LiteRT
from tf_deepinversion.quantization import quantize
from tf_deepinversion.quantization import to_litert
from tf_deepinversion.quantization.file import int4_weights

PIXELS = Preprocessing(mean=127.5, std=50.0)  # the network takes pixels
SHAPES = {"SHAPE", "STRIDED_SLICE", "PACK"}
RANGE = np.arange(256, dtype="uint8").reshape(16, 4, 4, 1)


def network(units=3, activation=None):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((4, 4, 1)),
            keras.layers.Conv2D(2, 1, use_bias=False, activation=activation),
            keras.layers.Flatten(),
            keras.layers.Dense(units),
        ],
        name="any",
    )
    # Of unequal ranges: one scale for all outputs differs from one for each.
    kernel = model.layers[-1].kernel
    kernel.assign(kernel * np.geomspace(0.1, 1, units))
    return model


@pytest.fixture(scope="module")
def model():
    return network()


@pytest.fixture(scope="module")
def plain(model):
    return plain_file(model)


def plain_file(model):
    return LiteRT(quantize(model, RANGE, PIXELS))


@pytest.fixture(scope="module")
def device(model):
    """As devices ask for it."""
    options = {"input_dtype": "int8", "output_dtype": "float32"}
    return LiteRT(
        quantize(
            model,
            RANGE,
            PIXELS,
            batch_size=3,
            per_tensor_dense=True,
            **options,
        )
    )


def scales(served, size):
    """Scales, zero points and numbers of the weights of a size."""
    for tensor in served._interpreter.get_tensor_details():
        if tensor["dtype"] == np.int8 and np.prod(tensor["shape"]) == size:
            numbers = served._interpreter.get_tensor(tensor["index"])
            return tensor["quantization_parameters"], numbers
    raise LookupError(size)


def activation(served, shape):
    """Scale and zero point of the activation of a shape."""
    for tensor in served._interpreter.get_tensor_details():
        weights = tensor["quantization_parameters"]["scales"].size > 1
        if tensor["shape"].tolist() == shape and not weights:
            if tensor["dtype"] in (np.int8, np.int16):
                return tensor["quantization"]
    raise LookupError(shape)


def rounded(x, scale, zero, dtype="int8"):
    bounds = np.iinfo(dtype)
    return np.rint(x / scale + zero).clip(bounds.min, bounds.max)


def by_hand(served, images, dtype="int8"):
    """The logits of the file's numbers, by the rules of whole numbers."""
    served(images[:1])  # the interpreter allocates its tensors
    count, (_, kernel) = len(images), scales(served, 2)
    scale = scales(served, 2)[0]["scales"]
    step, zero = activation(served, [served._size, 4, 4, 2])
    x = images.astype(float) * (kernel.ravel() * scale)
    x = (rounded(x, step, zero, dtype) - zero) * step
    given, kernel = scales(served, 96)
    return x.reshape(count, -1) @ (kernel.T * given["scales"])


def test_the_file_by_default_is_its_numbers_in_numpy(model, plain):
    assert plain.ops == (
        *("QUANTIZE", "CONV_2D", "SHAPE", "STRIDED_SLICE", "PACK"),
        *("RESHAPE", "FULLY_CONNECTED"),
    )
    assert plain.dtypes == {
        "input": "uint8",
        "output": "int8",
        "tensors": ("int32", "int8", "uint8"),
    }
    # Calibrated with pixels of 0 to 255: the steps are gray levels.
    scale, zero = plain.input["quantization"]
    assert scale == pytest.approx(1) and zero == 0
    logits, step = plain(RANGE), plain.output["quantization"][0]
    np.testing.assert_allclose(logits, by_hand(plain, RANGE), atol=1.01 * step)
    weights = scales(plain, 96)[0]["scales"]
    kernel = model.layers[-1].kernel.numpy()
    np.testing.assert_allclose(weights, np.abs(kernel).max(0) / 127, rtol=1e-5)


def test_weights_of_4_bits_are_those_rounded_in_numpy(model):
    by_numpy = copy_of(model)
    for layer in by_numpy.layers:
        if hasattr(layer, "kernel"):
            kernel = layer.kernel.numpy()
            axes = tuple(range(kernel.ndim - 1))
            scale = np.abs(kernel).max(axes, keepdims=True) / 7
            layer.kernel.assign(np.rint(kernel / scale) * scale)
    expected = plain_file(by_numpy)
    found = LiteRT(quantize(model, RANGE, PIXELS, scheme="int4"))
    assert found.dtypes["tensors"] == ("int32", "int4", "int8", "uint8")
    step = expected.output["quantization"][0]
    np.testing.assert_allclose(found(RANGE), expected(RANGE), atol=1.01 * step)
    # Two to a byte, the first in the low bits; the last may stand alone.
    packed = int4_weights.packed(np.int8([1, -2, 7]))
    assert packed.tolist() == [0xE1, 0x07]


def test_a_device_s_file_has_its_dtypes_and_no_shapes(model, device):
    assert device.ops == (
        *("CONV_2D", "RESHAPE", "FULLY_CONNECTED", "DEQUANTIZE"),
    )
    assert device.dtypes["input"] == "int8"
    assert device.dtypes["output"] == "float32"
    assert device.input["shape"].tolist() == [3, 4, 4, 1]
    assert device.input["shape_signature"].tolist() == [3, 4, 4, 1]
    scale, zero = device.input["quantization"]
    assert scale == pytest.approx(1) and zero == -128
    # One scale for the dense layer, one for each output of the convolution.
    kernel = model.layers[-1].kernel.numpy()
    np.testing.assert_allclose(
        scales(device, 96)[0]["scales"], [np.abs(kernel).max() / 127], rtol=1e-5
    )
    assert scales(device, 2)[0]["scales"].size == 2


def test_a_device_s_file_is_its_numbers_in_numpy(device):
    step, _ = activation(device, [3, 3])
    np.testing.assert_allclose(
        device(RANGE), by_hand(device, RANGE), atol=1.01 * step
    )


def test_int16_is_finer_by_far(model, plain):
    content = quantize(model, RANGE, PIXELS, scheme="int16x8", batch_size=1)
    served = LiteRT(content)
    assert served.ops == ("CONV_2D", "RESHAPE", "FULLY_CONNECTED")
    assert served.dtypes == {
        "input": "int16",
        "output": "int16",
        "tensors": ("int16", "int32", "int64", "int8"),
    }
    logits, step = served(RANGE), served.output["quantization"][0]
    assert step < plain.output["quantization"][0] / 100
    np.testing.assert_allclose(
        logits, by_hand(served, RANGE, "int16"), atol=2 * step
    )


@pytest.mark.slow
def test_schemes_in_float_store_smaller_weights():
    model = network(units=40)  # 1,280 weights: fewer stay in float
    exact = model(RANGE.astype("float32"), training=False).numpy()
    scale = np.abs(exact).max()
    whole = len(to_litert(model, PIXELS, batch_size=1))
    for scheme, dtype, error, width in (
        ("dynamic", "int8", 0.02, 1),
        ("float16", "float16", 1e-3, 2),
    ):
        content = quantize(model, None, PIXELS, scheme=scheme, batch_size=1)
        served = LiteRT(content)
        assert set(served.dtypes["tensors"]) - {"int32"} == {"float32", dtype}
        assert served.dtypes["input"] == served.dtypes["output"] == "float32"
        assert not SHAPES & set(served.ops)
        assert np.abs(served(RANGE) - exact).max() < error * scale
        assert whole - len(content) > 1280 * (4 - width) - 1000
    single = LiteRT(
        quantize(model, None, PIXELS, scheme="dynamic", per_tensor_dense=True)
    )
    assert scales(single, 1280)[0]["scales"].size == 1


@pytest.mark.parametrize("scheme", ["int8", "int16x8"])
def test_what_stays_in_float_is_refused_by_its_layer(scheme):
    """The converter keeps ELU in float in a file of int8, and says nothing."""
    model = network(activation="elu")
    with pytest.raises(ValueError, match="ELU") as caught:
        quantize(model, RANGE, PIXELS, scheme=scheme)
    assert len(str(caught.value)) < 600
    if scheme == "int8":
        assert "conv2d" in str(caught.value)
        assert 'scheme="dynamic"' in str(caught.value)


def test_softplus_that_overflows_is_refused():
    """The converter ended the process."""
    layers = keras.layers
    chain = layers.Activation("softplus", name="soft"), layers.Flatten()
    model = keras.Sequential([keras.Input((4, 4, 1)), *chain], name="any")
    assert np.isfinite(model(RANGE.astype("float32"))).all()
    with pytest.raises(ValueError, match="overflows in any.*soft[_/]"):
        quantize(model, RANGE, PIXELS)
    dark = np.minimum(RANGE, 60)
    assert LiteRT(quantize(model, dark, PIXELS))(dark).max() == pytest.approx(
        60, abs=0.5
    )


@pytest.mark.parametrize(
    "options, says",
    [
        ({"scheme": "int2"}, "int8, int4, int16x8, dynamic, float16.*'int2'"),
        (
            {"scheme": "dynamic", "input_dtype": "int8"},
            "`input_dtype` among float32 for scheme='dynamic'.*='int8'",
        ),
        (
            {"scheme": "int16x8", "output_dtype": "int8"},
            "`output_dtype` among int16, float32 for scheme='int16x8'",
        ),
        ({"input_dtype": "int16"}, "among uint8, int8, float32 for scheme"),
        (
            {"scheme": "float16", "per_tensor_dense": True},
            '"int8", "int16x8" and "dynamic" have the choice',
        ),
        ({"images": None}, '"dynamic" and "float16" need none'),
        ({"batch_size": 0}, "positive whole number, or None.*batch_size=0"),
        ({"batch_size": 1.0}, "positive whole number.*batch_size=1.0"),
    ],
)
def test_combinations_that_make_no_sense(model, options, says):
    options = {"images": RANGE, **options}
    with pytest.raises(ValueError, match=says):
        quantize(model, options.pop("images"), PIXELS, **options)


def test_a_network_s_own_batch_size_is_kept():
    inputs = keras.Input((4, 4, 1), 2)
    outputs = keras.layers.Flatten()(inputs)
    model = keras.Model(inputs, outputs, name="any")
    with pytest.raises(ValueError, match="fixes, 2.*batch_size=3"):
        quantize(model, RANGE, PIXELS, batch_size=3)
