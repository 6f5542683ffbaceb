"""A student that was trained already is told from a new one."""

import itertools
import warnings

import keras
import numpy as np
import pytest
from inversions import NORMALIZED
from tiny import CLASSES
from tiny import SHAPE
from tiny import learned_teacher

from tf_deepinversion import load_pretrained
from tf_deepinversion.callbacks.refresh_pool import RefreshPool
from tf_deepinversion.distillation._distill import distill
from tf_deepinversion.distillation._distillation import Distillation
from tf_deepinversion.distillation.student_check import agrees_already
from tf_deepinversion.distillation.student_check import is_untouched
from tf_deepinversion.distillation.student_check import likeness
from tf_deepinversion.distillation.student_check import smooth_images
from tf_deepinversion.inversion.given_images import GivenImages
from tf_deepinversion.models import ResNet14

RANDOM = np.random.default_rng(0)


def standardized(x):
    x = (x - x.mean(0)) / x.std(0)
    return x - x.mean(1, keepdims=True)


def test_likeness_counts_deviations_over_all_orders_of_the_classes():
    teacher, student = RANDOM.normal(size=(2, 30, 5))
    student += teacher
    t, s = standardized(teacher), standardized(student)
    traces = [
        np.sum(t * s[:, list(order)])
        for order in itertools.permutations(range(5))
    ]
    z, correlation = likeness(teacher, student)
    assert np.mean(traces) == pytest.approx(0, abs=1e-9)
    # The exact variance over all orders has 1 / (classes - 1).
    assert z == pytest.approx(np.sum(t * s) / np.std(traces))
    cosine = np.sum(t * s) / np.sqrt(np.sum(t * t) * np.sum(s * s))
    assert correlation == pytest.approx(cosine)
    assert z > 2 and likeness(teacher, 0 * student) == (0, 0)


def test_what_is_scaled_shifted_or_in_another_order():
    logits = RANDOM.normal(size=(200, 10))
    again = 5 * logits + RANDOM.normal(size=10)
    z, correlation = likeness(logits, again)
    assert z > 8 and correlation == pytest.approx(1)
    assert likeness(logits, np.roll(again, 1, axis=1))[0] < 3


@pytest.mark.parametrize("classes", [29, 31, 300])
def test_likeness_is_the_same_of_more_classes_than_images(classes):
    teacher, student = RANDOM.normal(size=(2, 30, classes))
    student += teacher
    t, s = standardized(teacher), standardized(student)
    size = np.linalg.norm(np.einsum("na,nb->ab", t, s))
    z, correlation = likeness(teacher, student)
    assert z == pytest.approx(np.sum(t * s) * np.sqrt(classes - 1) / size)
    cosine = np.sum(t * s) / np.sqrt(np.sum(t * t) * np.sum(s * s))
    assert correlation == pytest.approx(cosine)
    assert likeness(teacher, 0 * student) == (0, 0)


def test_likeness_takes_no_matrix_of_classes():
    logits = RANDOM.normal(size=(4, 1_000_000))  # its square has 8 TB
    z, correlation = likeness(logits, 2 * logits)
    assert correlation == pytest.approx(1) and z > 3


def small(batch_norm, seed):
    keras.utils.set_random_seed(seed)
    layers = [
        keras.layers.Conv2D(8, 3, strides=2, activation="relu"),
        *([keras.layers.BatchNormalization()] if batch_norm else []),
        keras.layers.Flatten(),
        keras.layers.Dense(10),
    ]
    return keras.Sequential([keras.Input((28, 28, 1)), *layers])


def pair(teacher, student):
    from tf_deepinversion import Preprocessing

    return Distillation(teacher, student, Preprocessing.of(teacher))


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2))]
)
def test_what_was_trained_apart_agrees_and_a_new_head_does_not(seed):
    teacher = load_pretrained("fashion_mnist_resnet20")
    other = load_pretrained("fashion_mnist_vgg11")
    assert agrees_already(pair(teacher, other))
    # Its weights under a new head: touched, but it knows no class yet. (The
    # head is not Keras's own, which may be what it was trained from.)
    head = other.layers[-1]
    random = np.random.default_rng(seed)
    head.kernel.assign(random.uniform(-0.1, 0.1, head.kernel.shape))
    head.bias.assign(np.zeros(10))
    assert not is_untouched(other)
    assert not agrees_already(pair(teacher, other))


@pytest.mark.parametrize(
    "batch_norm", [True, pytest.param(False, marks=pytest.mark.slow)]
)
def test_a_new_student_is_untouched_until_a_step(batch_norm):
    student = small(batch_norm, 0)
    assert is_untouched(student)
    assert not agrees_already(
        pair(load_pretrained("fashion_mnist_resnet20"), student)
    )
    student.compile("sgd", loss="mse")
    student.fit(RANDOM.normal(size=(4, 28, 28, 1)), np.ones((4, 10)), verbose=0)
    assert not is_untouched(student)


@pytest.mark.parametrize(
    ("seed", "batch_norm"),
    [
        (2, True),
        pytest.param(0, False, marks=pytest.mark.slow),
        pytest.param(0, True, marks=pytest.mark.slow),
        pytest.param(1, False, marks=pytest.mark.slow),
        pytest.param(1, True, marks=pytest.mark.slow),
        pytest.param(2, False, marks=pytest.mark.slow),
    ],
)
def test_by_its_answers_alone_a_new_student_is_at_chance(batch_norm, seed):
    """As one with initial biases of its own would be seen."""
    model = pair(
        load_pretrained("fashion_mnist_resnet20"), small(batch_norm, seed)
    )
    logits = model.answers(smooth_images((28, 28, 1)))
    assert abs(likeness(*logits)[0]) < 3


def test_nothing_to_tell_by_is_not_untouched():
    bare = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(3, use_bias=False)]
    )
    assert not is_untouched(bare)


def distil(teacher, student, folder=None, stop=None):
    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == stop:
                raise KeyboardInterrupt

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            distill(
                teacher,
                student,
                GivenImages(SHAPE, CLASSES),
                rounds=2,
                steps_per_round=1,
                batch_size=4,
                refresh=RefreshPool(6, when="every_round"),
                folder=folder,
                callbacks=[Stop()],
                verbose=0,
                preprocessing=NORMALIZED,
                student_preprocessing=NORMALIZED,
            )
        except KeyboardInterrupt:
            pass
    return [w for w in caught if "be trained already" in str(w.message)]


def new_student():
    keras.utils.set_random_seed(1)
    return ResNet14(SHAPE, CLASSES, width=2)


def test_distill_warns_of_a_trained_student():
    teacher = learned_teacher()
    student = keras.models.clone_model(teacher)
    student.set_weights(teacher.get_weights())
    (warning,) = distil(teacher, student)
    assert warning.category is UserWarning
    assert warning.filename == __file__
    assert "same `folder`" in str(warning.message)


@pytest.mark.slow
def test_distill_warns_of_no_new_student_and_of_no_resumed_run(tmp_path):
    teacher = learned_teacher()
    assert not distil(teacher, new_student(), tmp_path, stop=1)
    assert (tmp_path / "state.npz").exists()
    assert not distil(teacher, new_student(), tmp_path)


@pytest.mark.slow
def test_distill_looks_before_it_loads_a_state(monkeypatch, tmp_path):
    """Also where all students are asked, and the state is the teacher's."""
    module = "tf_deepinversion.distillation.student_check.is_untouched"
    monkeypatch.setattr(module, lambda model: False)
    teacher = learned_teacher()
    student = keras.models.clone_model(teacher)
    weights = student.get_weights()
    assert not distil(teacher, student, tmp_path, stop=1)
    state = tmp_path / "state.npz"
    with np.load(state) as file:
        saved = dict(file)
    for i, weight in enumerate(teacher.get_weights()):
        assert saved[f"variable_{i}"].shape == weight.shape
        saved[f"variable_{i}"] = weight
    np.savez(state, **saved)
    student.set_weights(weights)
    assert not distil(teacher, student, tmp_path)
