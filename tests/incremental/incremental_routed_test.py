"""Routed networks against the two models asked one after the other."""

import keras
import numpy as np
import pytest
from inversions import NORMALIZED
from tiny import SHAPE
from tiny import tiny_teacher

from tf_deepinversion import Preprocessing
from tf_deepinversion.incremental import routed
from tf_deepinversion.metrics import accuracy

IMAGES = np.random.default_rng(0).integers(0, 256, (40, *SHAPE), "uint8")


def network(classes, seed, activation=None):
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input(SHAPE),
            keras.layers.Rescaling(1 / 60, -2, name="normalize"),
            keras.layers.Flatten(),
            keras.layers.Dense(classes, activation=activation),
        ]
    )


def expected_classes(logits, scores, tasks):
    starts = np.cumsum([0, *tasks])
    found = []
    for own, of_router in zip(logits, np.asarray(scores), strict=True):
        task = np.searchsorted(starts, of_router.argmax(), "right") - 1
        part = own[starts[task] : starts[task + 1]]
        found.append(starts[task] + part.argmax())
    return np.array(found)


def test_networks_of_one_name_are_routed():
    own, router = network(5, 1), network(5, 2)
    own.name = router.name = "classifier"
    outputs = routed(own, router, [3, 2])(IMAGES).numpy()
    expected = expected_classes(own(IMAGES).numpy(), router(IMAGES), [3, 2])
    np.testing.assert_array_equal(outputs.argmax(-1), expected)
    with pytest.raises(ValueError, match=r"network alone.*tasks=\[5\]"):
        routed(own, router, [5])


@pytest.mark.parametrize("activation", [None, "softmax"])
def test_the_router_chooses_the_task_and_the_network_the_class(
    activation, tmp_path
):
    own, router = network(6, 1, activation), network(6, 2)
    model = routed(own, router, [2, 1, 3])
    outputs = model(IMAGES).numpy()
    expected = expected_classes(own(IMAGES).numpy(), router(IMAGES), [2, 1, 3])
    assert len(set(expected)) == 6
    np.testing.assert_array_equal(outputs.argmax(-1), expected)
    # Of the chosen task these are probabilities, of others nothing is left.
    np.testing.assert_allclose(np.exp(outputs).sum(-1), 1, atol=1e-5)
    chosen = outputs > -500
    np.testing.assert_array_equal(
        chosen.sum(-1), np.array([2, 2, 1, 3, 3, 3])[expected]
    )
    model.save(tmp_path / "routed.keras")
    loaded = keras.models.load_model(tmp_path / "routed.keras")
    np.testing.assert_allclose(loaded(IMAGES), outputs, atol=1e-5)
    pixels = Preprocessing(127.5, 60)
    assert accuracy(model, IMAGES, expected, pixels) == 1


def test_a_class_that_the_network_is_sure_to_be_none_of_is_told_apart():
    """A softmax gives 0 to what is 200 below the largest logit."""
    own, plain = (network(4, 1, kind) for kind in ("softmax", None))
    kernel, bias = own.layers[-1].get_weights()
    own.layers[-1].set_weights([kernel, bias + [0, 0, 200, 0]])
    router = network(4, 2)
    router.layers[-1].set_weights([0 * kernel, np.eye(4)[0]])
    assert (own(IMAGES).numpy()[:, :2] == 0).all()
    found = routed(own, router, [2, 2])(IMAGES).numpy()
    logits = plain(IMAGES).numpy()[:, :2]
    assert len(set(logits.argmax(-1))) == 2
    np.testing.assert_array_equal(found.argmax(-1), logits.argmax(-1))


def test_the_network_is_fed_what_it_expects():
    own, router = tiny_teacher(), network(3, 2)
    outputs = routed(own, router, [1, 2], NORMALIZED)(IMAGES)
    expected = expected_classes(
        own(NORMALIZED.fed(IMAGES)).numpy(), router(IMAGES), [1, 2]
    )
    np.testing.assert_array_equal(np.argmax(outputs, -1), expected)


def test_refusals():
    with pytest.raises(
        ValueError, match=r"classes \[6, 5\] and tasks=\[3, 3\]"
    ):
        routed(network(6, 0), network(5, 0), [3, 3])
    with pytest.raises(ValueError, match=r"Received: tasks\[1\]=0"):
        routed(network(6, 0), network(6, 0), [6, 0])
