"""A bias in the scale of its own operation, against the float network."""

import keras
import numpy as np
import pytest
from keras import layers

import tf_deepinversion as di
from tf_deepinversion.quantization import LiteRT
from tf_deepinversion.quantization.file.model_file import products
from tf_deepinversion.quantization.file.model_file import read_model
from tf_deepinversion.quantization.file.model_file import scale_of
from tf_deepinversion.quantization.file.own_biases import with_own_biases

FED = di.Preprocessing(127.5, 60.0, "normalized")
IMAGES = np.random.default_rng(0).integers(0, 256, (32, 8, 8, 3), "uint8")


def conv():
    return layers.Conv2D(
        6,
        3,
        padding="same",
        activation="relu",
        bias_initializer=keras.initializers.Constant(0.5),
    )


def network(kind):
    """One layer that is called twice, or two layers of equal weights."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3))
    first, second = conv(), conv()
    x = first(layers.Conv2D(6, 3, padding="same")(inputs))
    x = (first if kind == "called twice" else second)(x)
    if kind == "equal":
        second.set_weights(first.get_weights())
    x = layers.Dense(3)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, x)


@pytest.mark.parametrize("kind", ["called twice", "equal", "apart"])
@pytest.mark.parametrize(
    ("scheme", "most"), [("int8", 0.03), ("int16x8", 0.02)]
)
def test_a_shared_bias_is_read_in_the_scale_of_each(kind, scheme, most):
    model = network(kind)
    content = di.quantize(model, IMAGES, FED, scheme=scheme, verbose=0)
    logits = np.asarray(model(FED.fed(IMAGES.astype("float32"))))
    error = np.linalg.norm(LiteRT(content)(IMAGES) - logits)
    assert error / np.linalg.norm(logits) < most
    for graph, operation in products(read_model(content)):
        if operation.inputs[2] < 0:  # no bias
            continue
        features, kernel, bias = map(
            scale_of, (graph.tensors[i] for i in operation.inputs)
        )
        np.testing.assert_allclose(bias, features * kernel, rtol=1e-3)
    assert with_own_biases(content) == content
