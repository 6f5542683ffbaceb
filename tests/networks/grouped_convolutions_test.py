"""Grouped convolutions, against NumPy and Keras."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tf_deepinversion.networks import Classifier
from tf_deepinversion.networks import grouped_convolutions

# Groups, inputs, outputs, and further arguments of the layer.
CASES = [
    (6, 6, 6, {}),  # one input and one output a group, as in ConvNeXt
    (6, 6, 12, {"strides": 2}),
    (6, 6, 6, {"dilation_rate": 2}),
    (6, 6, 6, {"strides": (2, 1)}),
    (2, 6, 4, {}),
    (3, 6, 9, {"strides": (1, 2), "padding": "same"}),
]


def make(groups, channels, filters, kwargs, dtype="float64"):
    layer = layers.Conv2D(filters, 3, groups=groups, dtype=dtype, **kwargs)
    layer.build((None, 7, 8, channels))
    layer.bias.assign(np.arange(filters) / 10)
    return layer


def convolved(layer, x):
    """Each output channel from the inputs of its group, in NumPy."""
    kernel = layer.kernel.numpy()
    height, width, own, filters = kernel.shape
    (down, right), each = layer.strides, filters // layer.groups
    tall, wide = layer.dilation_rate
    if layer.padding == "same":
        sizes = zip(x.shape[1:3], (height, width), layer.strides, strict=True)
        more = [max(0, (-(-n // s) - 1) * s + k - n) for n, k, s in sizes]
        pads = [(n // 2, n - n // 2) for n in more]
        x = np.pad(x, [(0, 0), *pads, (0, 0)])
    rows = range(0, x.shape[1] - tall * (height - 1), down)
    columns = range(0, x.shape[2] - wide * (width - 1), right)
    y = np.zeros((len(x), len(rows), len(columns), filters))
    for i, top in enumerate(rows):
        for j, left in enumerate(columns):
            seen = x[:, top:, left:][:, ::tall, ::wide][:, :height, :width]
            for o in range(filters):
                inputs = seen[..., o // each * own :][..., :own]
                y[:, i, j, o] = np.sum(inputs * kernel[..., o], (1, 2, 3))
    return y + layer.bias.numpy()


@pytest.mark.parametrize("graph", [True, False], ids=["graph", "eager"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_outputs_are_those_of_numpy(case, graph):
    keras.utils.set_random_seed(0)
    layer = make(*case)
    x = np.random.default_rng(0).normal(size=(2, 7, 8, case[1]))
    model = keras.Sequential([keras.Input(x.shape[1:], dtype="float64"), layer])
    with grouped_convolutions.faster(model):
        call = tf.function(model) if graph else model
        found = call(tf.constant(x))
    np.testing.assert_allclose(found, convolved(layer, x), rtol=1e-12)
    assert "convolution_op" not in vars(layer)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_gradients_are_those_of_keras(case, dtype):
    keras.utils.set_random_seed(0)
    layer = make(*case, dtype=dtype)
    x = np.random.default_rng(0).normal(size=(2, 7, 8, case[1]))
    model = keras.Sequential([keras.Input(x.shape[1:]), layer])

    @tf.function
    def gradients(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = tf.reduce_sum(tf.sin(tf.cast(model(x), "float32")))
        sources = [x, layer.kernel.value, layer.bias.value]
        return tape.gradient(value, sources)

    x = tf.constant(x, "float32")
    theirs = gradients.get_concrete_function(x)(x)
    assert "XlaMustCompile" in str(
        gradients.get_concrete_function(x).graph.as_graph_def()
    )
    with grouped_convolutions.faster(model):
        other = tf.function(gradients.python_function)
        ours = other(x)
    rtol = 1e-4 if dtype == "float32" else 0.05
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol, rtol * np.abs(b).max())


def test_a_teacher_is_read_without_xla():
    """On a CPU, XLA takes a hundred times as long for a grouped convolution."""
    teacher = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(6, 3),
            layers.Conv2D(6, 3, groups=6),
            layers.Conv2D(6, 1, groups=2),
            layers.GlobalAveragePooling2D(),
            layers.Dense(4),
        ]
    )
    classifier = Classifier(teacher)

    def operations(function):
        graph = tf.function(function).get_concrete_function(
            tf.TensorSpec((2, 8, 8, 3))
        )
        return str(graph.graph.as_graph_def())

    assert "XlaMustCompile" in operations(teacher)
    with classifier.open():
        found = operations(lambda x: classifier.read(x).logits)
    assert "XlaMustCompile" not in found
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    with classifier.open():
        logits = classifier.read(tf.constant(x)).logits
    np.testing.assert_allclose(logits, teacher(x), rtol=1e-5, atol=1e-6)


def test_a_layer_that_nothing_calls_and_one_with_lora_are_left_or_read():
    class Auxiliary(keras.Model):
        def __init__(self):
            super().__init__()
            self.own = layers.Conv2D(4, 1, groups=2)
            self.unused = layers.Conv2D(4, 1, groups=2)
            self.pool = layers.GlobalAveragePooling2D()
            self.head = layers.Dense(3)

        def call(self, x):
            return self.head(self.pool(self.own(x)))

    model = Auxiliary()
    x = np.random.default_rng(0).normal(size=(2, 3, 3, 4)).astype("float32")
    expected = model(x)
    for adapt in (lambda: None, lambda: model.own.enable_lora(2)):
        adapt()
        with grouped_convolutions.faster(model):
            assert "convolution_op" not in vars(model.unused)
            assert "convolution_op" in vars(model.own)
            np.testing.assert_allclose(model(x), expected, rtol=1e-5)


def test_other_layers_keep_their_own_function():
    class Own(layers.Conv2D):
        def convolution_op(self, inputs, kernel):
            return 2 * super().convolution_op(inputs, kernel)

    plain, own = layers.Conv2D(4, 1), Own(4, 1, groups=2)
    model = keras.Sequential([keras.Input((2, 2, 4)), plain, own])
    with grouped_convolutions.faster(model):
        assert "convolution_op" not in vars(plain)
        assert "convolution_op" not in vars(own)
