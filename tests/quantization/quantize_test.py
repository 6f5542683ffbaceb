"""Whole-number models against the float ones that they stand for."""

import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_deepinversion import Pool
from tf_deepinversion.networks.preprocessing import Preprocessing
from tf_deepinversion.quantization import LiteRT
from tf_deepinversion.quantization import calibration
from tf_deepinversion.quantization import conversion
from tf_deepinversion.quantization import quantize
from tf_deepinversion.quantization import takes_pixels
from tf_deepinversion.quantization import to_litert

PIXELS = Preprocessing(mean=127.5, std=50.0, pixel_range="normalized")


def pixels(n=40, high=256, seed=0):
    return np.random.default_rng(seed).integers(0, high, (n, 8, 8, 1), "uint8")


def logits_of(model, images):
    z = (images.astype("float32") - 127.5) / 50
    return model(z, training=False).numpy()


@pytest.fixture(scope="module")
def teacher():
    """With ReLU: softplus itself is coarse in 8 bits."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((8, 8, 1)), *layers()], name="any")
    model.layers[-1].kernel.assign(model.layers[-1].kernel * 10)
    return model


def layers(pooling=keras.layers.Flatten, **kwargs):
    for strides in (1, 2):
        yield keras.layers.Conv2D(6, 3, strides, "same", **kwargs)
        yield keras.layers.BatchNormalization(**kwargs)
        yield keras.layers.ReLU(**kwargs)
    yield pooling(**kwargs)
    yield keras.layers.Dense(3, **kwargs)


@pytest.fixture(scope="module")
def content(teacher):
    return quantize(teacher, pixels(), PIXELS)


def test_int8_is_the_network_but_for_its_steps(teacher, content):
    model = LiteRT(content)
    assert model.input["dtype"] == np.uint8
    assert model.output["dtype"] == np.int8
    images = pixels()  # of others, a logit may lie outside of the range
    expected = logits_of(teacher, images)
    step = model.output["quantization"][0]
    assert 0 < step < np.ptp(expected) / 100
    error = np.abs(model(images) - expected)
    assert error.max() < 4 * step and error.mean() < step


def test_every_tensor_is_of_whole_numbers(content):
    model = LiteRT(content)
    tensors = model._interpreter.get_tensor_details()
    dtypes = {np.dtype(tensor["dtype"]).name for tensor in tensors}
    assert dtypes == set(model.dtypes["tensors"])
    assert dtypes == {"uint8", "int8", "int32"}


def test_float_is_the_network(teacher):
    model = LiteRT(to_litert(teacher, PIXELS), batch_size=7)
    images = pixels(seed=1)
    np.testing.assert_allclose(
        model(images), logits_of(teacher, images), rtol=1e-4, atol=1e-4
    )


def test_pieces_make_no_difference_and_accuracy_counts(content):
    images = pixels(23)
    whole = LiteRT(content)(images)
    pieces = LiteRT(content, batch_size=5)
    np.testing.assert_array_equal(pieces(images), whole)
    labels = whole.argmax(-1)
    labels[:3] = (labels[:3] + 1) % 3
    assert pieces.accuracy(images, labels) == pytest.approx(20 / 23)


def test_ranges_are_those_of_the_calibration_images(teacher, content):
    dark = quantize(teacher, pixels(high=20), PIXELS)
    images = pixels(seed=1)
    expected = logits_of(teacher, images)
    error = [
        np.abs(LiteRT(c)(images) - expected).max() for c in (content, dark)
    ]
    assert error[1] > 5 * error[0]
    # And dark images are told in finer steps of the input than one level.
    scale, zero = LiteRT(dark).input["quantization"]
    assert scale == pytest.approx(19 / 255) and zero == 0
    images = pixels(high=20)
    gap = np.abs(LiteRT(dark)(images) - logits_of(teacher, images)).max()
    assert gap < 4 * LiteRT(dark).output["quantization"][0]


def test_a_pool_and_a_pair_of_arrays_calibrate(teacher, content):
    labels = np.zeros(40, int)
    expected = LiteRT(content)(pixels(seed=1))
    for images in (Pool.of(pixels(), labels), (pixels(), labels)):
        again = LiteRT(quantize(teacher, images, PIXELS))
        np.testing.assert_array_equal(again(pixels(seed=1)), expected)
    with pytest.raises(TypeError, match="a finite set of images"):
        quantize(teacher, lambda step: None, PIXELS)


def test_a_dataset_of_images_and_labels_calibrates(teacher, content):
    pairs = pixels(), np.zeros(40)
    for elements in (pairs, dict(zip(("image", "label"), pairs, strict=True))):
        dataset = tf.data.Dataset.from_tensor_slices(elements)
        again = LiteRT(quantize(teacher, dataset, PIXELS))
        np.testing.assert_array_equal(
            again(pixels(seed=1)), LiteRT(content)(pixels(seed=1))
        )


@pytest.mark.parametrize("convention", ["caffe", "tf", "torch", "pixels"])
def test_networks_of_all_conventions_are_fed_pixels(convention):
    inputs = keras.Input((2, 2, 3))
    outputs = keras.layers.Flatten()(inputs)
    model = keras.Model(inputs, outputs, name="any")
    p = Preprocessing.imagenet(convention)
    images = np.random.default_rng(0).integers(0, 256, (3, 2, 2, 3), "uint8")
    np.testing.assert_allclose(
        takes_pixels(model, p)(images.astype("float32")),
        model(p.teacher_input(tf.constant(p.normalize(images)))),
        rtol=1e-4,
        atol=1e-4,
    )
    assert (takes_pixels(model, p) is model) == (convention == "pixels")


@pytest.mark.parametrize("scheme", ["int8", "int16x8"])
@pytest.mark.parametrize("convention", ["caffe", "tf", "torch"])
def test_int8_is_the_network_in_all_conventions(convention, scheme):
    fed = Preprocessing.imagenet(convention)
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((8, 8, 3)), *layers()], name="any")
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), "uint8")
    expected = model(fed.fed(images), training=False).numpy()
    found = LiteRT(quantize(model, images, fed, 0, scheme=scheme))(images)
    noise = np.square(found - expected).mean() / np.square(expected).mean()
    assert -10 * np.log10(noise) > 30  # in decibels; 15 if channels differ


def test_what_cannot_be_is_said(teacher, content):
    with pytest.raises(ValueError, match="at least one calibration"):
        quantize(teacher, pixels(0), PIXELS)
    with pytest.raises(TypeError, match="uint8.*dtype=float32"):
        quantize(teacher, pixels(2).astype("float32"), PIXELS)
    batches = tf.data.Dataset.from_tensors(pixels(2))
    endless = tf.data.Dataset.from_tensor_slices(pixels(2)).repeat()
    with pytest.raises(ValueError, match="`take` some.*endless"):
        quantize(teacher, endless, PIXELS)
    with pytest.raises(ValueError, match=r"unbatch.*shape=\(2, 8, 8, 1\)"):
        quantize(teacher, batches, PIXELS)
    with pytest.raises(ValueError, match=r"shape \(8, 8, 1\)"):
        LiteRT(content)(np.zeros((1, 4, 4, 1), "uint8"))
    with pytest.raises(ValueError, match="not known from its name"):
        quantize(teacher, pixels(2))
    anysize = keras.Sequential([keras.Input((None, None, 1))])
    with pytest.raises(ValueError, match="a fixed image size"):
        takes_pixels(anysize, PIXELS)
    with pytest.raises(ValueError, match=r"image_shape=\(9, 8, 1\)"):
        to_litert(teacher, PIXELS, (9, 8, 1))
    with pytest.raises(ValueError, match="of a LiteRT model"):
        LiteRT(b"another file, of more than a few bytes")


@pytest.mark.parametrize(
    "policy",
    [
        "mixed_float16",
        pytest.param("bfloat16", marks=pytest.mark.slow),
        pytest.param("float64", marks=pytest.mark.slow),
    ],
)
def test_networks_of_any_precision_are_converted(policy):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((8, 8, 1), dtype="float32"), *layers(dtype=policy)]
    )
    images, policies = pixels(), [x.dtype_policy.name for x in model.layers]
    expected = logits_of(model, images).astype("float32")
    scale = np.abs(expected).max()
    found = LiteRT(to_litert(model, PIXELS))(images)
    assert np.abs(found - expected).max() < 0.02 * scale
    found = LiteRT(quantize(model, images, PIXELS))(images)
    assert np.abs(found - expected).max() < 0.1 * scale
    assert [x.dtype_policy.name for x in model.layers] == policies


def test_keras_s_global_precision_makes_no_difference(teacher, content):
    before = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_float16")
        found = LiteRT(quantize(teacher, pixels(), PIXELS))(pixels())
        np.testing.assert_array_equal(found, LiteRT(content)(pixels()))
    finally:
        keras.config.set_dtype_policy(before)


def test_a_network_of_open_size_takes_that_of_the_images():
    pooling = keras.layers.GlobalAveragePooling2D
    model = keras.Sequential(
        [keras.Input((None, None, 1)), *layers(pooling)], name="any"
    )
    images = pixels()
    expected = logits_of(model, images)
    found = LiteRT(quantize(model, images, PIXELS))(images)
    assert np.abs(found - expected).max() < 0.1 * np.abs(expected).max()
    found = LiteRT(to_litert(model, PIXELS, (8, 8, 1)))(images)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    sizes = [np.zeros(shape, "uint8") for shape in ((8, 8, 1), (8, 9, 1))]
    with pytest.raises(ValueError, match=r"\(8, 8, 1\).*shape=\(8, 9, 1\)"):
        quantize(model, sizes, PIXELS)


@pytest.mark.parametrize("count", [1, 3])
def test_a_fixed_batch_stays(count):
    keras.utils.set_random_seed(0)
    inputs = keras.Input(batch_shape=(count, 8, 8, 1))
    x = keras.layers.Conv2D(4, 3)(inputs)
    x = keras.ops.reshape(x, (count, 6 * 6 * 4))  # of no other batch
    model = keras.Model(inputs, keras.layers.Dense(3)(x), name="any")
    images = pixels(7)
    expected = np.concatenate(
        [
            logits_of(model, np.resize(images[i : i + count], (count, 8, 8, 1)))
            for i in range(0, 7, count)
        ]
    )[:7]
    content = to_litert(model, PIXELS)
    np.testing.assert_allclose(
        LiteRT(content)(images), expected, rtol=1e-4, atol=1e-4
    )
    assert LiteRT(content).input["shape"].tolist() == [count, 8, 8, 1]
    found = LiteRT(quantize(model, images, PIXELS))(images)
    assert np.abs(found - expected).max() < 0.1 * np.abs(expected).max()


def test_what_litert_cannot_do_is_said_in_few_words():
    inputs = keras.Input((8, 8, 1))
    x = keras.ops.erfinv(keras.ops.mean(inputs, (1, 2)) / 1000)
    model = keras.Model(inputs, keras.layers.Dense(3)(x), name="any")
    for convert in (to_litert, lambda *a: quantize(a[0], pixels(2), a[1])):
        with pytest.raises(ValueError, match="cannot be .*Erfinv") as caught:
            convert(model, PIXELS)
        assert len(str(caught.value)) < 600


def test_calibration_images_are_counted_past_what_is_silenced(capsys):
    counted = calibration.counted(list(range(25)), 2, sys.stdout)
    with conversion.quiet():
        print("silenced")
        assert list(counted) == list(range(25))
    assert capsys.readouterr().out.splitlines() == [
        f"Calibration: image {count}/25" for count in [*range(3, 25, 3), 25]
    ]
