"""What a student learns of an image: logits and class maps, against NumPy."""

import keras
import numpy as np
import pytest
from inversions import NORMALIZED
from keras import layers
from tiny import SHAPE
from tiny import tiny_teacher
from tiny import with_head

import tf_deepinversion as di
from tf_deepinversion.distillation.answers import averaged
from tf_deepinversion.distillation.answers import common_grid
from tf_deepinversion.networks.classifier import Classifier

PIXELS = np.random.default_rng(0).integers(0, 256, (6, *SHAPE), "uint8")
Z = NORMALIZED.normalize(PIXELS)


def maps_of(model):
    """The head at each place, by the inputs of the pooling: float64."""
    pooling = next(
        x for x in model.layers if isinstance(x, layers.GlobalAveragePooling2D)
    )
    places = keras.Model(model.inputs, pooling.input)(Z, training=False)
    dense = next(x for x in model.layers if isinstance(x, layers.Dense))
    kernel, bias = (np.float64(w) for w in dense.get_weights())
    return np.float64(places) @ kernel + bias


def softened_kl(target, logits, temperature):
    def log_softmax(x):
        x = x / temperature - (x / temperature).max(-1, keepdims=True)
        return x - np.log(np.exp(x).sum(-1, keepdims=True))

    p, q = log_softmax(target), log_softmax(logits)
    return temperature**2 * (np.exp(p) * (p - q)).sum(-1)


def read(model):
    classifier = Classifier(model)
    with classifier.open():
        return classifier, classifier.read(Z)


@pytest.mark.parametrize("activation", [None, "softmax"])
def test_the_mean_of_class_maps_is_the_logits(activation):
    model = tiny_teacher(activation=activation)
    classifier, reading = read(model)
    assert classifier.places == (4, 4)
    np.testing.assert_allclose(reading.class_maps, maps_of(model), atol=1e-5)
    np.testing.assert_allclose(
        reading.logits, maps_of(model).mean((1, 2)), atol=1e-5
    )


def test_class_maps_of_a_single_output_are_of_two_classes():
    model = with_head(layers.Dense(1, activation="sigmoid"))
    _, reading = read(model)
    maps = maps_of(model)
    expected = np.concatenate([0 * maps, maps], -1)
    np.testing.assert_allclose(reading.class_maps, expected, atol=1e-6)


def test_a_dropout_before_the_head_hides_no_class_map():
    model = with_head(layers.Dropout(0.5), layers.Dense(3))
    _, reading = read(model)
    np.testing.assert_allclose(reading.class_maps, maps_of(model), atol=1e-6)


@pytest.mark.parametrize("ending", [None, "softmax"])
def test_a_convolution_may_be_the_head(ending):
    x = inputs = keras.Input(SHAPE)
    x = maps = layers.Conv2D(3, 3)(x)
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, layers.Activation(ending or "linear")(x))
    classifier, reading = read(model)
    expected = keras.Model(inputs, maps)(Z)
    assert classifier.places == (6, 6) and classifier.features is None
    np.testing.assert_allclose(reading.class_maps, expected, atol=1e-6)
    np.testing.assert_allclose(
        reading.logits, np.mean(expected, (1, 2)), atol=1e-6
    )


def test_channels_that_come_first_have_no_class_maps():
    x = inputs = keras.Input(SHAPE)
    x = layers.Permute((3, 1, 2))(layers.Conv2D(6, 3)(x))  # 6 of 6x6
    x = layers.GlobalAveragePooling2D(data_format="channels_first")(x)
    model = keras.Model(inputs, layers.Dense(3)(x))
    classifier, reading = read(model)
    assert reading.class_maps is None and classifier.places is None


def test_a_head_may_compute_in_another_precision():
    model = with_head(layers.Dense(3, dtype="float64"))
    twin = di.Distillation(model, model, NORMALIZED, class_maps=1.0)
    twin.compile(optimizer="sgd")
    found = twin.evaluate(PIXELS, verbose=0, return_dict=True)
    assert twin.class_map_grid == (6, 6) and found["loss"] == 0


@pytest.mark.parametrize(
    "head",
    [
        (layers.Dense(4, activation="relu"), layers.Dense(3)),
        (layers.LayerNormalization(), layers.Dense(3)),
    ],
)
def test_a_head_of_something_else_than_a_mean_has_no_class_maps(head):
    classifier, reading = read(with_head(*head))
    assert reading.class_maps is None and classifier.places is None


def two_networks():
    """A teacher with maps of 4x4, and a student with maps of 6x6."""
    student = with_head(layers.Dense(3))
    return tiny_teacher(), student


@pytest.mark.parametrize("steps_per_teacher_call", [1, 2])
def test_the_loss_is_the_divergence_and_the_squared_distance_of_maps(
    steps_per_teacher_call,
):
    teacher, student = two_networks()  # 4x4 and 6x6: both become 2x2
    model = di.Distillation(
        teacher,
        student,
        NORMALIZED,
        temperature=3.0,
        class_maps=0.5,
        transforms=[],
        steps_per_teacher_call=steps_per_teacher_call,
    )
    assert model.class_map_grid == (2, 2)
    t, s = maps_of(teacher), maps_of(student)
    gap = t.reshape(6, 2, 2, 2, 2, 3).mean((2, 4)) - s.reshape(
        6, 2, 3, 2, 3, 3
    ).mean((2, 4))
    expected = softened_kl(t.mean((1, 2)), s.mean((1, 2)), 3.0).mean()
    expected += 0.5 * (gap**2).mean()
    model.compile(optimizer="sgd")
    found = model.evaluate(PIXELS, batch_size=4, verbose=0, return_dict=True)
    assert found["loss"] == pytest.approx(expected, rel=1e-4)
    # In training, the student's BatchNormalization follows the batch.
    for layer in student.layers:
        layer.trainable = not isinstance(layer, layers.BatchNormalization)
    model.compile(optimizer=keras.optimizers.SGD(0.0))
    logs = model.train_on_batch(PIXELS, return_dict=True)
    if steps_per_teacher_call == 1:
        assert logs["loss"] == pytest.approx(expected, rel=1e-4)
    else:  # the step drew some of these images
        rows = model.teacher_cache.rows(0, 6)
        np.testing.assert_array_equal(rows["images"], PIXELS)
        grid = t.reshape(6, 2, 2, 2, 2, 3).mean((2, 4)).reshape(6, -1)
        np.testing.assert_allclose(
            rows["answers"],
            np.concatenate([t.mean((1, 2)), grid], -1),
            atol=1e-4,
        )


def test_no_class_maps_where_they_say_nothing():
    teacher = tiny_teacher()
    flat = with_head(layers.LayerNormalization(), layers.Dense(3))
    for student, weight in ((flat, 1.0), (tiny_teacher(1), 0.0)):
        model = di.Distillation(teacher, student, NORMALIZED, class_maps=weight)
        assert model.class_map_grid is None
    with pytest.raises(ValueError, match="class_maps=-1"):
        di.Distillation(teacher, tiny_teacher(1), NORMALIZED, class_maps=-1)


@pytest.mark.slow
def test_another_weight_is_another_run(tmp_path):
    def run(**kwargs):
        return di.distill(
            tiny_teacher(),
            tiny_teacher(1),
            (PIXELS, np.arange(6) % 3),
            rounds=1,
            steps_per_round=2,
            batch_size=4,
            preprocessing=NORMALIZED,
            folder=tmp_path,
            verbose=0,
            **kwargs,
        )

    run()
    run(class_maps=1.0)  # the default
    with pytest.raises(ValueError, match="class_maps"):
        run(class_maps=0.5)


def test_maps_are_averaged_over_neighbors():
    maps = np.random.default_rng(0).normal(size=(2, 6, 4, 3))
    found = averaged(keras.ops.convert_to_tensor(maps), (3, 2))
    for i in range(3):
        for j in range(2):
            part = maps[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
            np.testing.assert_allclose(found[:, i, j], part.mean((1, 2)))


@pytest.mark.parametrize(
    ("first", "second", "most", "grid"),
    [
        ((8, 8), (4, 4), 16, (4, 4)),
        ((8, 8), (4, 4), 15, (2, 4)),
        ((8, 8), (4, 4), 7, (2, 2)),
        ((8, 8), (4, 4), 1, None),
        ((7, 7), (14, 7), 48, (1, 7)),
        ((4, 1), (4, 1), 3, (2, 1)),
        ((6, 4), (6, 4), 100, (6, 4)),
        ((6, 4), (6, 4), 23, (3, 4)),
        ((7, 7), (8, 8), 100, None),
        ((1, 1), (1, 1), 100, None),
    ],
)
def test_the_finest_grid_that_divides_both_and_is_not_too_fine(
    first, second, most, grid
):
    assert common_grid(first, second, most) == grid
    assert common_grid(second, first, most) == grid
