"""The loop: what it optimizes, what it leaves alone, what it refuses."""

import gc
import warnings
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf
from eager import as_plain_python
from inversions import LABELS
from inversions import NORMALIZED
from inversions import TERMS
from inversions import in_float64
from inversions import inversion
from inversions import plain_loss_and_gradient
from inversions import two_replicas
from tiny import CLASSES
from tiny import SHAPE
from tiny import learned_teacher
from tiny import tiny_teacher

from tf_deepinversion import L2
from tf_deepinversion import RECIPES
from tf_deepinversion import Competition
from tf_deepinversion import CrossEntropy
from tf_deepinversion import DeepInversion
from tf_deepinversion import FeatureStatistics
from tf_deepinversion import HorizontalFlip
from tf_deepinversion import Jitter
from tf_deepinversion import MixUp
from tf_deepinversion import Preprocessing
from tf_deepinversion import Tone
from tf_deepinversion import TotalVariation
from tf_deepinversion import balanced_labels
from tf_deepinversion.inversion import Noise
from tf_deepinversion.inversion.step import InversionStep


def start(model, labels=LABELS):
    """Makes the variables without moving the images; returns z."""
    with as_plain_python():
        model.fit(labels, steps=1, verbose=0)
    z = model.start(0)
    model.step.reset(z)
    return z


def first_draws(model):
    """The random numbers of the first step."""
    return model.step.draws(tf.constant([0, 0]), tf.constant(0))


@pytest.mark.parametrize(
    ("jit", "with_student"),
    [
        (False, False),
        (False, True),
        (True, False),
        pytest.param(True, True, marks=pytest.mark.slow),
    ],
)
def test_loss_and_gradient_equal_a_plain_reading(jit, with_student):
    teacher = tiny_teacher()
    student = tiny_teacher(1) if with_student else None
    model = inversion(teacher, student=student, transforms=[])
    model.compile(
        loss=TERMS + ([Competition(2.0)] if with_student else []),
        jit_compile=jit,
    )
    z = start(model)
    with model.networks.open():
        values, gradient = tf.function(model.step.gradient, autograph=False)(
            tf.constant(z), tf.constant(LABELS), first_draws(model)
        )
    loss, expected = plain_loss_and_gradient(teacher, z, LABELS, student)
    np.testing.assert_allclose(tf.reduce_sum(values), loss, rtol=1e-5)
    np.testing.assert_allclose(
        gradient, expected, atol=1e-5 * np.abs(expected).max()
    )


@pytest.mark.parametrize(
    "jit", [pytest.param(False, marks=pytest.mark.slow), True]
)
def test_feature_dropout_scales_what_feeds_the_head(jit):
    teacher = tiny_teacher()
    model = inversion(teacher, transforms=[])
    model.compile(
        loss=[CrossEntropy(feature_dropout=0.25)],
        jit_compile=jit,
    )
    z = start(model)
    draws = [
        model.step.draws(tf.constant([0, 0]), tf.constant(step))
        for step in range(200)
    ]
    masks = [
        (drawn.terms[0].numpy() < 0.75) / np.float32(0.75) for drawn in draws
    ]
    assert set(np.unique(masks)) == {0.0, np.float32(1 / 0.75)}
    assert np.mean(masks) == pytest.approx(1.0, abs=0.05)
    assert len({mask.tobytes() for mask in masks}) > 190
    with model.networks.open():
        values, gradient = tf.function(model.step.gradient, autograph=False)(
            tf.constant(z), tf.constant(LABELS), draws[0]
        )
    body = keras.Model(teacher.inputs, teacher.layers[-1].input)
    kernel, bias = teacher.layers[-1].weights
    x = tf.constant(z)
    with tf.GradientTape() as tape:
        tape.watch(x)
        logits = (body(x, training=False) * masks[0]) @ kernel + bias
        loss = tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(LABELS, logits)
        )
    np.testing.assert_allclose(values, [loss], rtol=1e-5)
    expected = tape.gradient(loss, x).numpy()
    np.testing.assert_allclose(
        gradient, expected, atol=1e-5 * np.abs(expected).max()
    )


def test_gradient_is_the_finite_difference_of_the_loss_in_float64():
    with in_float64():
        teacher = tiny_teacher(dtype="float64")
        model = inversion(teacher, dtype="float64", transforms=[Jitter(2)])
        model.compile(loss=TERMS)
        z = start(model)
        assert z.dtype == np.float64
        shifts = tf.constant([[1, -2], [0, 1], [-1, 0], [2, 2]])
        draws = first_draws(model)._replace(transforms=[shifts])
        labels = tf.constant(LABELS)
        with model.networks.open():

            def loss(z):
                values, _ = model.step.gradient(tf.constant(z), labels, draws)
                return float(tf.reduce_sum(values))

            _, gradient = model.step.gradient(tf.constant(z), labels, draws)
            random = np.random.default_rng(0)
            for _ in range(5):
                direction = random.normal(size=z.shape)
                h = 1e-6
                slope = (loss(z + h * direction) - loss(z - h * direction)) / (
                    2 * h
                )
                np.testing.assert_allclose(
                    np.sum(gradient * direction), slope, rtol=1e-6
                )


def test_images_are_the_only_variable_and_the_teacher_stays_as_it_was():
    teacher = tiny_teacher()
    teacher.get_layer("bn1").trainable = False
    before = [w.copy() for w in teacher.get_weights()]
    flags = [layer.trainable for layer in teacher._flatten_layers()]
    attributes = [set(vars(x)) for x in teacher._flatten_layers()]
    model = inversion(teacher)
    assert model.trainable_variables == []
    model.fit(LABELS, steps=5, verbose=0)
    assert [v.shape for v in model.trainable_variables] == [(4, *SHAPE)]
    assert not any(v is w for v in model.variables for w in teacher.variables)
    for old, new in zip(before, teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert flags == [layer.trainable for layer in teacher._flatten_layers()]
    assert attributes == [set(vars(x)) for x in teacher._flatten_layers()]


def test_teacher_is_restored_when_a_callback_raises(eagerly):
    teacher = tiny_teacher(activation="softmax")

    def fail(batch, logs):
        raise RuntimeError("from a callback")

    with pytest.raises(RuntimeError, match="from a callback"):
        inversion(teacher).fit(
            LABELS,
            steps=2,
            verbose=0,
            callbacks=[keras.callbacks.LambdaCallback(on_train_batch_end=fail)],
        )
    assert "call" not in vars(teacher.get_layer("bn0"))
    assert teacher.layers[-1].activation is keras.activations.softmax


def test_sgd_on_l2_follows_the_closed_form():
    # d ||z|| / dz = z / ||z||: each step shortens z by the learning rate.
    model = inversion(transforms=[])
    model.compile(keras.optimizers.SGD(0.5), [L2(2.0)])
    wide = Preprocessing(127.5, 2.0, "normalized")  # nothing is clipped
    model.preprocessing = wide
    history = model.fit(LABELS, steps=3, verbose=0, steps_per_epoch=1)
    z = model.start(0)
    length = np.linalg.norm(z)
    expected = z * (length - 3 * 2.0 * 0.5) / length
    np.testing.assert_allclose(
        model.trainable_variables[0].numpy(), expected, rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(
        history.history["loss"],
        [2 * (length - k) for k in range(3)],
        rtol=1e-5,
    )


def test_a_rate_that_a_callback_changed_is_that_of_its_run_alone(
    tmp_path, eagerly
):
    model = DeepInversion(tiny_teacher(), NORMALIZED)
    model.compile(keras.optimizers.Adam(0.1))
    halve = keras.callbacks.LearningRateScheduler(lambda _, rate: rate / 2)
    call = {"labels": [0, 1], "steps": 3, "verbose": 0}
    given = {"callbacks": [halve], "checkpoint": tmp_path / "run.npz"}
    model.fit(**call)
    images = model.images
    first = model.fit(**call, **given).history
    model.fit(**call)
    np.testing.assert_array_equal(model.images, images)
    # It is the same call as before, so it goes on from its state.
    assert model.fit(**call, **given).history["loss"] == first["loss"]


def test_a_student_in_float32_competes_beside_a_teacher_in_float64():
    teacher = tiny_teacher(dtype="float64")
    model = DeepInversion(
        teacher, NORMALIZED, student=tiny_teacher(1), recipe="cifar10_paper"
    )
    model.fit([0, 1], steps=1, verbose=0)
    assert np.isfinite(model.images).all()


def test_images_stay_within_the_pixel_range():
    model = inversion(transforms=[])
    model.compile(
        keras.optimizers.SGD(1e4),
        [CrossEntropy()],
    )
    model.fit(LABELS, steps=2, verbose=0)
    z = model.trainable_variables[0].numpy()
    assert z.min() == pytest.approx(-2.55) and z.max() == pytest.approx(2.55)
    assert set(np.unique(model.images)) <= set(range(256))


def test_the_rows_of_two_replicas_are_read_without_compiled_functions():
    with two_replicas().scope():
        model = inversion(tiny_teacher())
        model.compile(loss=TERMS[:1])
    with as_plain_python():
        model.fit(LABELS, steps=1, verbose=0)
        z = model.start(0)
        model.step.reset(z)
        np.testing.assert_array_equal(model.step.result(), z)


@pytest.mark.slow
@pytest.mark.parametrize(
    "jit", [False, pytest.param(True, marks=pytest.mark.slow)]
)
def test_two_replicas_give_the_gradients_of_one_device(jit):
    """Along one trajectory, with the statistics of the global batch."""
    teacher = tiny_teacher()
    terms = [*TERMS[:3], L2(0.1, over="images")]
    one = inversion(teacher, transforms=[Jitter(1)])
    one.compile(loss=terms)
    start(one)
    strategy = two_replicas()
    with strategy.scope():
        two = inversion(teacher, transforms=[Jitter(1)])
        two.compile(
            loss=terms,
            jit_compile=jit,
        )
    start(two)
    labels = tf.constant(LABELS)

    @tf.function(autograph=False)
    def global_gradient(draws):
        def replica(draws):
            r = tf.distribute.get_replica_context().replica_id_in_sync_group
            rows = slice(2 * r, 2 * r + 2)
            return two.step.gradient(
                two.step.images.value,
                labels[rows],
                tf.nest.map_structure(lambda x: x[rows], draws),
            )

        values, gradients = strategy.run(replica, (draws,))
        local = strategy.experimental_local_results
        return local(values)[1], tf.concat(local(gradients), 0)

    with one.networks.open(), two.networks.open():
        for step in range(3):
            shifts = Jitter(1).draw(tf.constant([0, step]), 4)
            draws = first_draws(one)._replace(transforms=[shifts])
            z = one.step.images.numpy()
            two.step.rows.scatter(two.step.images, z)
            values, gradient = one.step.gradient(tf.constant(z), labels, draws)
            values2, gradient2 = global_gradient(draws)
            np.testing.assert_allclose(values2, values, rtol=1e-5)
            scale = np.abs(gradient).max()
            np.testing.assert_allclose(
                gradient2, gradient, rtol=0, atol=1e-5 * scale
            )
            one.step.images.assign(z - 0.5 * gradient)


def test_fit_under_two_replicas_gives_the_images_of_one_device():
    teacher = tiny_teacher()

    def images(strategy):
        with strategy.scope():
            model = inversion(teacher)
            model.compile(keras.optimizers.SGD(0.3), TERMS)
        history = model.fit(LABELS, steps=12, verbose=0, keep="best")
        return model.images.astype(int), history.history["loss"]

    one, loss = images(tf.distribute.get_strategy())
    two, loss2 = images(two_replicas())
    assert np.abs(one - two).max() <= 1
    np.testing.assert_allclose(loss, loss2, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw", "nadam", "ours"])
def test_optimizers_with_a_state_move_every_replica_s_own_images(optimizer):
    """In float64: the first steps of Adam are signs of the gradient."""
    with in_float64():
        teacher = tiny_teacher(dtype="float64")

        def images(strategy):
            with strategy.scope():
                model = inversion(teacher, dtype="float64")
                model.compile(None if optimizer == "ours" else optimizer, TERMS)
            model.fit(LABELS, steps=50, verbose=0, keep="best")
            return [
                model.step.rows.gather(variable)
                for variable in (model.step.images, model.step.best_images)
            ]

        one, two = (
            images(s) for s in (tf.distribute.get_strategy(), two_replicas())
        )
        np.testing.assert_allclose(two, one, rtol=0, atol=1e-6)
        assert np.abs(one[0] - one[1]).max() > 1e-3, "best was last"


@pytest.mark.slow
def test_a_run_under_two_replicas_goes_on_as_if_never_interrupted(tmp_path):
    def images(name, stop=None):
        class Stop(keras.callbacks.Callback):
            def on_epoch_end(self, epoch, logs=None):
                if epoch == stop:
                    raise KeyboardInterrupt

        with two_replicas().scope():
            model = inversion()
        model.fit(
            LABELS,
            steps=6,
            steps_per_epoch=2,
            verbose=0,
            keep="best",
            checkpoint=tmp_path / name,
            callbacks=[Stop()],
        )
        return model.step.state()

    whole = images("whole.npz")
    with pytest.raises(KeyboardInterrupt):
        images("state.npz", stop=1)
    for name, value in images("state.npz").items():
        np.testing.assert_array_equal(value, whole[name])
    assert whole["images"].shape == (4, *SHAPE)


def test_saved_images_come_back_to_the_replicas_that_held_them():
    with two_replicas().scope():
        model = inversion()
    model.fit(LABELS, steps=1, verbose=0)
    store, images = {}, model.images
    model.save_own_variables(store)
    assert store["images"].shape == (4, *SHAPE)
    model.step.rows.scatter(model.step.images, 0 * store["images"])
    model.load_own_variables(store)
    np.testing.assert_array_equal(model.images, images)
    weights = model.get_weights()
    model.step.rows.scatter(model.step.images, 0 * store["images"])
    model.set_weights(weights)
    np.testing.assert_array_equal(model.images, images)


@pytest.mark.parametrize(
    "given",
    [{"clipnorm": 1.0}, {"use_ema": True}, {"global_clipnorm": 0.1}],
)
def test_what_keras_would_do_to_all_replicas_gradients_is_refused(given):
    with two_replicas().scope():
        model = inversion()
        model.compile(keras.optimizers.Adam(0.1, **given))
    with pytest.raises(ValueError, match=f"several replicas.*{list(given)[0]}"):
        model.fit(LABELS, steps=1)


@pytest.mark.parametrize(
    ("jit", "replicas"),
    [
        (False, 1),
        pytest.param(True, 1, marks=pytest.mark.slow),
        pytest.param(False, 2, marks=pytest.mark.slow),
        pytest.param(True, 2, marks=pytest.mark.slow),
    ],
)
def test_micro_batches_give_the_gradients_of_the_whole(jit, replicas):
    """In float64, with random transforms and dropout, after some steps."""
    with in_float64():
        teacher = tiny_teacher(dtype="float64")
        strategy = tf.distribute.get_strategy()
        if replicas == 2:
            strategy = two_replicas()

        def run(micro_batch):
            with strategy.scope():
                model = inversion(teacher, dtype="float64")
                model.compile(
                    keras.optimizers.SGD(0.3),
                    TERMS,
                    jit_compile=jit,
                    micro_batch=micro_batch,
                )
            loss = model.fit([0, 1, 2, 0, 1, 2, 0, 1], steps=5, verbose=0)
            images = model.step.rows.gather(model.step.images)
            return images, loss.history["loss"], model.step.pieces

        whole, loss, pieces = run(None)
        assert pieces == 1
        for micro_batch in (1, 2):
            found, loss2, pieces = run(micro_batch)
            assert pieces == 8 / replicas / micro_batch
            np.testing.assert_allclose(found, whole, rtol=0, atol=1e-11)
            np.testing.assert_allclose(loss2, loss, rtol=1e-12)


def test_a_micro_batch_that_does_not_divide_the_images_is_refused(eagerly):
    model = inversion()
    model.compile(micro_batch=4)
    with pytest.raises(ValueError, match="divide the 6 images.*take 3.*=4"):
        model.fit([0, 1, 2, 0, 1, 2], steps=1)
    model.compile(micro_batch=0)
    with pytest.raises(ValueError, match="whole number.*micro_batch=0"):
        model.fit(LABELS, steps=1)
    model.compile(micro_batch=100)  # as many as there are
    model.fit(LABELS, steps=1, verbose=0)
    assert model.step.pieces == 1


def test_labels_that_replicas_cannot_share_are_refused():
    with two_replicas().scope():
        model = inversion()
    with pytest.raises(ValueError, match="multiple of the 2 replicas.*add 1"):
        model.fit([0, 1, 2], steps=1)


def test_explicit_xla_gives_the_same_losses():
    def losses(jit):
        model = inversion()
        model.compile(keras.optimizers.SGD(0.3), TERMS, jit_compile=jit)
        history = model.fit(LABELS, steps=10, verbose=0, steps_per_epoch=1)
        return history.history["loss"]

    np.testing.assert_allclose(losses(True), losses(False), rtol=1e-4)


def test_one_seed_one_result_and_another_batch_others(eagerly):
    a, b, c = (inversion() for _ in range(3))
    a.fit(LABELS, steps=7, verbose=0)
    b.fit(LABELS, steps=7, verbose=0)
    c.fit(LABELS, steps=7, verbose=0, batch_index=1)
    np.testing.assert_array_equal(a.images, b.images)
    assert (a.images != c.images).mean() > 0.5


@pytest.mark.parametrize(
    ("size", "labels"),
    [(2, [[0, 1], [2, 0]]), (4, [[0, 1, 2, 0], [1, 2, 0, 1]])],
)
def test_labels_go_on_from_batch_to_batch(size, labels, eagerly):
    model = inversion(recipe=RECIPES["ours"].replace(batch_size=size))
    for batch in range(2):
        model.fit(steps=1, batch_index=batch, verbose=0)
        assert model.labels.tolist() == labels[batch]


def test_start_of_an_image_depends_on_its_index_alone(eagerly):
    model = inversion()
    model.fit(LABELS, steps=1, verbose=0)
    four = model.start(0)
    model.fit([0, 1], steps=1, verbose=0)
    np.testing.assert_array_equal(model.start(0), four[:2])
    assert abs(four.std() - 1) < 0.1


def test_a_coarse_start_is_interpolated_and_has_variance_1(eagerly):
    recipe = RECIPES["distillation_pixels"].replace(start=Noise(coarseness=4))
    model = inversion(recipe=recipe, seed=3)
    model.fit(LABELS, steps=1, verbose=0)
    # Of the 8x8 pixels two by two are drawn, their middles at 1.5 and 5.5.
    share = np.clip((np.arange(8) - 1.5) / 4, 0, 1)
    weights = np.stack([1 - share, share], axis=1)
    for index, found in enumerate(model.start(7)):
        drawn = np.random.default_rng((3, 7, index)).standard_normal(
            (2, 2, 1), "float32"
        )
        expected = weights @ drawn[..., 0] @ weights.T
        expected /= expected.std()
        np.testing.assert_allclose(found[..., 0], expected, rtol=1e-4)


@pytest.mark.parametrize(
    "recipe",
    [
        "imagenet_multiresolution",
        pytest.param("ours", marks=pytest.mark.slow),
        pytest.param("distillation_pixels", marks=pytest.mark.slow),
    ],
)
def test_images_of_one_pixel_s_width_are_made_by_every_recipe(recipe, eagerly):
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((2, 1, 1))
    x = keras.layers.Conv2D(4, 3, padding="same")(x)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(x))
    x = keras.layers.BatchNormalization()(x)
    teacher = keras.Model(inputs, keras.layers.Dense(CLASSES)(x))
    model = inversion(teacher, recipe=recipe)
    steps = [2] * len(model.recipe.stages)
    model.fit(LABELS, steps=steps, verbose=0)
    assert model.images.shape == (4, 2, 1, 1)
    assert len(np.unique(model.images)) > 1


def test_snapshots_are_what_the_images_were_on_the_way(tmp_path, eagerly):
    recipe = RECIPES["distillation_pixels"].replace(snapshots=[0.5, 0.75])
    seen = {}

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            step = int(self.model.optimizer.iterations.numpy())
            seen[step] = self.model.images

    model = inversion(recipe=recipe)
    model.compile(steps_per_execution=1)
    model.fit(LABELS, steps=7, verbose=0, callbacks=[Watch()])
    np.testing.assert_array_equal(model.snapshots, [seen[4], seen[6]])
    np.testing.assert_array_equal(model.images, seen[7])
    assert model.images_per_label == 3

    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if self.model.optimizer.iterations.numpy() >= 4:
                raise KeyboardInterrupt

    # Stopped after the first of them, and gone on by another process.
    run = {"steps": 7, "verbose": 0, "checkpoint": tmp_path / "run.npz"}
    with pytest.raises(KeyboardInterrupt):
        inversion(recipe=recipe).fit(LABELS, **run, callbacks=[Stop()])
    again = inversion(recipe=recipe)
    again.fit(LABELS, **run)
    np.testing.assert_array_equal(again.snapshots, model.snapshots)
    np.testing.assert_array_equal(again.images, model.images)
    # Another batch has its own, and one step is every moment.
    model.fit(LABELS, steps=1, batch_index=1, verbose=0)
    np.testing.assert_array_equal(model.snapshots, [model.images] * 2)


@pytest.mark.slow
def test_most_recipes_keep_no_snapshots():
    model = inversion()
    model.fit(LABELS, steps=2, verbose=0)
    assert model.snapshots.shape == (0, 4, 8, 8, 1)
    assert model.images_per_label == 1


@pytest.mark.slow
def test_snapshots_are_of_the_last_stage():
    recipe = RECIPES["imagenet_multiresolution"]
    model = inversion(recipe=recipe.replace(snapshots=[0.5]), transforms=[])
    model.fit(LABELS, steps=[3, 2], verbose=0)
    assert model.snapshots.shape == (1, 4, 8, 8, 1)


def still(**kwargs):
    """An inversion whose images stay the noise that they start from."""
    model = inversion(transforms=[])
    model.compile(keras.optimizers.SGD(0.0), TERMS, **kwargs)
    return model


def right_in(count):
    """Labels of which the teacher takes so many of the four images for."""
    model = still()
    with as_plain_python():
        model.fit(LABELS, steps=1, verbose=0)
    logits = tiny_teacher()(model.start(0), training=False).numpy()
    shown = logits.argmax(-1)
    wrong = np.arange(4) >= count
    return (shown + wrong) % CLASSES


@pytest.mark.parametrize(
    "count",
    [
        pytest.param(1, marks=pytest.mark.slow),
        3,
        pytest.param(4, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize(
    "kwargs",
    [
        {"micro_batch": 2},
        pytest.param({}, marks=pytest.mark.slow),
        pytest.param({"jit_compile": True}, marks=pytest.mark.slow),
    ],
)
def test_recognized_is_the_share_that_the_teacher_takes_for_its_label(
    count, kwargs
):
    labels = right_in(count)
    history = still(**kwargs).fit(labels, steps=2, verbose=0).history
    assert history["recognized"] == [count / 4]


def told_by_contrast(noise):
    """A teacher that takes noise for class 0, and what is gray for class 1."""
    teacher = tiny_teacher()
    head = teacher.layers[-1]
    body = keras.Model(teacher.inputs, head.input)
    gray, noisy = (body(x, training=False)[0] for x in (0 * noise, noise))
    kernel = np.zeros(head.kernel.shape, "float32")
    kernel[:, 1] = gray - noisy
    middle = np.sum(kernel[:, 1] * (gray + noisy) / 2)
    head.set_weights([kernel, np.array([0, -middle, -100], "float32")])
    return teacher


def of_a_teacher_of_contrast():
    """A model whose image begins as class 0, and the norm of its noise."""
    model = still()
    model.fit([1], steps=1, verbose=0)
    noise = model.start(0)
    model = inversion(told_by_contrast(noise), transforms=[])
    return model, float(np.linalg.norm(noise))


def test_what_is_recognized_is_no_part_of_the_loss(eagerly):
    model, length = of_a_teacher_of_contrast()
    # Each step shortens z by a quarter, and so the loss by less than 0.1.
    model.compile(keras.optimizers.SGD(length / 4 / 0.01), [L2(0.01)])
    history = model.fit(
        [1], steps=4, keep="best", steps_per_epoch=1, verbose=0
    ).history
    assert history["recognized"][0] == 0 and history["recognized"][-1] == 1
    best = np.linalg.norm(model.step.result())
    assert best == pytest.approx(length / 4, rel=1e-3)


@pytest.mark.slow
def test_recognized_is_that_of_all_replicas():
    labels = right_in(3)
    with two_replicas().scope():
        model = still()
    history = model.fit(labels, steps=1, verbose=0).history
    assert history["recognized"] == [0.75]


def warned(model, labels, **kwargs):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        model.fit(labels, steps=1, verbose=0, **kwargs)
    return [str(w.message) for w in found if "of the images as the" in str(w)]


@pytest.mark.slow
def test_fit_warns_where_less_than_half_of_the_images_show_their_labels():
    (message,) = warned(still(), right_in(1))
    assert message.startswith("The teacher recognizes 25% of the images as")
    assert not warned(still(), right_in(2))


def test_the_warning_is_of_the_finished_images(eagerly):
    model, length = of_a_teacher_of_contrast()
    # The teacher recognizes the image after the only step, not before it.
    terms = [L2(0.01), CrossEntropy(1e-9)]
    model.compile(keras.optimizers.SGD(0.75 * length / 0.01), terms)
    assert not warned(model, [1])
    assert model.history.history["recognized"] == [0]
    assert model.classes_of(model.images).tolist() == [1]


@pytest.mark.slow
def test_nobody_is_warned_where_labels_are_not_meant():
    between = RECIPES["distillation_pixels"].replace(transforms=[])
    model = inversion(recipe=between)
    model.compile(keras.optimizers.SGD(0.0), TERMS)
    assert not warned(model, right_in(1)) and not model.means_labels
    prior = inversion()
    prior.compile(loss=[TotalVariation(0.1)])
    assert not warned(prior, right_in(1)) and not prior.means_labels


def test_a_batch_knows_how_much_of_it_is_recognized(eagerly):
    model = still()
    labels = right_in(1)
    images, shown = model.make(labels, 0, 1)
    share = (model.classes_of(images) == labels).mean()
    assert model.logs["recognized"] == share
    np.testing.assert_array_equal(shown, model.classes_of(images))


def test_second_fit_of_the_same_shape_traces_nothing():
    model = inversion()
    model.fit(LABELS, steps=5, verbose=0)
    step, images = model.step, model.images
    assert step.run.experimental_get_tracing_count() == 1
    model.fit([2, 2, 1, 0], steps=5, verbose=0)
    model.fit(LABELS, steps=5, verbose=0)
    assert model.step is step
    assert step.run.experimental_get_tracing_count() == 1
    np.testing.assert_array_equal(model.images, images)


@pytest.mark.slow
def test_steps_of_two_calls_are_kept_and_no_more():
    model = inversion()
    first = []
    for steps in (2, 3, 2, 3):  # as a pool's first batch and the others
        model.fit(LABELS, steps=steps, verbose=0)
        first.append(model.step)
    assert first[:2] == first[2:]
    traces = [step.run.experimental_get_tracing_count() for step in first]
    assert traces == [1] * 4
    images = weakref.ref(first[0].images)
    del first
    model.fit(LABELS, steps=4, verbose=0)
    gc.collect()
    assert len(model.stage_steps) == 2 and images() is None


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: keras.optimizers.SGD(0.1, loss_scale_factor=128.0),
        lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1)),
    ],
)
@pytest.mark.slow
def test_a_loss_scale_changes_no_step(optimizer):
    def images(optimizer):
        model = inversion()
        model.compile(optimizer)
        model.fit(LABELS, steps=3, verbose=0)
        return model.step.images.numpy()

    np.testing.assert_array_equal(
        images(optimizer()), images(keras.optimizers.SGD(0.1))
    )


class Blend(HorizontalFlip):
    blends = True


class Cropped(HorizontalFlip):
    def __call__(self, images, numbers):
        return images[:, 1:]


class Rounded(HorizontalFlip):
    def __call__(self, images, numbers):
        return tf.round(images)


class OneRow(HorizontalFlip):
    def draw(self, key, count):
        return super().draw(key, 1)


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (Tone(), r"`Tone` is for pixels in \[0, 255\]"),
        (MixUp(), "`MixUp` blends"),
        (Blend(), "`Blend` blends"),
        (Cropped(), r"Cropped must keep.*Received: \(4, 7, 8, 1\)"),
        (OneRow(), r"OneRow must return.*4 images.*Received: .*\(1, 1, 1, 1\)"),
        (Rounded(), "differentiable"),
    ],
)
def test_transforms_that_are_none_of_an_inversion_are_refused(
    transform, message
):
    with pytest.raises(ValueError, match=message):
        model = inversion(transforms=[transform])
        model.fit(LABELS, steps=1, verbose=0)


class Nameless(L2):
    name = None


class OfEachPixel(L2):
    def value(self, sums, batch_norms):
        return tf.ones((3, 2)) * sums[0]


@pytest.mark.parametrize(
    ("term", "error", "message"),
    [
        (Nameless(), TypeError, "needs a name.*Nameless"),
        (OfEachPixel(), ValueError, r"'l2' must be a scalar.*\(3, 2\)"),
    ],
)
def test_terms_that_are_none_are_refused(term, error, message):
    model = inversion()
    with pytest.raises(error, match=message):
        model.compile(loss=[term])
        model.fit(LABELS, steps=1, verbose=0)


@pytest.mark.slow
def test_steps_in_blocks_equal_steps_one_by_one():
    def images(**kwargs):
        model = inversion()
        model.compile(**kwargs)
        model.fit(LABELS, steps=7, verbose=0, steps_per_epoch=5)
        return model.images

    expected = images(steps_per_execution=1)
    np.testing.assert_array_equal(images(steps_per_execution=3), expected)
    eager = images(run_eagerly=True, steps_per_execution=2).astype(int)
    assert np.abs(eager - expected).max() <= 1


def test_averages_of_an_optimizer_are_the_images_in_the_end():
    """As `keras.Model.fit` does, with no callback to put them in place."""
    model, seen = inversion(transforms=[]), []
    model.compile(
        keras.optimizers.SGD(0.5, use_ema=True, ema_momentum=0.75),
        [L2()],
        steps_per_execution=1,
    )
    each = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: seen.append(
            model.step.images.numpy()
        )
    )
    model.fit(LABELS, steps=4, verbose=0, callbacks=[each])
    average = seen[0]
    for z in seen[1:]:
        average = 0.75 * average + 0.25 * z
    found = model.step.images.numpy()
    np.testing.assert_allclose(found, average, rtol=1e-5, atol=1e-6)
    assert np.abs(found - seen[-1]).max() > 1e-3


def test_best_images_are_those_of_the_smallest_loss_and_no_alias():
    # Too large a learning rate: the loss goes down, then up and down.
    model = inversion(transforms=[])
    model.compile(keras.optimizers.SGD(40.0), TERMS)
    z = []
    grab = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda b, logs: z.append(
            model.trainable_variables[0].numpy()
        )
    )
    model.compile(
        keras.optimizers.SGD(40.0),
        TERMS,
        steps_per_execution=1,
    )
    history = model.fit(
        LABELS,
        steps=8,
        keep="best",
        callbacks=[grab],
        verbose=0,
        steps_per_epoch=1,
    )
    best = int(np.argmin(history.history["loss"]))
    assert 0 < best < 7, "the test needs a loss with its minimum inside"
    np.testing.assert_array_equal(
        model.images, NORMALIZED.to_pixels(z[best - 1])
    )
    first = model.images
    model.step.images.assign(z[0] * 0)
    np.testing.assert_array_equal(model.images, first)


@pytest.mark.slow
def test_one_network_under_three_conventions_gives_the_same_pictures():
    mean, std = 127.5, 50.0
    teachers = {
        "normalized": tiny_teacher(),
        (0, 255): tiny_teacher(pixel_scale=(1 / std, -mean / std)),
        (-1, 1): tiny_teacher(pixel_scale=(127.5 / std, 0.0)),
    }
    pictures = []
    for pixel_range, teacher in teachers.items():
        model = DeepInversion(
            teacher, Preprocessing(mean, std, pixel_range), seed=3
        )
        model.compile(keras.optimizers.SGD(0.3), TERMS)
        model.fit(LABELS, steps=20, verbose=0)
        pictures.append(model.images.astype(int))
    assert pictures[0].std() > 20
    for picture in pictures[1:]:
        assert np.abs(picture - pictures[0]).max() <= 1


def test_softmax_teacher_gives_the_pictures_of_its_logits(eagerly):
    pictures = []
    for activation in (None, "softmax"):
        model = inversion(tiny_teacher(activation=activation))
        model.fit(LABELS, steps=5, verbose=0)
        pictures.append(model.images)
    np.testing.assert_array_equal(*pictures)


def test_images_come_to_fit_labels_and_statistics():
    model = inversion(learned_teacher(), transforms=[])
    model.compile(
        keras.optimizers.Adam(0.1),
        [CrossEntropy(), FeatureStatistics()],
    )
    history = model.fit(
        balanced_labels(3, 12), steps=60, verbose=0, steps_per_epoch=1
    ).history
    for name in ("cross_entropy", "feature_statistics"):
        assert history[name][-1] < 0.9 * history[name][0]


def test_a_student_that_changes_is_no_copy_under_replicas():
    student = tiny_teacher(1)
    with two_replicas().scope():
        with pytest.raises(ValueError, match=r"strategy.scope\(\):`. Received"):
            inversion(student=student)


def test_competition_makes_images_on_which_the_student_differs():
    teacher, student = learned_teacher(), learned_teacher(1)

    def divergence(weight):
        model = inversion(teacher, student=student, transforms=[])
        model.compile(loss=[CrossEntropy(0.1), Competition(weight)])
        model.fit(LABELS, steps=40, verbose=0)
        z = NORMALIZED.normalize(model.images)
        p, q = (
            tf.nn.softmax(net(z, training=False) / 3).numpy()
            for net in (teacher, student)
        )
        m = (p + q) / 2
        return np.mean(np.sum(p * np.log(p / m) + q * np.log(q / m), -1)) / 2

    assert divergence(10.0) > 2 * divergence(0.0)


def test_a_checkpoint_of_another_size_is_another_run(tmp_path, eagerly):
    inputs = keras.Input((None, None, 3))
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3)(inputs))
    x = keras.layers.GlobalAveragePooling2D()(x)
    teacher = keras.Model(inputs, keras.layers.Dense(CLASSES)(x))
    for side in (8, 12):
        model = DeepInversion(teacher, NORMALIZED, image_shape=(side, side, 3))
        job = {"steps": 1, "checkpoint": tmp_path / "a.npz", "verbose": 0}
        if side == 8:
            model.fit(LABELS, **job)
            continue
        with pytest.raises(ValueError, match="differs in: image_shape"):
            model.fit(LABELS, **job)


def test_stages_of_a_recipe_grow_the_images(eagerly, monkeypatch):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, 3, padding="same")(inputs)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    teacher = keras.Model(inputs, keras.layers.Dense(CLASSES)(x))
    model = DeepInversion(
        teacher,
        NORMALIZED,
        recipe="imagenet_multiresolution",
        image_shape=(16, 16, 3),
    )
    shapes, drawn_at, draws = [], [], InversionStep.draws

    def recorded(step, seed, number):
        drawn_at.append(int(number))
        return draws(step, seed, number)

    monkeypatch.setattr(InversionStep, "draws", recorded)
    model.fit(
        LABELS,
        steps=[3, 2],
        verbose=0,
        callbacks=[
            keras.callbacks.LambdaCallback(
                on_epoch_end=lambda e, logs: shapes.append(model.images.shape)
            )
        ],
    )
    assert shapes == [(4, 8, 8, 3), (4, 16, 16, 3)]
    assert drawn_at == [0, 1, 2, 3, 4]  # no stage draws the numbers of another
    # It started as small as the first stage.
    drawn = [np.random.default_rng((0, 0, index)) for index in range(4)]
    expected = model.recipe.start.draw(drawn, (8, 8, 3), NORMALIZED)
    np.testing.assert_array_equal(model.start(0), expected)


def sized(size, kind="functional"):
    """One network, as made for images of that size, or of any."""
    keras.utils.set_random_seed(0)
    stem = [
        keras.layers.Conv2D(4, 3, padding="same"),
        keras.layers.BatchNormalization(),
    ]
    head = [
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(CLASSES),
    ]
    if kind == "sequential":
        return keras.Sequential([keras.Input((size, size, 3)), *stem, *head])
    x = inputs = keras.Input((size, size, 3))
    if kind == "nested":
        stem = [keras.Sequential([keras.Input((size, size, 3)), *stem])]
        inner = keras.Input((size, size, 4))
        outputs = inner
        for layer in head:
            outputs = layer(outputs)
        head = [keras.Model(inner, outputs)]
    for layer in (*stem, *head):
        x = layer(x)
    return keras.Model(inputs, x)


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("functional", marks=pytest.mark.slow),
        pytest.param("sequential", marks=pytest.mark.slow),
        "nested",
    ],
)
def test_a_network_of_one_size_is_read_at_the_others_of_a_recipe(kind, eagerly):
    """As those of `keras.applications` with ImageNet weights are."""

    def images(teacher):
        model = DeepInversion(
            teacher,
            NORMALIZED,
            recipe="imagenet_multiresolution",
            student=sized(16, kind),
            image_shape=(16, 16, 3),
        )
        model.fit(LABELS, steps=[3, 2], verbose=0)
        return model.images

    fixed = sized(16, kind)
    np.testing.assert_array_equal(images(fixed), images(sized(None)))
    # Afterwards it insists on its size as before.
    if kind != "sequential":  # which Keras does not make insist
        with pytest.raises(ValueError, match="incompatible"):
            fixed(np.zeros((1, 8, 8, 3)))


@pytest.mark.parametrize("who", ["teacher", "student"])
def test_a_network_that_cannot_be_read_at_a_recipe_s_resolution(who):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.BatchNormalization()(inputs)
    x = keras.layers.Dense(CLASSES)(keras.layers.Flatten()(x))
    flat, any_size = keras.Model(inputs, x, name="flat"), sized(16)
    pair = (flat, any_size) if who == "teacher" else (any_size, flat)
    with pytest.raises(
        ValueError, match=r"'flat' cannot read images.*recipe.*\(8, 8, 3\)"
    ):
        DeepInversion(
            pair[0],
            NORMALIZED,
            recipe="imagenet_multiresolution",
            student=pair[1],
        )


@pytest.mark.parametrize(
    ("labels", "steps", "error", "message"),
    [
        ([0, 3], 1, ValueError, r"\[0, 3\).*Received: labels from 0 to 3"),
        ([-1, 0], 1, ValueError, "from -1 to 0"),
        ([0.0, 1.0], 1, TypeError, "must be integers.*float64"),
        ([[0, 1]], 1, ValueError, r"shape \(1, 2\)"),
        ([], 1, ValueError, r"shape \(0,\)"),
        ([0], 0, ValueError, "1 or more.*steps=0"),
        ([0], 1.5, ValueError, "whole number.*steps=1.5"),
        ([0], [1, 2], ValueError, "1 stages"),
    ],
)
def test_bad_labels_and_steps(labels, steps, error, message):
    with pytest.raises(error, match=message):
        inversion().fit(labels, steps=steps)


class Idle(keras.Model):
    """Has a BatchNormalization, and never calls it."""

    def __init__(self):
        super().__init__()
        self.body, self.head = keras.layers.Flatten(), keras.layers.Dense(3)
        self.idle = keras.layers.BatchNormalization()
        self.idle.build((None, 4))
        self(np.zeros((1, *SHAPE), "float32"))

    def call(self, x):
        return self.head(self.body(x))


def test_bad_networks():
    no_bn = keras.Sequential(
        [keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(3)]
    )
    with pytest.raises(ValueError, match="BatchNormalization.*no such layer"):
        inversion(no_bn).fit([0], steps=1)
    with pytest.raises(ValueError, match="calls no such layer.*from_weights"):
        inversion(Idle(), image_shape=SHAPE).fit([0], steps=1)
    with pytest.raises(ValueError, match="not known from its name"):
        DeepInversion(tiny_teacher())
    other = keras.Sequential(
        [keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(4)]
    )
    with pytest.raises(ValueError, match="same classes. Received: 3 and 4"):
        inversion(student=other)
    with pytest.raises(ValueError, match="1 channels.*mean="):
        DeepInversion(tiny_teacher(), Preprocessing.imagenet("torch"))
    with pytest.raises(ValueError, match="needs a student"):
        inversion().compile(loss=[Competition()])
    with pytest.raises(ValueError, match="`recipe` must be one of"):
        inversion(recipe="cifar")
    with pytest.raises(TypeError, match="list of terms.*loss=mse"):
        inversion().compile(loss="mse")
    with pytest.raises(ValueError, match="`feature_dropout` must lie"):
        CrossEntropy(feature_dropout=1.0)
    with pytest.raises(ValueError, match="`seed` must be.*seed=-1"):
        inversion(seed=-1)
    with pytest.raises(ValueError, match="`steps_per_epoch` must be"):
        inversion().fit([0], steps=1, steps_per_epoch=0)
    with pytest.raises(ValueError, match="`keep` must be"):
        inversion().fit([0], steps=1, keep="first")
    with pytest.raises(ValueError, match="call `fit` first"):
        _ = inversion().images


def test_without_batch_norms_an_image_prior_is_left():
    no_bn = keras.Sequential(
        [keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(3)]
    )
    model = inversion(no_bn, transforms=[])
    model.compile(
        loss=[CrossEntropy(), TotalVariation(1e-3)],
    )
    history = model.fit(LABELS, steps=60, verbose=0, steps_per_epoch=30)
    assert history.history["loss"][1] < history.history["loss"][0]


def test_divergence_stops_names_the_step_and_keeps_finite_images():
    def rate(step):
        return tf.where(step < 4, 0.1, float("nan"))

    class Rate(keras.optimizers.schedules.LearningRateSchedule):
        def __call__(self, step):
            return rate(step)

    model = inversion(transforms=[])
    model.compile(keras.optimizers.SGD(Rate()), TERMS)
    with pytest.raises(FloatingPointError, match="step 4 of stage 0"):
        model.fit(LABELS, steps=20, verbose=0)
    stopped = model.images
    model.compile(keras.optimizers.SGD(0.1), TERMS)
    model.fit(LABELS, steps=4, verbose=0)
    np.testing.assert_array_equal(stopped, model.images)
