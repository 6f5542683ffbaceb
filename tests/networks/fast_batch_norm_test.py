"""The fast BatchNormalization against Keras's own and against NumPy."""

import math
import re
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tf_deepinversion.networks import fast_batch_norm
from tf_deepinversion.networks.call_hooks import watch
from tf_deepinversion.networks.fast_batch_norm import read
from tf_deepinversion.networks.on_cpu import on_cpu

CHANNELS = 3


def make(rank=4, **kwargs):
    layer = layers.BatchNormalization(momentum=0.7, epsilon=1e-3, **kwargs)
    layer.build((*[None] * (rank - 1), CHANNELS))
    random = np.random.default_rng(1)
    for weight in layer.weights:
        weight.assign(random.uniform(0.5, 2, weight.shape))
    return layer


def images(shape, dtype="float32"):
    random = np.random.default_rng(2)
    return tf.constant(random.normal(3, 2, (*shape, CHANNELS)), dtype)


def gradients(layer, function, x):
    """y, d/dx and d/dweights of a sum that has a gradient everywhere."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = function(x)
        value = tf.reduce_sum(tf.sin(y))
    variables = [v.value for v in layer.trainable_variables]
    return [y, *tape.gradient(value, [x, *variables])]


def ours(layer, **kwargs):
    return lambda x: read(layer, layer.call, x, **kwargs).outputs


SHAPES = [(8, 4, 4), (5, 3, 7), (6, 5), (16,), (1, 1, 1)]
KINDS = [{}, {"scale": False}, {"center": False}, {"trainable": False}]


@pytest.mark.parametrize("graph", [True, False], ids=["graph", "eager"])
@pytest.mark.parametrize("kwargs", KINDS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_inference_is_that_of_keras(shape, kwargs, graph):
    layer, x = make(dtype="float64", **kwargs), images(shape, "float64")
    theirs = gradients(layer, lambda x: layer.call(x, training=False), x)
    function = ours(layer, training=False)
    found = gradients(layer, tf.function(function) if graph else function, x)
    for a, b in zip(found, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("static", [True, False])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_sums_are_those_of_numpy(shape, static):
    layer, x = make(), images(shape)
    sizes = shape if static else [None] * len(shape)
    signature = [tf.TensorSpec((*sizes, CHANNELS))]
    function = tf.function(
        lambda x: read(layer, layer.call, x).sums, input_signature=signature
    )
    shifted = x.numpy().astype("float64") - layer.moving_mean.numpy()
    shifted = shifted.reshape(-1, CHANNELS)
    first, second = function(x)
    np.testing.assert_allclose(first, shifted.sum(0), rtol=1e-5)
    np.testing.assert_allclose(second, (shifted**2).sum(0), rtol=1e-5)


def test_xla_writes_no_tensor_of_all_values_for_the_sums():
    x, mean = images((64, 16, 16)), tf.zeros(CHANNELS)
    # A graph for unknown sizes, traced before, must not serve this shape.
    tf.function(fast_batch_norm._sums_of_few).get_concrete_function(
        tf.TensorSpec((None, None, None, CHANNELS)), mean
    )
    compiled = tf.function(fast_batch_norm._sums_of_few, jit_compile=True)
    program = compiled.experimental_get_compiler_ir(x, mean)("optimized_hlo")
    main = program.partition("\nENTRY ")[2]
    sizes = [
        math.prod(int(size) for size in shape.split(",") if size)
        for line in main.splitlines()
        for shape in re.findall(
            r"f32\[([\d,]*)\]", line.partition("fusion(")[0]
        )
        if " fusion(" in line
    ]
    assert sizes and max(sizes) <= tf.size(x) // 16


def test_sums_keep_small_variances_far_from_zero():
    layer = make()
    layer.moving_mean.assign([1000.0] * CHANNELS)
    x = tf.cast(1000 + images((64, 16, 16), "float64") / 100, "float32")
    first, second = read(layer, layer.call, x).sums
    exact = (x.numpy().astype("float64") - 1000).reshape(-1, CHANNELS)
    np.testing.assert_allclose(first, exact.sum(0), rtol=1e-5)
    np.testing.assert_allclose(second, (exact**2).sum(0), rtol=1e-5)


@pytest.mark.parametrize("jit", [True, False])
def test_gradient_of_the_sums(jit):
    """d/dx of u y + v sum(x - m) + w sum((x - m)^2), by channel."""
    layer, x = make(dtype="float64"), images((4, 3, 3), "float64")
    u, v, w = np.random.default_rng(3).normal(size=(3, CHANNELS))

    @tf.function(jit_compile=jit)
    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            call = read(layer, layer.call, x)
            value = tf.reduce_sum(call.outputs * u)
            value += tf.reduce_sum(v * call.sums[0] + w * call.sums[1])
        return tape.gradient(value, x)

    mean, variance, gamma = (
        weight.numpy()
        for weight in (layer.moving_mean, layer.moving_variance, layer.gamma)
    )
    slope = gamma / np.sqrt(variance + layer.epsilon)
    expected = u * slope + v + 2 * w * (x.numpy() - mean)
    np.testing.assert_allclose(gradient(x), expected, rtol=1e-10)


@pytest.mark.parametrize("kwargs", KINDS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_training_is_that_of_keras(shape, kwargs):
    theirs, fast = (make(len(shape) + 1, **kwargs) for _ in range(2))
    x = images(shape)
    expected = gradients(theirs, lambda x: theirs.call(x, training=True), x)
    found = gradients(fast, ours(fast, training=True), x)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
    for a, b in zip(fast.weights, theirs.weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, err_msg=a.path)


def test_images_in_training_are_read_by_one_kernel():
    layer, x = make(), images((8, 4, 4))
    graph = tf.function(ours(layer, training=True)).get_concrete_function(x)
    kernels = [op.type for op in graph.graph.get_operations()]
    assert kernels.count("FusedBatchNormV3") == 1


class Doubled(layers.BatchNormalization):
    def call(self, inputs, training=None):  # knows of no mask
        return 2 * super().call(inputs, training=training)


def test_others_are_called():
    x = images((4, 2, 3))
    other = Doubled()
    expected = other(x, training=False)
    np.testing.assert_array_equal(ours(other, training=False)(x), expected)
    turned = layers.BatchNormalization(axis=1)
    turned.build((None, 2, 3, CHANNELS))
    assert read(turned, turned.call, x).sums is None
    masked = read(make(), make().call, x, mask=tf.ones((4, 2, 3)))
    assert masked.sums is None
    # Of another type than it computes in: Keras knows what comes out.
    narrow = make(dtype="mixed_bfloat16")
    assert read(narrow, narrow.call, x).sums is None


def test_a_model_can_be_made_of_a_watched_layer():
    inputs, layer = keras.Input((2, 3, CHANNELS)), make()
    with watch([layer], read=read):
        model = keras.Model(inputs, layer(inputs))
    assert model.count_params() == 4 * CHANNELS


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_computed_in_float32(dtype, training):
    theirs, fast = (make(dtype=f"mixed_{dtype}") for _ in range(2))
    x = images((8, 4, 4), dtype)
    expected = theirs.call(x, training=training)
    found = ours(fast, training=training)(x)
    assert found.dtype == expected.dtype == dtype
    np.testing.assert_allclose(
        tf.cast(found, "float32"), tf.cast(expected, "float32"), rtol=2e-2
    )


@pytest.mark.parametrize("static", [True, False])
@pytest.mark.parametrize("shape", [(8, 6, 5, 16), (4, 3, 3), (7, 4)], ids=str)
def test_inference_in_bfloat16_is_that_of_exact_numbers(shape, static):
    """y, the sums, and the gradient of all three, by NumPy in float64."""
    layer = layers.BatchNormalization(dtype="mixed_bfloat16")
    layer.build(shape)
    random = np.random.default_rng(5)
    for weight in layer.weights:
        weight.assign(random.uniform(0.5, 2, weight.shape))
    x = tf.cast(random.normal(3, 2, shape), "bfloat16")
    u, v, w = random.normal(size=(3, shape[-1]))
    sizes = shape[:-1] if static else [None] * (len(shape) - 1)
    spec = tf.TensorSpec((*sizes, shape[-1]), "bfloat16")

    @tf.function(input_signature=[spec])
    def function(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            call = read(layer, layer.call, x)
            value = tf.reduce_sum(tf.cast(call.outputs, "float32") * u)
            value += tf.reduce_sum(v * call.sums[0] + w * call.sums[1])
        return call.outputs, *call.sums, tape.gradient(value, x)

    y, first, second, gradient = function(x)
    assert y.dtype == gradient.dtype == "bfloat16"
    mean, variance, gamma, beta = (
        weight.numpy().astype("float64")
        for weight in (
            layer.moving_mean,
            layer.moving_variance,
            layer.gamma,
            layer.beta,
        )
    )
    shifted = x.numpy().astype("float64") - mean
    slope = gamma / np.sqrt(variance + layer.epsilon)
    rows = shifted.reshape(-1, shape[-1])
    # bfloat16 has 8 bits; d_y is rounded to them, and so is what comes out.
    narrow = {"rtol": 2**-8, "atol": 2**-8}
    y = y.numpy().astype("float64")
    np.testing.assert_allclose(y, slope * shifted + beta, **narrow)
    np.testing.assert_allclose(first, rows.sum(0), rtol=1e-5)
    np.testing.assert_allclose(second, (rows**2).sum(0), rtol=1e-5)
    expected = u * slope + v + 2 * w * shifted
    gradient = gradient.numpy().astype("float64")
    np.testing.assert_allclose(gradient, expected, rtol=2**-7, atol=2**-7)


@pytest.mark.parametrize("channels", [15, 16])
def test_training_in_bfloat16_is_that_in_float32(channels):
    """Of 16 channels TensorFlow's kernel is given bfloat16, of 15 float32."""
    narrow, wide = (
        layers.BatchNormalization(dtype=dtype)
        for dtype in ("mixed_bfloat16", "float32")
    )
    random = np.random.default_rng(3)
    x = tf.cast(random.normal(3, 2, (8, 4, 4, channels)), "bfloat16")
    exact, found = tf.cast(x, "float32"), {}
    for layer, given in ((narrow, x), (wide, exact)):
        layer.build(x.shape)
        with tf.GradientTape() as tape:
            tape.watch(given)
            y = ours(layer, training=True)(given)
            value = tf.reduce_sum(tf.sin(tf.cast(y, "float32")))
        assert y.dtype == given.dtype
        found[layer] = [
            tf.cast(array, "float32")
            for array in (y, tape.gradient(value, given))
        ]
    for a, b in zip(*found.values(), strict=True):
        np.testing.assert_allclose(a, b, rtol=2**-7, atol=2**-7)
    for a, b in zip(narrow.weights, wide.weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, err_msg=a.path)
    assert not np.allclose(narrow.moving_mean, 0)


def test_numerics_can_be_checked():
    """XLA has no kernel for what checks them."""
    layer = layers.BatchNormalization()
    layer.build((None, 3))

    def result(x):
        call = read(layer, layer.call, x)
        return [call.outputs, *call.sums]

    x = tf.random.normal((7, 3))  # a shape that nothing was compiled for
    tf.debugging.enable_check_numerics()
    try:
        found = tf.function(result)(x)
    finally:
        tf.debugging.disable_check_numerics()
    expected = tf.function(result)(x)
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


@pytest.mark.parametrize(
    ("device", "fast"),
    [
        ("/job:localhost/replica:0/task:0/device:CPU:0", True),
        ("/job:worker/replica:0/task:1/device:CPU:1", True),
        ("", True),
        ("/job:localhost/replica:0/task:0/device:GPU:0", False),
        ("/job:worker/replica:0/task:0/device:TPU:3", False),
    ],
)
def test_only_layers_on_a_cpu_are_read_by_this(device, fast, monkeypatch):
    variable = SimpleNamespace(value=SimpleNamespace(device=device))
    assert on_cpu(variable) == fast
    # Elsewhere `read` calls Keras's own layer and makes no sums.
    monkeypatch.setattr(fast_batch_norm, "on_cpu", lambda variable: fast)
    layer, x = make(), images((4, 3, 3))
    call = read(layer, layer.call, x)
    assert (call.sums is not None) == fast
    if not fast:
        np.testing.assert_array_equal(call.outputs, layer.call(x))
