"""Magnitude masks: schedules, patterns, and training that keeps the zeros."""

import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from inversions import two_replicas
from keras import layers

from tf_deepinversion.callbacks.training_state import TrainingState
from tf_deepinversion.incremental import grow_head
from tf_deepinversion.pruning import ChannelGraph
from tf_deepinversion.pruning import ConstantSparsity
from tf_deepinversion.pruning import PolynomialDecay
from tf_deepinversion.pruning import UpdatePruningStep
from tf_deepinversion.pruning import load_masks
from tf_deepinversion.pruning import masks_of
from tf_deepinversion.pruning import prune_low_magnitude
from tf_deepinversion.pruning import save_masks
from tf_deepinversion.pruning import strip_pruning
from tf_deepinversion.pruning.masks import patterns

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(32, 6, 6, 2)).astype("float32")
Y = RANDOM.integers(0, 3, 32)


def small_model(seed=0, **kernel):
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            layers.Conv2D(4, 3, name="conv", **kernel),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Flatten(),
            layers.Dense(3, name="head"),
        ]
    )


def compiled(model, optimizer="sgd", **kwargs):
    model.compile(
        optimizer,
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        **kwargs,
    )
    return model


def fit(model, epochs=3, callbacks=(), **kwargs):
    return model.fit(
        X,
        Y,
        batch_size=8,
        epochs=epochs,
        shuffle=False,
        verbose=0,
        callbacks=[UpdatePruningStep(), *callbacks],
        **kwargs,
    )


def zeros(weights):
    return int((keras.ops.convert_to_numpy(weights) == 0).sum())


def test_schedules_are_their_formulas():
    decay = PolynomialDecay(0.2, 0.9, 10, 110, power=3, frequency=20)
    for step in (0, 10, 30, 55, 110, 200):
        p = np.clip((step - 10) / 100, 0, 1)
        expected = 0.9 + (0.2 - 0.9) * (1 - p) ** 3
        assert decay(step)[1] == pytest.approx(expected, rel=1e-12)
    due = [step for step in range(200) if decay(step)[0]]
    assert due == [10, 30, 50, 70, 90, 110]
    # At its end, too, whatever the frequency.
    for frequency, steps in ((30, [10, 40, 70, 100, 110]), (500, [10, 110])):
        decay = PolynomialDecay(0.2, 0.9, 10, 110, frequency=frequency)
        assert [s for s in range(200) if decay(s)[0]] == steps
        assert decay.last_update(150) == 110 and decay(110)[1] == 0.9
    constant = ConstantSparsity(0.4, 5, frequency=7)
    assert [s for s in range(30) if constant(s)[0]] == [5, 12, 19, 26]
    assert constant(3) == (False, 0.4)
    assert constant.last_update(4) is None and constant.last_update(18) == 12
    for schedule in (decay, constant):
        again = type(schedule).from_config(schedule.get_config())
        assert again.get_config() == schedule.get_config()


def test_bad_schedules():
    with pytest.raises(ValueError, match="end after it begins.*end_step=3"):
        ConstantSparsity(0.5, begin_step=4, end_step=3)
    with pytest.raises(ValueError, match="`end_step` must be greater"):
        PolynomialDecay(0.0, 0.5, 4, -1)
    with pytest.raises(ValueError, match=r"\[0, 1\).*target_sparsity=1"):
        ConstantSparsity(1)
    with pytest.raises(ValueError, match="`frequency` must be"):
        ConstantSparsity(0.5, frequency=0)
    with pytest.raises(ValueError, match="`power` must be positive"):
        PolynomialDecay(0.0, 0.5, 0, 4, power=0)


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.5, 0.87, 0.999])
def test_the_largest_stay_exactly(sparsity):
    weights = RANDOM.normal(size=(3, 3, 5, 7))
    mask = patterns.unstructured(weights, sparsity)
    k = max(1, round(weights.size * (1 - sparsity)))
    assert mask.sum() == k
    threshold = np.sort(np.abs(weights).ravel())[-k]
    np.testing.assert_array_equal(mask, np.abs(weights) >= threshold)


def test_ties_are_broken_by_index():
    mask = patterns.unstructured(np.ones((2, 4)), 0.5)
    assert mask.ravel().tolist() == [1, 1, 1, 1, 0, 0, 0, 0]


@pytest.mark.parametrize("pooling", ["AVG", "MAX"])
def test_blocks(pooling):
    weights = RANDOM.normal(size=(2, 5, 6))
    mask = patterns.blocks(weights, 0.5, (2, 4), pooling)
    values = {}
    for a in range(2):
        for i in range(0, 5, 2):
            for j in range(0, 6, 4):
                block = np.abs(weights[a, i : i + 2, j : j + 4])
                value = block.mean() if pooling == "AVG" else block.max()
                values[a, i, j] = value
    best = sorted(values, key=values.get)[-6:]
    expected = np.zeros(weights.shape)
    for a, i, j in best:
        expected[a, i : i + 2, j : j + 4] = 1
    np.testing.assert_array_equal(mask, expected)


def test_two_of_four():
    weights = RANDOM.normal(size=(3, 8, 5))
    mask = patterns.n_of_m(weights, 2, 4)
    for a in range(3):
        for o in range(5):
            for i in (0, 4):
                column = np.abs(weights[a, i : i + 4, o])
                expected = column >= np.sort(column)[2]
                np.testing.assert_array_equal(mask[a, i : i + 4, o], expected)
    ragged = patterns.n_of_m(RANDOM.normal(size=(6, 2)), 2, 4)
    assert ragged[:4].sum(0).tolist() == [2, 2]
    assert ragged[4:].sum(0).tolist() == [2, 2]


def test_groups_are_of_inputs_wherever_a_kernel_has_them():
    """By the layer's own answer: what an output adds up over its inputs."""
    x = inputs = keras.Input((4, 4, 8))
    x = layers.Conv2DTranspose(6, 2, name="larger")(x)
    x = layers.Reshape((25, 6))(x)
    x = layers.MultiHeadAttention(2, 4, name="attention")(x, x)
    wide = layers.EinsumDense("abc,dec->abde", (None, 2, 3), name="wide")
    x = layers.Reshape((25, 6))(wide(x))
    model = keras.Model(inputs, layers.Dense(4, name="head")(x))
    prune_low_magnitude(model, ConstantSparsity(0.5), sparsity_m_by_n=(1, 2))
    for mask in masks_of(model):
        mask.update(0.5)
        kept = mask.mask.numpy()
        if mask.layer.name in ("larger", "wide"):  # (..., outputs, inputs)
            rows = np.moveaxis(kept, -1, 0)
        elif mask.layer.name == "attention_output":  # (heads, size, outputs)
            rows = kept.reshape(8, -1)
        else:  # (inputs, heads, size), or a matrix
            rows = kept.reshape(len(kept), -1)
        pairs = rows.reshape(len(rows) // 2, 2, -1).sum(1)
        np.testing.assert_array_equal(pairs, 1, err_msg=mask.layer.name)
    assert len(masks_of(model)) == 7


def test_an_equation_without_inputs_has_no_groups():
    table = layers.EinsumDense("ab,bc->abc", output_shape=(8, 4), name="table")
    model = keras.Sequential([keras.Input((8,)), table])
    with pytest.raises(ValueError, match="ab,bc->abc' of 'table'"):
        prune_low_magnitude(model, ConstantSparsity(0.5), block_size=(2, 2))


OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True),
    "adamw": lambda: keras.optimizers.AdamW(0.01, weight_decay=0.1),
    "clipnorm": lambda: keras.optimizers.SGD(0.1, momentum=0.9, clipnorm=0.1),
    "ema": lambda: keras.optimizers.Adam(0.01, use_ema=True),
    "ema_overwrites": lambda: keras.optimizers.Adam(
        0.01, use_ema=True, ema_overwrite_frequency=3
    ),
}


@pytest.mark.parametrize(
    ("optimizer", "jit"),
    [
        ("sgd", False),
        ("clipnorm", False),
        ("ema_overwrites", False),
        ("ema", True),
        pytest.param("adamw", False, marks=pytest.mark.slow),
        pytest.param("ema", False, marks=pytest.mark.slow),
        pytest.param("adamw", True, marks=pytest.mark.slow),
    ],
)
def test_training_keeps_exactly_k(optimizer, jit):
    model = small_model()
    prune_low_magnitude(
        model, PolynomialDecay(0.0, 0.75, 0, 8, frequency=2), policy="conv"
    )
    compiled(model, OPTIMIZERS[optimizer](), jit_compile=jit)
    before = keras.ops.convert_to_numpy(model.layers[-1].kernel)
    logs = fit(model).history
    kernel = model.get_layer("conv").kernel
    assert zeros(kernel) == 72 - 18
    assert logs["sparsity/conv"] == pytest.approx(
        [1 - round(72 * (1 - s)) / 72 for s in (0.43359375, 0.73828125, 0.75)]
    )
    assert zeros(model.layers[-1].kernel) == 0
    assert not np.allclose(before, model.layers[-1].kernel)


@pytest.mark.parametrize("first", [True, False])
def test_averages_that_are_swapped_in_are_masked(first, eagerly):
    seen = []

    class Look(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append(zeros(model.get_layer("conv").kernel))

    model = prune_low_magnitude(small_model(), ConstantSparsity(0.5), "conv")
    compiled(model, keras.optimizers.Adam(0.01, use_ema=True))
    swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
    callbacks = [UpdatePruningStep(), swap]
    callbacks = callbacks if first else callbacks[::-1]
    model.fit(X, Y, epochs=3, verbose=0, callbacks=[*callbacks, Look()])
    assert seen == [36, 36, 36]
    assert zeros(model.get_layer("conv").kernel) == 36


def test_a_constraint_that_was_there_holds_too(eagerly):
    model = small_model(kernel_constraint=keras.constraints.MaxNorm(0.2))
    prune_low_magnitude(model, ConstantSparsity(0.5))
    fit(compiled(model, keras.optimizers.SGD(0.5)))
    kernel = keras.ops.convert_to_numpy(model.get_layer("conv").kernel)
    assert np.linalg.norm(kernel, axis=0).max() <= 0.2 + 1e-5
    assert zeros(kernel) == 36
    strip_pruning(model)
    constraint = model.get_layer("conv").kernel.constraint
    assert isinstance(constraint, keras.constraints.MaxNorm)
    assert model.get_layer("head").kernel.constraint is None
    assert masks_of(model) == [] and zeros(kernel) == 36


def test_under_a_strategy():
    strategy = two_replicas()
    with strategy.scope():
        model = small_model()
        compiled(model, keras.optimizers.SGD(0.1, momentum=0.9))
    prune_low_magnitude(model, ConstantSparsity(0.5))
    fit(model)
    kernel = model.get_layer("conv").kernel
    for replica in strategy.experimental_local_results(kernel.value):
        assert zeros(replica) == 36


def test_what_is_saved_is_plain_keras(tmp_path, eagerly):
    model = prune_low_magnitude(small_model(), ConstantSparsity(0.5))
    fit(compiled(model))
    model.save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        config = archive.read("config.json").decode()
    assert "mask" not in config.lower() and "deepinversion" not in config
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(X), model(X))
    assert len(again.weights) == len(model.weights) == 8
    assert masks_of(again) == []


def test_masks_know_their_weights_by_place(tmp_path):
    """Names of layers differ, and frozen weights come last in Keras."""

    def nameless():
        return keras.Sequential(
            [keras.Input((4,)), layers.Dense(4), layers.Dense(4)]
        )

    model, twin = (
        prune_low_magnitude(nameless(), ConstantSparsity(0.5)) for _ in "ab"
    )
    for mask in masks_of(model):
        mask.update(0.5)
    save_masks(tmp_path / "masks.npz", model)
    twin.layers[0].trainable = False
    load_masks(tmp_path / "masks.npz", twin)
    for one, other in zip(model.layers, twin.layers, strict=True):
        np.testing.assert_array_equal(
            one.kernel.constraint.mask, other.kernel.constraint.mask
        )


def test_what_was_never_called_or_has_lora_is_told_apart():
    class Unused(keras.Model):
        def __init__(self):
            super().__init__()
            self.unused, self.used = layers.Dense(3), layers.Dense(2)

        def call(self, x):
            return self.used(x)

    model = Unused()
    model(np.zeros((1, 4), "float32"))
    prune_low_magnitude(model, ConstantSparsity(0.5))
    assert [mask.layer for mask in masks_of(model)] == [model.used]
    adapted = small_model()
    adapted.layers[-1].enable_lora(2)
    with pytest.raises(ValueError, match="without LoRA.*'head' with LoRA"):
        prune_low_magnitude(adapted, ConstantSparsity(0.5))
    with pytest.raises(ValueError, match="'head' with LoRA"):
        ChannelGraph(adapted)
    with pytest.raises(ValueError, match="'head' with LoRA"):
        grow_head(adapted, 9)


def test_masks_are_saved_beside(tmp_path, eagerly):
    model = prune_low_magnitude(small_model(), ConstantSparsity(0.5))
    fit(compiled(model), epochs=1)
    save_masks(tmp_path / "masks.npz", model)
    other = prune_low_magnitude(small_model(1), ConstantSparsity(0.5))
    load_masks(tmp_path / "masks.npz", other)
    for a, b in zip(masks_of(model), masks_of(other), strict=True):
        np.testing.assert_array_equal(a.mask, b.mask)
        assert zeros(b.variable) == zeros(a.variable)
    part = prune_low_magnitude(small_model(), ConstantSparsity(0.5), "conv")
    with pytest.raises(ValueError, match="other weights.*with 2 masks"):
        load_masks(tmp_path / "masks.npz", part)
    with pytest.raises(FileNotFoundError):
        load_masks(tmp_path / "none.npz", part)


def run(path, kill_at=None):
    """Six epochs of two steps; the state is saved after each."""
    model = small_model()
    schedule = PolynomialDecay(0.0, 0.8, 1, 9, frequency=3)
    prune_low_magnitude(model, schedule)
    compiled(model, keras.optimizers.SGD(0.1, momentum=0.9))
    model.optimizer.build(model.trainable_variables)
    masks = [mask.mask for mask in masks_of(model)]
    state = TrainingState(
        path, [*model.variables, *model.optimizer.variables, *masks], "run"
    )

    class Kill(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if int(model.optimizer.iterations) == kill_at:
                raise KeyboardInterrupt

    model.fit(
        X,
        Y,
        batch_size=16,
        epochs=6,
        initial_epoch=state.epoch,
        shuffle=False,
        verbose=0,
        callbacks=[UpdatePruningStep(), Kill(), state],
    )
    return model.get_weights()


@pytest.mark.parametrize(
    "kill_at",
    [
        pytest.param(1, marks=pytest.mark.slow),
        4,
        pytest.param(9, marks=pytest.mark.slow),
    ],
)
def test_killed_and_resumed_it_ends_the_same(tmp_path, kill_at):
    whole = run(tmp_path / "whole.npz")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "part.npz", kill_at)
    resumed = run(tmp_path / "part.npz")
    for a, b in zip(whole, resumed, strict=True):
        np.testing.assert_array_equal(a, b)


def test_continued_without_its_masks_it_stays_sparse(tmp_path, eagerly):
    model = prune_low_magnitude(
        small_model(), PolynomialDecay(0.0, 0.5, 0, 4, frequency=2)
    )
    fit(compiled(model), epochs=2)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    prune_low_magnitude(again, PolynomialDecay(0.0, 0.5, 0, 4, frequency=2))
    kernel = again.get_layer("conv").kernel
    where = keras.ops.convert_to_numpy(kernel) == 0
    fit(again, epochs=1)
    now = keras.ops.convert_to_numpy(kernel)
    np.testing.assert_array_equal(now == 0, where)


def test_policies():
    def names(policy):
        model = prune_low_magnitude(
            small_model(), ConstantSparsity(0.5), policy
        )
        return [mask.layer.name for mask in masks_of(model)]

    assert names(None) == ["conv", "head"]
    assert names("head") == names(layers.Dense) == ["head"]
    assert names(["head", layers.Conv2D]) == ["conv", "head"]
    assert names(lambda layer: layer.name == "conv") == ["conv"]
    with pytest.raises(ValueError, match="do not exist.*'tail'"):
        names("tail")
    with pytest.raises(ValueError, match="No layer"):
        names(lambda layer: False)


def test_the_pattern_is_chosen_by_arguments(eagerly):
    model = prune_low_magnitude(
        small_model(), ConstantSparsity(0.5), "head", sparsity_m_by_n=(2, 4)
    )
    fit(compiled(model), epochs=1)
    groups = keras.ops.convert_to_numpy(model.layers[-1].kernel)
    groups = groups.reshape(-1, 4, 3)
    assert ((groups == 0).sum(1) == 2).all()
    model = prune_low_magnitude(
        small_model(), ConstantSparsity(0.5), "head", block_size=(8, 3)
    )
    fit(compiled(model), epochs=1)
    blocks = keras.ops.convert_to_numpy(model.layers[-1].kernel) == 0
    assert (blocks.reshape(8, -1).mean(1) * 2).sum() == 8
    assert set(blocks.reshape(8, -1).mean(1)) == {0.0, 1.0}


def test_sparsity_goes_to_tensorboard(tmp_path, eagerly):
    model = prune_low_magnitude(small_model(), ConstantSparsity(0.5))
    update = UpdatePruningStep(log_dir=tmp_path)
    compiled(model).fit(X, Y, epochs=3, verbose=0, callbacks=[update])
    found, paths = {}, list(tmp_path.iterdir())
    assert len(paths) == 1  # of all epochs
    for path in paths:
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                found[value.tag] = float(tf.make_ndarray(value.tensor))
    assert found == pytest.approx(
        {"sparsity": 0.5, "sparsity/conv": 0.5, "sparsity/head": 0.5}
    )


def test_a_model_in_training_inside_another():
    model = prune_low_magnitude(small_model(), ConstantSparsity(0.5))
    outer = compiled(keras.Sequential([keras.Input((6, 6, 2)), model]))
    outer.fit(X, Y, verbose=0, callbacks=[UpdatePruningStep(model)])
    assert zeros(model.get_layer("conv").kernel) == 36


def test_bad_input():
    model, schedule = small_model(), ConstantSparsity(0.5)
    with pytest.raises(TypeError, match="schedule=0.5"):
        prune_low_magnitude(model, 0.5)
    with pytest.raises(ValueError, match="no weights yet"):
        prune_low_magnitude(keras.Sequential([layers.Dense(2)]), schedule)
    for wrong, message in (
        ({"block_size": (0, 2)}, "block_size"),
        ({"block_pooling_type": "SUM"}, "AVG"),
        ({"block_size": 2}, "block_size"),
        ({"block_size": (1.0, 2)}, "block_size"),
        ({"sparsity_m_by_n": (4, 4)}, "0 < m < n"),
        ({"sparsity_m_by_n": 2}, "0 < m < n"),
        ({"sparsity_m_by_n": (0, 4)}, "0 < m < n"),
        ({"sparsity_m_by_n": (2, 4), "block_size": (2, 2)}, "Pass either"),
    ):
        with pytest.raises(ValueError, match=message):
            prune_low_magnitude(model, schedule, **wrong)
    with pytest.raises(ValueError, match="no masks"):
        strip_pruning(model)
    with pytest.raises(ValueError, match="no masks"):
        fit(compiled(model))
    prune_low_magnitude(model, schedule)
    with pytest.raises(ValueError, match="already pruned"):
        prune_low_magnitude(model, schedule)
