"""Ordinary training of a first network."""

import keras
import numpy as np
import pytest
from tiny import SHAPE
from tiny import with_head

from tf_deepinversion.incremental import train

LABELS = np.arange(16) % 2
# The second class is bright.
IMAGES = np.full((16, *SHAPE), 30, "uint8")
IMAGES[LABELS == 1] = 220


def test_one_output_learns_the_logit_of_the_second_of_two_classes():
    network = with_head(keras.layers.Dense(1))
    learned = train(
        network,
        IMAGES,
        LABELS,
        epochs=20,
        batch_size=16,
        transforms=[],
        verbose=0,
    )
    fed = IMAGES.astype("float32")
    logits = np.ravel(learned.network(fed, training=True))
    assert ((logits > 0) == LABELS).all()
    # The mean of log(1 + exp(-x)) for the second class, log(1 + exp(x)) for
    # the first.
    signs = np.where(LABELS == 1, -1, 1)
    loss = np.log1p(np.exp(signs * logits)).mean()
    assert learned.history["loss"][-1] == pytest.approx(loss, rel=0.2)
    assert learned.history["accuracy"][-1] == 1
    with pytest.raises(ValueError, match=r"in \[0, 2\)"):
        train(network, IMAGES, LABELS + 1, epochs=1)


@pytest.mark.parametrize("last", ["sigmoid", "softmax", "Softmax", "nested"])
def test_probabilities_learn_as_their_logits_do(last):
    """The same steps from the same weights."""
    width = 1 if last == "sigmoid" else 2

    def trained(activation, *ends):
        keras.utils.set_random_seed(3)
        network = with_head(keras.layers.Dense(width, activation), *ends)
        settings = {"epochs": 4, "batch_size": 16, "transforms": []}
        return train(network, IMAGES, LABELS, verbose=0, **settings)

    if last == "Softmax":
        found = trained(None, keras.layers.Softmax())
    elif last == "nested":
        found = trained(None, keras.Sequential([keras.layers.Softmax()]))
    else:
        found = trained(last)
    expected = trained(None)
    pairs = zip(found.network.weights, expected.network.weights, strict=True)
    for one, other in pairs:
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    for name, values in expected.history.items():
        np.testing.assert_allclose(found.history[name], values, rtol=1e-4)


@pytest.mark.parametrize("end", ["gated", "logarithms"])
def test_what_follows_a_sigmoid_or_a_softmax_gives_logits(end):
    x = keras.Input(SHAPE)
    z = keras.layers.Flatten()(keras.layers.Rescaling(1 / 64, -2)(x))
    if end == "gated":
        gate = keras.layers.Dense(1, activation="sigmoid")
        y = keras.layers.Dense(2)(z) * gate(z)
    else:
        y = keras.layers.Dense(2, activation="softmax")(z)
        y = keras.ops.log(y + 1e-7)
    learned = train(
        keras.Model(x, y),
        IMAGES,
        LABELS,
        epochs=12,
        batch_size=16,
        learning_rate=0.01,
        transforms=[],
        verbose=0,
    )
    logits = learned.network(IMAGES.astype("float32")).numpy()
    assert (logits.argmax(-1) == LABELS).all()
    # Of logits taken for probabilities it stays log 2 or more.
    assert learned.history["loss"][-1] < 0.5
