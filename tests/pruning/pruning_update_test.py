"""Masks in a training that was traced before, cut short, or of one's own."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from inversions import NORMALIZED
from keras import layers
from tiny import with_head

from tf_deepinversion import Distillation
from tf_deepinversion.pruning import ConstantSparsity
from tf_deepinversion.pruning import PolynomialDecay
from tf_deepinversion.pruning import UpdatePruningStep
from tf_deepinversion.pruning import masks_of
from tf_deepinversion.pruning import prune_low_magnitude
from tf_deepinversion.pruning import strip_pruning

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(32, 16)).astype("float32")
Y = (X[:, 0] > 0).astype(int)
IMAGES = RANDOM.integers(0, 256, (32, 8, 8, 1), "uint8")
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
AT_ONCE = ConstantSparsity(0.75)


def network():
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((16,)),
            layers.Dense(8, activation="relu", name="body"),
            layers.Dense(2, name="head"),
        ]
    )


def compiled(model, optimizer=None, **kwargs):
    model.compile(optimizer or keras.optimizers.SGD(0.1), LOSS, **kwargs)
    return model


def share(kernel):
    return float((keras.ops.convert_to_numpy(kernel) == 0).mean())


class Look(keras.callbacks.Callback):
    """The share of zeros of a kernel after each step."""

    def __init__(self, kernel):
        super().__init__()
        self.kernel, self.seen = kernel, []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(share(self.kernel))


def fit(model, kernel=None, callbacks=(), epochs=1, data=(X, Y), **kwargs):
    """Steps of 8 samples; the shares of zeros after each."""
    look = Look(model.get_layer("body").kernel if kernel is None else kernel)
    model.fit(
        *data,
        batch_size=8,
        epochs=epochs,
        verbose=0,
        callbacks=[*callbacks, look],
        **kwargs,
    )
    return look.seen


def in_a_model(jit):
    model = compiled(network(), jit_compile=jit)
    return model, model, model.get_layer("body").kernel, (X, Y)


def around_a_model(jit):
    inner = network()
    outer = keras.Sequential([keras.Input((16,)), inner])
    kernel = inner.get_layer("body").kernel
    return inner, compiled(outer, jit_compile=jit), kernel, (X, Y)


def in_a_distillation(jit):
    teacher, student = (with_head(layers.Dense(3)) for _ in range(2))
    student.layers[-1].kernel.assign(-student.layers[-1].kernel)
    model = Distillation(
        teacher, student, NORMALIZED, NORMALIZED, transforms=[]
    )
    model.compile(keras.optimizers.SGD(0.1), jit_compile=jit)
    return student, model, student.layers[1].kernel, (IMAGES, np.zeros(32))


KINDS = {
    "model": in_a_model,
    "nested": around_a_model,
    "distillation": in_a_distillation,
}


@pytest.mark.parametrize(
    ("kind", "jit"),
    [
        ("nested", False),
        ("model", True),
        pytest.param("model", False, marks=pytest.mark.slow),
        *(
            pytest.param("distillation", jit, marks=pytest.mark.slow)
            for jit in (False, True)
        ),
    ],
)
def test_masks_of_a_training_that_went_before(kind, jit):
    """Fit, prune, fit, strip, fit, prune, fit: without another compile."""
    pruned, trained, kernel, data = KINDS[kind](jit)

    def run(*callbacks):
        return fit(trained, kernel, callbacks, data=data)

    assert run() == [0] * 4
    for _ in range(1 if jit else 2):
        prune_low_magnitude(pruned, AT_ONCE)
        assert run(UpdatePruningStep(pruned)) == [0.75] * 4
        assert run(UpdatePruningStep(pruned)) == [0.75] * 4
        strip_pruning(pruned)
        assert share(kernel) == 0.75
        assert run()[-1] < 0.1


def test_a_distillation_knows_new_masks_without_a_callback():
    student, model, kernel, data = in_a_distillation(False)
    fit(model, kernel, data=data)
    prune_low_magnitude(student, AT_ONCE)
    for mask in masks_of(student):
        mask.update(0.75)
    assert fit(model, kernel, data=data) == [0.75] * 4
    step = model.train_function
    assert fit(model, kernel, data=data) == [0.75] * 4
    assert model.train_function is step


def test_train_on_batch_knows_new_masks():
    model = compiled(network())
    model.train_on_batch(X, Y)
    prune_low_magnitude(model, AT_ONCE)
    for mask in masks_of(model):
        mask.update(0.75)
    model.train_on_batch(X, Y)
    assert share(model.layers[0].kernel) == 0.75


def test_nothing_is_traced_anew_that_knows_the_masks():
    model = prune_low_magnitude(compiled(network()), AT_ONCE)
    fit(model, callbacks=[UpdatePruningStep()])
    step = model.train_function
    fit(model, callbacks=[UpdatePruningStep()])
    assert model.train_function is step


def test_a_schedule_that_ends_with_the_last_step_has_its_last_sparsity(
    tmp_path,
):
    """The toolkit's formula, end_step = steps, and its default frequency."""
    model = compiled(network())
    prune_low_magnitude(model, PolynomialDecay(0.5, 0.75, 0, 8), "body")
    seen = []

    class Validated(keras.callbacks.Callback):
        def on_test_begin(self, logs=None):
            seen.append(share(model.layers[0].kernel))

    update = UpdatePruningStep()
    save = keras.callbacks.ModelCheckpoint(tmp_path / "model.keras")
    with pytest.warns(UserWarning, match="longer than the training.*0.50 inst"):
        steps = fit(
            model,
            callbacks=[Validated(), save, update],
            epochs=2,
            validation_data=(X, Y),
        )
    assert steps == [0.5] * 7 + [0.75]
    assert seen == [0.5, 0.75]
    assert update.sparsities()["sparsity"] == 0.75
    saved = keras.saving.load_model(tmp_path / "model.keras")
    assert share(saved.layers[0].kernel) == 0.75


def test_an_early_end_after_the_schedule_has_its_last_sparsity():
    model = compiled(network())
    prune_low_magnitude(model, PolynomialDecay(0.5, 0.75, 0, 4), "body")
    stop = keras.callbacks.EarlyStopping("loss", patience=0, start_from_epoch=0)
    stop.on_epoch_end = lambda epoch, logs=None: setattr(
        model, "stop_training", True
    )
    with pytest.warns(UserWarning, match="longer than the training"):
        fit(model, callbacks=[stop, UpdatePruningStep()], epochs=5)
    assert share(model.layers[0].kernel) == 0.75


@pytest.mark.parametrize(
    ("schedule", "text"),
    [
        (
            PolynomialDecay(0.0, 0.75, 0, 16, frequency=4),
            "0.00 instead of 0.75",
        ),
        (ConstantSparsity(0.75, begin_step=9), "0.00 instead of 0.75"),
    ],
)
def test_a_schedule_longer_than_the_training_is_said(schedule, text):
    model = prune_low_magnitude(compiled(network()), schedule)
    with pytest.warns(UserWarning, match=text) as caught:
        fit(model, callbacks=[UpdatePruningStep()])
    assert len([w for w in caught if text in str(w.message)]) == 1
    # In a loop of one's own the end tells.
    other = prune_low_magnitude(network(), schedule)
    with pytest.warns(UserWarning, match=text):
        own_loop(other, UpdatePruningStep(other), steps=4)


def test_a_schedule_that_is_over_before_it_begins_is_said():
    model = compiled(network())
    fit(model, epochs=2)
    prune_low_magnitude(model, PolynomialDecay(0.0, 0.75, 0, 4))
    with pytest.warns(UserWarning, match="made 8 steps.*ends at step 4"):
        fit(model, callbacks=[UpdatePruningStep()])


def test_a_fitting_schedule_is_not_warned_of():
    model = prune_low_magnitude(
        compiled(network()), PolynomialDecay(0.0, 0.75, 0, 3, frequency=1)
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("error", category=UserWarning)
        fit(model, callbacks=[UpdatePruningStep()], epochs=2)
        fit(model, callbacks=[UpdatePruningStep()])
        strip_pruning(model)


def test_a_forgotten_callback_is_said():
    model = prune_low_magnitude(compiled(network()), AT_ONCE)
    with pytest.warns(UserWarning, match="dense.*UpdatePruningStep"):
        fit(model)
    with pytest.warns(UserWarning, match="No mask was ever made"):
        strip_pruning(model)
    # Masks that were made or read need no callback.
    prune_low_magnitude(model, AT_ONCE)
    for mask in masks_of(model):
        mask.update(0.75)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", category=UserWarning)
        assert fit(model) == [0.75] * 4
        strip_pruning(model)


@pytest.mark.parametrize("first", [True, False])
def test_weights_that_were_restored_are_masked_and_this_is_said(first):
    """The best epoch is the first."""
    model = compiled(network())
    schedule = PolynomialDecay(0.25, 0.75, 0, 8, frequency=1)
    prune_low_magnitude(model, schedule, "body")
    stop = keras.callbacks.EarlyStopping(
        "loss", mode="min", patience=9, restore_best_weights=True
    )
    growing = iter(range(9))
    stop.get_monitor_value = lambda logs: next(growing)
    callbacks = [UpdatePruningStep(), stop]
    callbacks = callbacks if first else callbacks[::-1]
    with pytest.warns(UserWarning, match="restored weights.*start_from_epoch"):
        fit(model, callbacks=callbacks, epochs=4)
    assert stop.best_epoch == 0
    assert share(model.layers[0].kernel) == 0.75
    assert not vars(model.history).keys() & {"on_train_end"}


def own_loop(model, callback, steps=8, optimizer=None, step=None):
    """The toolkit's recipe, four steps an epoch."""
    optimizer = optimizer or keras.optimizers.SGD(0.1)

    @tf.function
    def one():
        with tf.GradientTape() as tape:
            loss = LOSS(Y, model(X, training=True))
        variables = model.trainable_variables
        optimizer.apply_gradients(
            zip(tape.gradient(loss, variables), variables, strict=True)
        )

    step, seen = step or one, []
    callback.on_train_begin()
    for i in range(steps):
        callback.on_train_batch_begin(i)
        step()
        seen.append(share(model.layers[0].kernel))
        if i % 4 == 3:
            callback.on_epoch_end(i // 4)
    callback.on_train_end()
    return seen


@pytest.mark.parametrize("how", ["model", "set_model", "optimizer"])
def test_a_loop_of_ones_own(how):
    schedule = PolynomialDecay(0.0, 0.75, 0, 4, frequency=2)
    model = prune_low_magnitude(network(), schedule, "body")
    callback = UpdatePruningStep(model if how == "model" else None)
    optimizer = keras.optimizers.SGD(0.1)
    if how == "optimizer":
        model.optimizer = optimizer
    if how != "model":
        callback.set_model(model)
    seen = own_loop(model, callback, optimizer=optimizer)
    # 0.65625 of 128 weights.
    assert seen == pytest.approx([0, 0, 84 / 128, 84 / 128] + [0.75] * 4)


def test_a_loop_that_would_not_keep_the_masks_is_refused():
    model, optimizer = network(), keras.optimizers.SGD(0.1)

    @tf.function
    def before():
        with tf.GradientTape() as tape:
            loss = LOSS(Y, model(X, training=True))
        variables = model.trainable_variables
        optimizer.apply(tape.gradient(loss, variables), variables)

    before()
    prune_low_magnitude(model, AT_ONCE)
    with pytest.raises(
        ValueError, match="Create its `tf.function`.*body/kernel"
    ):
        own_loop(model, UpdatePruningStep(model), step=before)
    with pytest.raises(ValueError, match="set_model.*model=None"):
        UpdatePruningStep().on_train_begin()


def test_averages_of_several_optimizers_are_masked():
    model = network()
    maps = keras.optimizers.OptimizerMap(
        default_optimizer=keras.optimizers.SGD(0.1)
    )
    maps[".*body.*"] = keras.optimizers.Adam(0.01, use_ema=True)
    compiled(model, keras.optimizers.MultiOptimizer(maps))
    prune_low_magnitude(model, AT_ONCE, "body")
    swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
    fit(model, callbacks=[UpdatePruningStep(), swap], epochs=2)
    assert share(model.layers[0].kernel) == 0.75
