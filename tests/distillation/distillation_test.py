"""A student learns from a pool that grows; interrupted, the same student."""

import functools
import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from divergences import PIXELS
from divergences import RANDOM
from divergences import kl
from inversions import NORMALIZED
from tiny import CLASSES
from tiny import SHAPE
from tiny import learned_teacher
from tiny import tiny_teacher

from tf_deepinversion import RECIPES
from tf_deepinversion import Affine
from tf_deepinversion import ConvMuon
from tf_deepinversion import CrossEntropy
from tf_deepinversion import DeepInversion
from tf_deepinversion import FastInversion
from tf_deepinversion import HorizontalFlip
from tf_deepinversion import Pool
from tf_deepinversion import Preprocessing
from tf_deepinversion import RefreshPool
from tf_deepinversion import Tone
from tf_deepinversion import balanced_labels
from tf_deepinversion.callbacks.fit_resumable import fit_resumable
from tf_deepinversion.callbacks.training_state import TrainingState
from tf_deepinversion.distillation._distill import distill
from tf_deepinversion.distillation._distillation import Distillation
from tf_deepinversion.distillation.training_images import SynthesizedImages
from tf_deepinversion.distillation.training_images import batches_of
from tf_deepinversion.inversion.synthesizer import Synthesizer
from tf_deepinversion.models.generator import Generator
from tf_deepinversion.objective.softened_kl import SoftenedKL
from tf_deepinversion.optimizers import schedules
from tf_deepinversion.transforms.augmentations import augmentations
from tf_deepinversion.transforms.base import Transform
from tf_deepinversion.transforms.base import draw

LABELS = RANDOM.integers(0, CLASSES, 6)


@pytest.mark.parametrize("temperature", [1.0, 4.0, 20.0])
def test_softened_kl(temperature):
    t, s = RANDOM.normal(size=(2, 5, 7)) * 3
    loss = SoftenedKL(temperature)
    np.testing.assert_allclose(
        loss(t, s), kl(t, s, temperature).mean(), rtol=1e-6
    )
    assert float(loss(t, t + 2.5)) == pytest.approx(
        0, abs=1e-7 * temperature**2
    )
    again = keras.losses.deserialize(
        json.loads(json.dumps(keras.losses.serialize(loss)))
    )
    assert again.temperature == temperature


def test_softened_kl_is_finite_for_certain_teachers():
    t, s = np.array([[200.0, -200.0]]), np.array([[-200.0, 200.0]])
    assert float(SoftenedKL(1.0)(t, s)) == pytest.approx(400)
    with pytest.raises(ValueError, match="finite. Received: temperature=0"):
        SoftenedKL(0)


def test_training_in_bfloat16_leaves_a_student_in_float32():
    teacher, steps = tiny_teacher(0), {}
    for dtype in (None, "mixed_bfloat16"):
        model = Distillation(
            teacher, tiny_teacher(1), NORMALIZED, transforms=[], dtype=dtype
        )
        before = model.student.get_weights()
        exact = model.answers(PIXELS)
        model.compile(optimizer=keras.optimizers.SGD(0.1))
        loss = model.train_on_batch(PIXELS, LABELS, return_dict=True)["loss"]
        after = model.student.get_weights()
        assert all(w.dtype == "float32" for w in after)
        steps[dtype] = loss, [a - b for a, b in zip(after, before, strict=True)]
        # In inference it is float32 in any case.
        plain = NORMALIZED.normalize(PIXELS)
        np.testing.assert_allclose(
            exact[0], teacher(plain, training=False), rtol=1e-5, atol=1e-5
        )
        trained = model.student(plain, training=False)
        np.testing.assert_allclose(
            model.answers(PIXELS)[1], trained, rtol=1e-5, atol=1e-5
        )
    (loss, moved), (rough_loss, rough) = steps.values()
    assert rough_loss == pytest.approx(loss, rel=0.05) and rough_loss != loss
    cosine = sum(np.sum(a * b) for a, b in zip(moved, rough, strict=True))
    norms = [
        np.sqrt(sum(np.sum(a**2) for a in arrays)) for arrays in (moved, rough)
    ]
    assert cosine / np.prod(norms) > 0.98


def test_it_is_the_loss_that_keras_s_own_distiller_needs():
    """Whose default, given by name, takes the KL of raw logits."""
    teacher, student = tiny_teacher(0), tiny_teacher(1)
    x = NORMALIZED.normalize(PIXELS)
    t, s = (net(x, training=False).numpy() for net in (teacher, student))

    def loss_of(loss):
        distiller = keras.distillation.Distiller(
            teacher=teacher,
            student=student,
            distillation_losses=keras.distillation.LogitsDistillation(
                temperature=1.0, loss=loss
            ),
            student_loss_weight=0.0,
        )
        distiller.compile(
            optimizer="sgd",
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        return distiller.evaluate(x, LABELS, verbose=0, return_dict=True)

    found = loss_of(SoftenedKL(2.0))["loss"]
    assert found == pytest.approx(kl(t, s, 2.0).mean(), rel=1e-4)
    if keras.version().startswith("3.15."):
        broken = loss_of("kl_divergence")["loss"]
        assert abs(broken / kl(t, s, 1.0).mean() - 1) > 0.1


def train_once(model, optimizer, images):
    model.compile(optimizer=optimizer)
    return model.fit(images, epochs=1, verbose=0, batch_size=len(images))


@pytest.mark.parametrize("ending", [None, "softmax"])
def test_one_step_follows_the_gradient_of_the_divergence(ending):
    teacher = tiny_teacher(0, activation=ending)
    student = tiny_teacher(1, activation=ending)
    twin = tiny_teacher(1)
    for network in (student, twin):  # so that no moving statistics move
        for layer in network.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False
    model = Distillation(
        teacher, student, NORMALIZED, temperature=3.0, transforms=[]
    )
    logits = tiny_teacher(0)(NORMALIZED.normalize(PIXELS), training=False)
    with tf.GradientTape() as tape:
        s = twin(NORMALIZED.normalize(PIXELS), training=True)
        p = tf.nn.softmax(logits / 3.0)
        q = tf.nn.softmax(s / 3.0)
        loss = 9 * tf.reduce_mean(
            tf.reduce_sum(p * (tf.math.log(p) - tf.math.log(q)), -1)
        )
    gradients = tape.gradient(loss, twin.trainable_variables)
    before = [v.numpy() for v in student.trainable_variables]
    teacher_before = teacher.get_weights()
    history = train_once(model, keras.optimizers.SGD(1.0), PIXELS)
    assert history.history["loss"][0] == pytest.approx(float(loss), rel=1e-4)
    for old, new, g in zip(
        before, student.trainable_variables, gradients, strict=True
    ):
        np.testing.assert_allclose(old - new.numpy(), g, rtol=1e-3, atol=1e-5)
    for a, b in zip(teacher_before, teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_every_step_draws_random_numbers_of_its_own():
    class Noted(Transform):
        def draw(self, key, count):
            return tf.random.stateless_uniform((count, 1, 1, 1), key)

        def __call__(self, images, numbers):
            seen.append(numbers.numpy().ravel())
            return images

    seen, noted = [], Noted()
    model = Distillation(
        tiny_teacher(0),
        tiny_teacher(1),
        NORMALIZED,
        transforms=[noted],
        steps_per_teacher_call=1,
        seed=7,
    )
    model.compile(optimizer=keras.optimizers.SGD(0.1), run_eagerly=True)
    for _ in range(3):
        model.train_on_batch(PIXELS, LABELS)
    for step, numbers in enumerate(seen):
        (expected,) = draw([noted], [7, 1], step, len(PIXELS))
        np.testing.assert_array_equal(numbers, np.ravel(expected))
    assert len(seen) == 3 and len(np.unique(seen)) == 3 * len(PIXELS)


def test_augmentations_have_their_strength():
    affine, flip, tone, mixup = augmentations(1.0)
    assert affine.get_config() == Affine().get_config()
    assert tone.get_config() == Tone().get_config()
    assert flip.probability == 0.5 and mixup.probability == 0.25
    affine, _, tone, _ = augmentations()
    assert affine.get_config() == pytest.approx(
        {"rotation": 5, "stretch": 1.0779, "slant": 0.05, "shift": 0.0375},
        rel=1e-4,
    )
    assert tone.get_config() == pytest.approx(
        {"gamma": 1.1892, "darkest": 0.5, "brightest": 1.2}, rel=1e-4
    )


def test_without_strength_an_image_is_where_it_was():
    affine = augmentations(0.0)[0]
    images = np.random.default_rng(0).uniform(0, 255, (4, 5, 6, 1))
    images = images.astype("float32")
    kept = affine(tf.constant(images), affine.draw([0, 1], 4))
    np.testing.assert_allclose(kept, images, atol=1e-3)


@pytest.mark.parametrize("strength", [-0.1, 10.1, float("nan")])
def test_a_strength_out_of_range_is_refused(strength):
    with pytest.raises(ValueError, match=r"in \[0, 10\]\. Received: strength"):
        augmentations(strength)


def test_evaluation_on_labeled_images():
    teacher, student = learned_teacher(0), learned_teacher(1)
    model = Distillation(teacher, student, NORMALIZED)
    model.compile(optimizer="sgd")
    found = model.evaluate(
        PIXELS, LABELS, batch_size=4, verbose=0, return_dict=True
    )
    x = NORMALIZED.normalize(PIXELS)
    t, s = (net(x, training=False).numpy() for net in (teacher, student))
    assert found["loss"] == pytest.approx(kl(t, s, 4.0).mean(), rel=1e-5)
    t, s = t.argmax(-1), s.argmax(-1)
    assert found["accuracy"] == pytest.approx((s == LABELS).mean())
    assert found["agreement"] == pytest.approx((s == t).mean())


def test_a_student_may_be_fed_otherwise_and_have_another_size():
    teacher = tiny_teacher()
    inputs = keras.Input((4, 4, 1))
    x = keras.layers.Flatten()(inputs)
    student = keras.Model(inputs, keras.layers.Dense(CLASSES)(x))
    unit = Preprocessing(127.5, 127.5, (0, 1))
    model = Distillation(
        teacher, student, NORMALIZED, student_preprocessing=unit
    )
    small = tf.image.resize(PIXELS.astype("float32"), (4, 4)) / 255
    np.testing.assert_allclose(
        model(PIXELS), student(small), rtol=1e-4, atol=1e-5
    )


@pytest.mark.slow
def test_a_subclassed_student_learns():
    class Student(keras.Model):
        def __init__(self):
            super().__init__()
            self.flat = keras.layers.Flatten()
            self.head = keras.layers.Dense(CLASSES)

        def call(self, x, training=False):
            return self.head(self.flat(x))

    model = Distillation(
        learned_teacher(),
        Student(),
        NORMALIZED,
        student_preprocessing=NORMALIZED,
        student_shape=SHAPE,
        transforms=[HorizontalFlip()],
    )
    model.compile(optimizer=keras.optimizers.Adam(0.02))
    loss = model.fit(PIXELS, epochs=60, verbose=0).history["loss"]
    assert loss[-1] < 0.5 * loss[0]


def run(folder, rounds=4, stop=None, seed=0, student=None, **kwargs):
    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == stop:
                raise KeyboardInterrupt

    teacher, student = learned_teacher(), student or tiny_teacher(1)
    synthesizer = FastInversion(
        teacher,
        NORMALIZED,
        generator=Generator(SHAPE, CLASSES, latents=4, width=8),
        student=student,
        seed=seed,
    )
    _, history, pool, _ = distill(
        teacher,
        student,
        synthesizer,
        rounds=rounds,
        steps_per_round=3,
        batch_size=4,
        refresh=RefreshPool(images=6, steps=2, first_steps=3),
        capacity=24,
        folder=folder,
        seed=seed,
        callbacks=[Stop()],
        verbose=0,
        preprocessing=NORMALIZED,
        student_preprocessing=NORMALIZED,
        **kwargs,
    )
    images = pool.images
    pool.close()
    return student.get_weights(), history, images


def shades(shade, n=5):
    """A pool of images of one shade."""
    pool = Pool(50, SHAPE, CLASSES)
    pool.add(np.full((n, *SHAPE), shade, "uint8"), np.arange(n) % CLASSES)
    return pool


def goes_on(folder, rounds, stop, **options):
    """To the same student, images and history as a run that was not."""
    options |= {"rounds": rounds, "fixed_share": 0.5}
    weights, history, images = run(folder / "whole", **options)
    assert len(history["loss"]) == rounds and len(images) == 6 * rounds
    # Interrupted after the pool has grown, before the state is saved.
    with pytest.raises(KeyboardInterrupt):
        run(folder / "part", stop=stop, **options)
    weights2, history2, images2 = run(folder / "part", **options)
    np.testing.assert_array_equal(images, images2)
    for a, b in zip(weights, weights2, strict=True):
        np.testing.assert_array_equal(a, b)
    assert history["loss"] == history2["loss"]


def test_interrupted_with_a_given_generator_the_call_can_be_repeated(
    tmp_path, eagerly, monkeypatch
):
    def distilled(generator, folder):
        keras.utils.set_random_seed(1)
        return distill(
            learned_teacher(),
            tiny_teacher(1),
            generator,
            rounds=2,
            steps_per_round=1,
            batch_size=4,
            refresh=RefreshPool(6, 1, batches=3),
            preprocessing=NORMALIZED,
            student_preprocessing=NORMALIZED,
            folder=folder,
            verbose=0,
        ).pool

    def generator():
        return FastInversion(learned_teacher(), NORMALIZED)

    whole, interrupted = distilled(generator(), None), generator()
    fit = FastInversion.fit

    def fit_until_the_second(self, *args, batch_index=0, **kwargs):
        if batch_index == 1:
            raise KeyboardInterrupt
        return fit(self, *args, batch_index=batch_index, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(FastInversion, "fit", fit_until_the_second)
        distilled(interrupted, tmp_path / "run")
    again = distilled(interrupted, tmp_path / "run")
    np.testing.assert_array_equal(again.images[:], whole.images)


def test_interrupted_it_goes_on_to_the_same_student(tmp_path, eagerly):
    options = {"fixed_images": shades(9), "steps_per_teacher_call": 1}
    goes_on(tmp_path, 3, 1, **options)


@pytest.mark.slow
@pytest.mark.parametrize(("fixed", "steps"), [(shades(9), 1), (None, 2)])
def test_its_graphs_go_on_to_the_same_student(tmp_path, fixed, steps):
    options = {"fixed_images": fixed, "steps_per_teacher_call": steps}
    goes_on(tmp_path, 4, 2, **options)


@pytest.mark.slow
def test_minutes_give_the_student_of_as_many_rounds(tmp_path, monkeypatch):
    """The trial leaves no trace in the networks, the images or the folder."""
    weights, history, images = run(None, rounds=2)

    def few(minutes, trial, path, begin, **settings):
        assert minutes == 45 and path == tmp_path / "plan.json" and begin
        assert set(settings) >= {"steps_per_round"}
        trial(3, [])
        assert not list(tmp_path.iterdir())
        return 2

    monkeypatch.setitem(distill.__globals__, "rounds_for", few)
    found = run(tmp_path, rounds=None, minutes=45)
    assert history == found[1]
    np.testing.assert_array_equal(images, found[2])
    for a, b in zip(weights, found[0], strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_the_least_of_minutes_is_a_round(tmp_path):
    options = {"refresh": RefreshPool(6, 1), "minutes": 1e-9}
    _, history, _, _ = run_by_pixels(folder=tmp_path, **options)
    assert len(history["loss"]) == 1
    plan = json.loads((tmp_path / "plan.json").read_text())
    assert plan["rounds"] == 1 and plan["seconds_a_round"] > 0
    with pytest.raises(ValueError, match="planned for minutes=1e-09"):
        run_by_pixels(folder=tmp_path, **{**options, "minutes": 1})


@pytest.mark.parametrize(
    "wrong",
    [{}, {"rounds": 1, "minutes": 1}],
)
def test_rounds_or_minutes(wrong):
    with pytest.raises(ValueError, match="Expected either `rounds` or"):
        run_by_pixels(**wrong)


def test_minutes_decide_how_many_batches_there_are():
    with pytest.raises(ValueError, match="leave `batches` of the RefreshPool"):
        run_by_pixels(minutes=1, refresh=RefreshPool(6, batches=2))


def test_an_optimizer_made_for_all_steps(eagerly):
    steps = []

    def make(count):
        steps.append(count)
        return keras.optimizers.SGD(0.1)

    run_by_pixels(rounds=2, refresh=RefreshPool(6, 1), optimizer=make)
    assert steps == [2]
    # Any function, such as one with its other arguments bound.
    bound = functools.partial(make)
    run_by_pixels(rounds=3, refresh=RefreshPool(6, 1), optimizer=bound)
    assert steps == [2, 3]
    with pytest.raises(TypeError, match="call the class. Received: .*SGD"):
        run_by_pixels(rounds=2, optimizer=keras.optimizers.SGD)


def run_by_pixels(student=None, **kwargs):
    """`distill` by the default images, in rounds of one step."""
    return distill(
        learned_teacher(),
        student or tiny_teacher(1),
        steps_per_round=1,
        batch_size=4,
        preprocessing=NORMALIZED,
        student_preprocessing=NORMALIZED,
        verbose=0,
        **kwargs,
    )


def test_by_default_pixels_are_made_before_the_student_begins(
    tmp_path, eagerly
):
    sizes = []

    def start(callbacks):
        _, history, pool, synthesis = run_by_pixels(
            rounds=2,
            refresh=RefreshPool(images=6, steps=2),
            seed=3,
            folder=tmp_path,
            callbacks=callbacks,
        )
        return history, pool.images, synthesis

    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            sizes.append(len(list((tmp_path / "pool").glob("*tfrecord*"))))
            if epoch == 1:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        start([Stop()])
    assert sizes == [2, 2]
    history, images, synthesis = start([])
    pixels = DeepInversion(
        learned_teacher(), NORMALIZED, recipe="distillation_pixels", seed=3
    )
    labels = balanced_labels(CLASSES, 6)
    for batch in range(2):
        terms = pixels.fit(labels, 2, batch_index=batch, verbose=0).history
        made = images[18 * batch : 18 * batch + 18].reshape(3, 6, *SHAPE)
        np.testing.assert_array_equal(made[:2], pixels.snapshots)
        np.testing.assert_array_equal(made[2], pixels.images)
    assert synthesis["batch"] == [0, 1]
    assert synthesis["loss"][1] == terms["loss"][-1]
    assert {len(values) for values in history.values()} == {2}


@pytest.mark.slow
def test_no_more_images_are_made_than_the_pool_holds():
    pool = run_by_pixels(
        rounds=3, refresh=RefreshPool(images=6, steps=1), capacity=53
    ).pool
    assert len(pool) == 36 and pool.batches == 2  # with two snapshots each


@pytest.mark.slow
def test_training_that_a_callback_has_ended_stays_ended(tmp_path):
    """With the weights that the callback has put back."""

    class Early(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 1

        def on_train_end(self, logs=None):
            kernel = self.model.student.trainable_variables[0]
            kernel.assign(0 * kernel)

    def start():
        student = tiny_teacher(1)
        _, history, *_ = run_by_pixels(
            student,
            rounds=4,
            refresh=RefreshPool(images=6, steps=1),
            folder=tmp_path,
            callbacks=[Early()],
        )
        return student.get_weights(), history

    weights, history = start()
    assert len(history["loss"]) == 2 and not weights[0].any()
    again, same = start()
    assert same == history
    for a, b in zip(weights, again, strict=True):
        np.testing.assert_array_equal(a, b)
    with np.load(tmp_path / "state.npz") as state:
        assert not state["variable_0"].any()


@pytest.mark.parametrize("on_epoch", [True, False])
def test_averages_that_are_swapped_in_go_on_to_the_same_network(
    tmp_path, on_epoch
):
    random = np.random.default_rng(0)
    pair = random.normal(size=(6, 8)), random.normal(size=(6, 3))
    data = tf.data.Dataset.from_tensors(pair)

    def train(path, epochs=4):
        """`epochs` of 4, as a run that is killed then."""
        keras.utils.set_random_seed(1)
        network = keras.Sequential([keras.Input((8,)), keras.layers.Dense(3)])
        optimizer = keras.optimizers.SGD(0.3, use_ema=True, ema_momentum=0.7)
        network.compile(optimizer, "mse")

        class Killed(keras.callbacks.Callback):
            def on_epoch_begin(self, epoch, logs=None):
                if epoch == epochs:
                    raise KeyboardInterrupt

        swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=on_epoch)
        fit_resumable(
            network,
            lambda step: data.repeat(),
            network=network,
            epochs=4,
            steps_per_epoch=1,
            path=path,
            callbacks=[swap, Killed()],
            verbose=0,
        )
        return network.get_weights()

    whole = train(tmp_path / "whole.npz")
    for epochs in (1, 3):
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "state.npz", epochs)
    for _ in range(2):  # the second time nothing is left to do
        found = train(tmp_path / "state.npz")
        for a, b in zip(whole, found, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("epochs", "batches"), [(1, 0), (1, 2), (2, 4)])
def test_images_that_end_are_an_error(tmp_path, epochs, batches):
    """Keras would warn and return a network that has trained less."""
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    network.compile("sgd", "mse")
    pair = tf.data.Dataset.from_tensors((np.ones((1, 1)), np.zeros((1, 1))))
    with pytest.raises(ValueError, match="images for 3 steps of an epoch.*set"):
        fit_resumable(
            network,
            lambda step: pair.repeat(batches),
            network=network,
            epochs=epochs,
            steps_per_epoch=3,
            path=tmp_path / "state.npz",
            verbose=0,
        )
    assert (tmp_path / "state.npz").exists() == (batches == 4)


@pytest.mark.parametrize(
    ("restored", "expected"), [(False, [5.5, -2.5]), (True, [6.0, -2.0])]
)
@pytest.mark.parametrize("on_epoch", [True, False])
def test_a_run_that_ends_early_ends_with_its_averages(
    tmp_path, on_epoch, restored, expected
):
    """Keras leaves the weights in training where they were swapped out.

    It ends after epoch 1, for the loss of epoch 0 is the largest; that
    epoch's weights are put back, or not.
    """

    def train(path=None, epochs=4):
        keras.utils.set_random_seed(1)
        network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        optimizer = keras.optimizers.SGD(0.125, use_ema=True, ema_momentum=0.5)
        network.layers[0].kernel.assign([[8.0]])
        network.compile(optimizer, "mse")
        pair = np.ones((1, 1)), np.zeros((1, 1))
        fit_resumable(
            network,
            lambda step: tf.data.Dataset.from_tensors(pair).repeat(),
            network=network,
            epochs=epochs,
            steps_per_epoch=1,
            path=path,
            callbacks=[
                keras.callbacks.SwapEMAWeights(swap_on_epoch=on_epoch),
                keras.callbacks.EarlyStopping(
                    "loss",
                    mode="max",
                    patience=1,
                    restore_best_weights=restored,
                ),
            ],
            verbose=0,
        )
        return [float(np.squeeze(w)) for w in network.get_weights()]

    # Each step takes a quarter of the error off the kernel and off the bias:
    # 8 -> 6 -> 5 and 0 -> -2 -> -3. The average begins as the first.
    assert train() == expected
    assert train(epochs=2) == expected
    for _ in range(2):  # the second time nothing is left to do
        assert train(tmp_path / "state.npz") == expected


@pytest.mark.slow
def test_what_is_saved_of_a_student_that_diverged_is_finite(tmp_path):
    rates = keras.optimizers.schedules.PiecewiseConstantDecay([5], [0.1, 1e38])
    for _ in range(2):  # the second goes on from the first's state
        optimizer = keras.optimizers.SGD(rates)
        with pytest.raises(FloatingPointError, match="in epoch 3"):
            run(tmp_path, optimizer=optimizer)
    with np.load(tmp_path / "state.npz") as state:
        assert json.loads(str(state["past"]))["epoch"] == 2
        variables = [state[n] for n in state.files if "variable" in n]
    assert variables and all(np.isfinite(v).all() for v in variables)


@pytest.mark.slow
def test_a_pool_in_use_leaves_the_student_as_it_was(tmp_path):
    run(tmp_path, rounds=1)
    identity = json.loads((tmp_path / "pool" / "pool.json").read_text())["run"]
    held = Pool(24, SHAPE, CLASSES, folder=tmp_path / "pool", run=identity)
    student, given = tiny_teacher(1), tiny_teacher(1).get_weights()
    with pytest.raises(RuntimeError, match="is in use"):
        run(tmp_path, rounds=1, student=student)
    held.close()
    for a, b in zip(given, student.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_the_folder_of_another_run_is_refused(tmp_path):
    run(tmp_path, rounds=1)
    with pytest.raises(ValueError, match="another run"):
        run(tmp_path, rounds=2)
    with pytest.raises(ValueError, match="another run"):
        run(tmp_path, rounds=1, fixed_images=shades(9))


def test_a_share_of_every_batch_is_of_fixed_images():
    pool = shades(1)
    begin = batches_of(pool, shades(2), 0.25, 8, seed=0)
    stream = iter(begin(0))
    for shade in (1, 1, 3):
        if shade == 3:  # what is added after a step is drawn at the next
            for _ in range(9):
                pool.add(np.full((5, *SHAPE), 3, "uint8"), LABELS[:5])
        images, labels = next(stream)
        found = images.numpy()[:, 0, 0, 0].tolist()
        assert found.count(2) == 2 and labels.shape == (8,)
        assert (shade != 3) == (3 not in found)
    np.testing.assert_array_equal(next(iter(begin(2)))[0], images)


def by_given(images, folder=None, **kwargs):
    """A student of images that are there; no synthesizer, no pool of ours."""
    student = tiny_teacher(1)
    found = distill(
        learned_teacher(),
        student,
        images,
        rounds=2,
        steps_per_round=2,
        batch_size=4,
        preprocessing=NORMALIZED,
        student_preprocessing=NORMALIZED,
        folder=folder,
        verbose=0,
        **kwargs,
    )
    assert found.student is student and found.synthesis == {}
    return found, student.get_weights()


@pytest.mark.slow
def test_images_that_are_there_need_no_synthesizer(tmp_path):
    pool = Pool(50, SHAPE, CLASSES)
    pool.add(PIXELS, LABELS)
    of_pool, weights = by_given(pool, tmp_path)
    assert of_pool.pool is pool and len(of_pool.history["loss"]) == 2
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["state.npz", "state.rows"]
    # The same batches, by the function that gives them.
    of_steps, same = by_given(lambda step: pool.dataset(4, 0, step))
    assert of_steps.pool is None and of_steps.history == of_pool.history
    for a, b in zip(weights, same, strict=True):
        np.testing.assert_array_equal(a, b)
    for given in (
        (PIXELS, LABELS),
        tf.data.Dataset.from_tensor_slices((PIXELS, LABELS)),
    ):
        _, others = by_given(given)
        assert (others[0] != weights[0]).any()
    pool.add(PIXELS[:1], LABELS[:1])
    with pytest.raises(ValueError, match="differs in: images"):
        by_given(pool, tmp_path)
    with pytest.raises(ValueError, match="pass `run`, a name"):
        by_given(lambda step: pool.dataset(4, 0, step), tmp_path / "other")
    with pytest.raises(ValueError, match="`refresh` sets when a synthesizer"):
        by_given(pool, refresh=RefreshPool())
    with pytest.raises(ValueError, match=r"`images` must be images \(8, 8, 1"):
        by_given((np.zeros((3, 9, 8, 1), "uint8"), [0, 1, 2]))
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
def test_a_state_whose_images_are_gone_is_told_in_words(tmp_path):
    run(tmp_path, rounds=1)
    shutil.rmtree(tmp_path / "pool")
    with pytest.raises(ValueError, match="its images in .*pool are missing"):
        run(tmp_path, rounds=1)
    assert not (tmp_path / "pool").exists()


def start(folder, synthesis=None, compiled=None, student=None, **kwargs):
    """A run that is stopped before it makes anything, its folder claimed."""
    teacher, student = learned_teacher(), student or tiny_teacher(1)
    synthesizer = FastInversion(
        teacher,
        NORMALIZED,
        generator=Generator(SHAPE, CLASSES, latents=4, width=8),
        student=student,
        recipe=RECIPES["generator"].replace(**(synthesis or {})),
    )
    if compiled:
        synthesizer.compile(**compiled)

    class Stop(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        distill(
            teacher,
            student,
            synthesizer,
            rounds=1,
            folder=folder,
            callbacks=[Stop()],
            verbose=0,
            preprocessing=NORMALIZED,
            student_preprocessing=NORMALIZED,
            **kwargs,
        )


class Faded(HorizontalFlip):
    """A user's, whose config is its parent's."""

    def __init__(self, strength):
        super().__init__()
        self.strength = strength


def with_activation(name):
    """Students of the same weights."""
    student = tiny_teacher(1)
    for layer in student.layers:
        if isinstance(layer, keras.layers.Activation):
            layer.activation = keras.activations.get(name)
    return student


@pytest.mark.parametrize(
    ("name", "make", "values"),
    [
        ("student", with_activation, ["relu", "gelu"]),
        ("transforms", lambda x: [Faded(x)], [0.9, 0.5]),
        (
            "optimizer",  # the configs of both are alike
            lambda x: getattr(keras.optimizers, x)(0.01, epsilon=1e-7),
            ["Adamax", "Nadam"],
        ),
    ],
)
def test_what_has_the_same_shapes_or_config_is_not_the_same_run(
    tmp_path, name, make, values
):
    for _ in range(2):
        start(tmp_path, **{name: make(values[0])})
    with pytest.raises(ValueError, match=f"differs in: .*{name}"):
        start(tmp_path, **{name: make(values[1])})


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A folder of a run that has begun and gone on."""
    folder = tmp_path_factory.mktemp("begun")
    for _ in range(2):
        start(folder)
    return folder


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        pytest.param(
            "synthesizer: recipe",
            {"synthesis": {name: value}},
            marks=pytest.mark.slow if name != "latent_rate" else (),
        )
        for name, value in {
            "latent_rate": 0.7,
            "latent_scale": 0.7,
            "latent_noise": 0.7,
            "meta_rate": 0.7,
            "transforms": [],
            "learning_rate": 0.7,
        }.items()
    ]
    + [
        ("synthesizer: terms", {"compiled": {"loss": [CrossEntropy(2.0)]}}),
        ("synthesizer: optimizer", {"compiled": {"optimizer": "sgd"}}),
        ("distillation: temperature", {"temperature": 5.0}),
        ("distillation: transforms", {"transforms": [HorizontalFlip()]}),
        ("distillation: steps_per_teacher_call", {"steps_per_teacher_call": 7}),
        ("capacity", {"capacity": 700}),
    ],
)
def test_a_changed_setting_is_refused_by_name(begun, name, changed):
    with pytest.raises(ValueError, match=f"differs in: {name},"):
        start(begun, **changed)


@pytest.mark.slow
def test_changed_transforms_do_not_go_on_from_a_state(tmp_path):
    run(tmp_path, rounds=1)
    with pytest.raises(ValueError, match=r"npz belongs.*distillation: temper"):
        run(tmp_path, rounds=1, temperature=2.0)
    with pytest.raises(ValueError, match="differs in: distillation: transf"):
        run(tmp_path, rounds=1, transforms=[HorizontalFlip()])


class Shades(Synthesizer):
    """Images as bright as their batch is late; it notes what it was asked."""

    classes, image_shape = CLASSES, SHAPE

    def __init__(self, state_variables=()):
        self.state_variables, self.asked = list(state_variables), []

    def make(self, labels, batch_index, steps=None, verbose=0):
        self.asked.append((batch_index, steps, len(labels)))
        self.logs = {"loss": batch_index / 10}
        images = np.full((len(labels), *SHAPE), batch_index, "uint8")
        return images, labels


def begin(refresh, *epochs, of=4):
    """What `fit` calls as epochs begin."""
    refresh.set_params({"epochs": of, "steps": 1, "verbose": 0})
    for epoch in epochs:
        refresh.on_epoch_begin(epoch)


def test_a_pool_is_refreshed_by_the_numbers_that_were_asked_for():
    pool, made = Pool(100, SHAPE, CLASSES), Shades()
    refresh = RefreshPool(
        3, 7, 9, "every_round", 2, pool=pool, synthesizer=made
    )
    begin(refresh, 0)
    assert made.asked == [(0, 9, 3), (1, 7, 3)] and len(pool) == 6
    begin(refresh, 1)
    assert made.asked[2:] == [(2, 7, 3), (3, 7, 3)] and pool.batches == 4
    np.testing.assert_array_equal(pool.labels, [0, 1, 2] * 4)


@pytest.mark.parametrize(
    ("arguments", "student", "sizes"),
    [
        ({}, None, [4, 4, 4]),
        ({}, "one", [1, 2, 3]),
        ({"when": "every_round"}, None, [1, 2, 3]),
        ({"when": "start"}, "one", [4, 4, 4]),
        ({"when": "start", "batches": 2}, None, [2, 2, 2]),
        ({"images": 7}, None, [2, 2, 2]),  # more do not fit into the pool
    ],
)
def test_images_come_first_unless_they_depend_on_the_student(
    arguments, student, sizes
):
    pool, made = Pool(20, SHAPE, CLASSES), Shades()
    made.student = student
    refresh = RefreshPool(**{"images": 3, **arguments})
    refresh.bind(pool, made)
    found = []
    for epoch in range(3):
        begin(refresh, epoch)
        found.append(pool.batches)
    assert found == sizes


@pytest.mark.parametrize(
    ("when", "lines", "title"),
    [
        (
            "start",
            [
                "Images (part 1 of 2): batch 1/2",
                "Images (part 1 of 2): batch 2/2",
            ],
            "Training (part 2 of 2)",
        ),
        (
            "every_round",
            ["Images: batch 1/1", "Images: batch 1/1"],
            "Training",
        ),
    ],
)
def test_the_bars_say_which_part_of_the_job_they_are(
    when, lines, title, capsys
):
    refresh = RefreshPool(3, when=when)
    refresh.bind(Pool(20, SHAPE, CLASSES), Shades())
    refresh.set_params({"epochs": 2, "steps": 1, "verbose": 2})
    for epoch in range(2):
        refresh.on_epoch_begin(epoch)
    printed = capsys.readouterr().out.splitlines()
    assert [line.split(" - ")[0] for line in printed] == lines
    images = SynthesizedImages(Shades(), RefreshPool(3, when=when), 2, 20)
    assert images.title == title


@pytest.mark.slow
def test_batches_of_fewer_images_than_classes_make_all_classes():
    made = DeepInversion(tiny_teacher(), NORMALIZED)
    pool = Pool(100, SHAPE, CLASSES)
    refresh = RefreshPool(2, 1, batches=3, pool=pool, synthesizer=made)
    begin(refresh, 0, 1)
    np.testing.assert_array_equal(pool.requested, [0, 1, 2, 0, 1, 2])


@pytest.mark.parametrize(
    ("state_variables", "there", "asked"),
    [
        ((), 0, [0, 1, 2]),
        ((), 2, [2]),
        ((), 3, []),
        (["generator"], 2, [0, 1, 2]),
    ],
)
def test_batches_left_by_an_interrupted_run_are_kept(
    state_variables, there, asked
):
    pool, made = Pool(100, SHAPE, CLASSES), Shades(state_variables)
    for batch in range(there):
        pool.add(np.full((3, *SHAPE), batch, "uint8"), [0, 1, 2])
    refresh = RefreshPool(3, batches=3, pool=pool, synthesizer=made)
    begin(refresh, 0, 1)
    assert [n for n, _, _ in made.asked] == asked and refresh.next_batch == 3
    shades = [image.flat[0] for image in pool.images]
    assert shades == [0] * 3 + [1] * 3 + [2] * 3


def test_a_pool_without_its_newest_batch_gets_those_that_follow():
    """A damaged shard may be taken out of the list: that is the advice."""
    pool = Pool(100, SHAPE, CLASSES)
    pool.add(np.zeros((3, *SHAPE), "uint8"), [0, 1, 2])  # batch 1 is gone
    refresh = RefreshPool(3, when="every_round")
    refresh.bind(pool, Shades(), next_batch=2)
    begin(refresh, 2, 3)
    assert pool.batches == 4
    assert [x.flat[0] for x in pool.images] == [0] * 3 + [2] * 3 + [3] * 3


def test_snapshots_of_a_batch_are_added_before_its_images(eagerly):
    recipe = RECIPES["distillation_pixels"].replace(snapshots=[0.5, 0.75])
    made = DeepInversion(tiny_teacher(), NORMALIZED, recipe=recipe)
    pool = Pool(100, SHAPE, CLASSES)
    pool.fill(made, batches=1, images=4, steps=4, verbose=0)
    np.testing.assert_array_equal(
        pool.images[:8].reshape(2, 4, *SHAPE), made.snapshots
    )
    np.testing.assert_array_equal(pool.images[8:], made.images)
    np.testing.assert_array_equal(pool.requested, [0, 1, 2, 0] * 3)
    z = NORMALIZED.normalize(pool.images)
    said = tiny_teacher()(z, training=False).numpy().argmax(-1)
    np.testing.assert_array_equal(pool.labels, said)
    assert (pool.labels != pool.requested).any()


def test_a_callback_without_a_pool_says_what_it_needs():
    with pytest.raises(ValueError, match="no synthesizer: pass `pool="):
        begin(RefreshPool(), 0)
    with pytest.raises(TypeError, match="Expected a synthesizer.*'str'"):
        RefreshPool(pool=Pool(3, SHAPE, CLASSES), synthesizer="ours")


def synthesis_of(folder):
    return json.loads((folder / "synthesis.json").read_text())


@pytest.mark.slow
def test_the_terms_of_the_synthesis_are_kept_apart(tmp_path):
    _, history, _ = run(tmp_path / "whole", rounds=2)
    whole = synthesis_of(tmp_path / "whole")
    assert list(whole) == ["0", "1"]
    for terms in whole.values():
        assert set(terms) == {
            "loss",
            "cross_entropy",
            "feature_statistics",
            "competition",
            "recognized",
        }
        assert 6 * terms["recognized"] in range(7)
        rest = sum(terms.values()) - terms["loss"] - terms["recognized"]
        assert terms["loss"] == pytest.approx(rest, rel=1e-5)
    assert {len(values) for values in history.values()} == {2}
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "part", rounds=2, stop=1)
    run(tmp_path / "part", rounds=2)
    assert synthesis_of(tmp_path / "part") == whole


def test_the_terms_of_batches_are_lists_of_one_length():
    refresh = RefreshPool(3)
    refresh.bind(Pool(100, SHAPE, CLASSES), Shades())
    begin(refresh, 0, 1)
    assert refresh.synthesis == {
        "batch": [0, 1, 2, 3],
        "loss": [0.0, 0.1, 0.2, 0.3],
    }


def test_a_kill_between_a_batch_and_its_terms_loses_no_terms(tmp_path):
    class Killing(Pool):
        def add(self, *args, **kwargs):
            super().add(*args, **kwargs)
            if self.batches == 3:
                raise KeyboardInterrupt

    def start(kind):
        folder = tmp_path / "pool"
        pool = kind(100, SHAPE, CLASSES, folder=folder, run="shades")
        refresh, made = RefreshPool(3), Shades()
        refresh.bind(pool, made, path=tmp_path / "synthesis.json")
        try:
            begin(refresh, 0, 1)
        finally:
            pool.close()
        return pool.images, made.asked, refresh.synthesis

    with pytest.raises(KeyboardInterrupt):
        start(Killing)
    assert list(synthesis_of(tmp_path)) == ["0", "1"]
    images, asked, synthesis = start(Pool)
    # What batch 2 was is made once more, and the pool holds it once.
    assert [number for number, *_ in asked] == [2, 3]
    np.testing.assert_array_equal(images[:, 0, 0, 0], np.arange(12) // 3)
    assert synthesis == {"batch": [0, 1, 2, 3], "loss": [0.0, 0.1, 0.2, 0.3]}
    assert list(synthesis_of(tmp_path)) == ["0", "1", "2", "3"]
    assert start(Pool)[1:] == ([], synthesis)


def test_adaptive_deep_inversion_feeds_a_student(eagerly):
    teacher, student = learned_teacher(), tiny_teacher(1)
    synthesizer = DeepInversion(teacher, NORMALIZED, student=student)
    seen = keras.callbacks.Callback()
    trained, history, pool, synthesis = distill(
        teacher,
        student,
        synthesizer,
        callbacks=[seen],
        rounds=2,
        steps_per_round=2,
        batch_size=4,
        refresh=RefreshPool(images=6, steps=3),
        verbose=0,
        preprocessing=NORMALIZED,
        student_preprocessing=NORMALIZED,
    )
    optimizer = seen.model.optimizer
    assert type(optimizer) is ConvMuon
    assert float(optimizer.learning_rate) < 1e-6  # all steps are done
    assert trained is student and synthesis["batch"] == [0, 1]
    assert len(pool) == 12 and len(history["agreement"]) == 2
    assert (pool.images[:6] != pool.images[6:]).mean() > 0.5


@pytest.mark.parametrize("name", schedules.OPTIMIZERS)
def test_the_learning_rate_rises_and_falls(name):
    rate = schedules.OPTIMIZERS[name](1000, 0.3)._learning_rate
    assert float(rate(0)) == 0
    assert float(rate(50)) == pytest.approx(0.15)
    assert float(rate(100)) == pytest.approx(0.3)
    assert float(rate(550)) == pytest.approx(0.15, rel=1e-3)
    assert float(rate(1000)) == pytest.approx(0, abs=1e-7)


def test_bad_arguments(tmp_path):
    teacher = tiny_teacher()
    other = keras.Sequential(
        [keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(4)]
    )
    with pytest.raises(ValueError, match="same classes. Received: 3 and 4"):
        Distillation(teacher, other, NORMALIZED)
    with pytest.raises(ValueError, match="`rounds` must be.*rounds=0"):
        distill(teacher, tiny_teacher(1), rounds=0)
    with pytest.raises(
        ValueError, match="`fixed_share` must lie.*fixed_share=1"
    ):
        run_by_pixels(rounds=1, fixed_share=1)
    empty = Pool(3, SHAPE, CLASSES)
    with pytest.raises(ValueError, match="`fixed_images` must be.*empty"):
        distill(
            teacher,
            tiny_teacher(1),
            rounds=1,
            fixed_images=empty,
            preprocessing=NORMALIZED,
        )
    with pytest.raises(ValueError, match="`images` must be.*images=0"):
        RefreshPool(images=0)
    with pytest.raises(ValueError, match="`batches` must be.*batches=-1"):
        RefreshPool(batches=-1)
    with pytest.raises(ValueError, match="`when` must be.*when='now'"):
        RefreshPool(when="now")
    path = tmp_path / "state.npz"
    variable = keras.Variable(1.0)
    TrainingState(path, [variable], "run").on_epoch_end(0)
    content = path.read_bytes()
    path.write_bytes(content[:-30])
    with pytest.raises(ValueError, match="damaged"):
        TrainingState(path, [variable], "run")


def test_dictionaries_of_tfds_train_and_score_as_pairs():
    def figures(elements):
        data = tf.data.Dataset.from_tensor_slices(elements).batch(4)
        student = tiny_teacher(1)
        model = Distillation(tiny_teacher(), student, NORMALIZED, seed=3)
        model.compile(optimizer=keras.optimizers.SGD(0.1))
        model.fit(data, verbose=0, shuffle=False)
        scores = model.evaluate(data, verbose=0, return_dict=True)
        return scores, student.get_weights()

    expected, weights = figures((PIXELS, LABELS))
    # What comes first by the alphabet is not the image.
    numbers = {"id": np.arange(6), "image": PIXELS, "label": LABELS}
    scores, found = figures(numbers)
    assert scores == expected and "accuracy" in scores
    for one, other in zip(found, weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_a_distillation_saves_as_a_model_is_its_student(tmp_path):
    student = tiny_teacher(1)
    model = Distillation(tiny_teacher(), student, NORMALIZED)
    model.compile(optimizer=keras.optimizers.SGD(0.1))
    path = str(tmp_path / "{epoch}.keras")
    save = keras.callbacks.ModelCheckpoint(path)
    model.fit(PIXELS, LABELS, epochs=2, verbose=0, callbacks=[save])
    z = NORMALIZED.normalize(PIXELS)
    loaded = keras.models.load_model(tmp_path / "2.keras")
    np.testing.assert_array_equal(loaded(z), student(z))
    assert type(loaded) is type(student)
    earlier = keras.models.load_model(tmp_path / "1.keras")
    assert (np.array(earlier(z)) != np.array(student(z))).any()
    for do in (model.get_config, lambda: model.export(tmp_path / "folder")):
        with pytest.raises(NotImplementedError, match="Received"):
            do()
    assert not (tmp_path / "folder").exists()


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.slow
def test_xla_trains_by_the_same_random_numbers(steps):
    def loss(jit):
        model = Distillation(
            learned_teacher(),
            learned_teacher(1),
            NORMALIZED,
            transforms=augmentations(1.0),
            steps_per_teacher_call=steps,
        )
        model.compile(keras.optimizers.SGD(0.0), jit_compile=jit)
        found = model.train_on_batch(PIXELS, return_dict=True)
        return float(found["loss"])

    assert loss(True) == pytest.approx(loss(False), rel=1e-3)


def test_images_are_read_one_batch_at_a_time(monkeypatch):
    """That all of them are floats at once takes four times their memory."""
    model = Distillation(learned_teacher(), learned_teacher(1), NORMALIZED)
    whole = model.answers(PIXELS), model.teacher_features(PIXELS)
    sizes, cast = [], tf.cast

    def noted(x, dtype, *args):
        if getattr(x, "dtype", None) == np.uint8 and dtype == "float32":
            sizes.append(tuple(x.shape))
        return cast(x, dtype, *args)

    order = []
    monkeypatch.setattr(tf, "cast", noted)
    read = type(model)._read_student

    def logits(self, pixels, training=False):
        order.append(len(sizes))
        return read(self, pixels, training)

    monkeypatch.setattr(type(model), "_read_student", logits)
    pieces = model.answers(PIXELS, 4), model.teacher_features(PIXELS, 4)
    assert order == [1, 2]  # the second is cast when the first has been read
    for a, b in zip(whole, pieces, strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-5)


def test_a_call_and_predict_refuse_floats_as_fit_does():
    student = tiny_teacher(1)
    model = Distillation(tiny_teacher(), student, NORMALIZED)
    model.compile()
    expected = student(NORMALIZED.normalize(PIXELS), training=False)
    np.testing.assert_allclose(model(PIXELS), expected, rtol=1e-5, atol=1e-5)
    found = model.predict(PIXELS, verbose=0)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    floats = PIXELS.astype("float32") / 255
    for ask in (model, lambda x: model.predict(x, verbose=0)):
        with pytest.raises(TypeError, match="Expected uint8 pixels"):
            ask(floats)


def test_whether_xla_compiles_counts_where_it_is_given_by_position():
    model = Distillation(tiny_teacher(), tiny_teacher(1), NORMALIZED)
    model.compile("sgd", None, None, None, None, False, 1, True)
    assert model.jit_compile is True
    model.compile("sgd", jit_compile=False)
    assert model.jit_compile is False
