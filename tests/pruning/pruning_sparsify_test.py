"""A sparse network by its teacher's answers; a kill changes nothing."""

import json

import keras
import numpy as np
import pytest
from pruned import NORMALIZED
from pruned import POOL
from pruned import Killed
from pruned import chain
from pruned import conv
from pruned import images
from pruned import require_augmentations
from rates import Rates
from rates import cosine
from tiny import learned_teacher

from tf_deepinversion.pruning import ConstantSparsity
from tf_deepinversion.pruning import masks_of
from tf_deepinversion.pruning import prune
from tf_deepinversion.pruning import prune_low_magnitude
from tf_deepinversion.pruning import recover
from tf_deepinversion.pruning import sparsify


def run(teacher=None, **kwargs):
    arguments = {"target": 0.75, "steps": 8, "steps_per_epoch": 2}
    arguments |= {"run": "pool", "verbose": 0, **kwargs}
    if arguments["steps"]:
        arguments["preprocessing"] = NORMALIZED
    return sparsify(teacher or learned_teacher(), images, **arguments)


@pytest.mark.parametrize("steps", [0, 8])
def test_each_layer_keeps_a_quarter(steps):
    teacher = learned_teacher()
    before = teacher.get_weights()
    student, history, left = run(teacher, steps=steps)
    for layer in student.layers:
        if layer.name in left:
            kernel = keras.ops.convert_to_numpy(layer.kernel)
            size, stay = left[layer.name]
            assert size == kernel.size
            assert np.count_nonzero(kernel) == stay == round(size * 0.25)
    assert len(left) == 3 and masks_of(student) == []
    assert len(history.get("loss", [])) == steps // 2
    for a, b in zip(before, teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("steps", "frequency"),
    [
        (2, None),
        (8, 3),
        pytest.param(8, 6, marks=pytest.mark.slow),
        pytest.param(8, 100, marks=pytest.mark.slow),
    ],
)
def test_the_target_is_reached_in_any_number_of_steps(steps, frequency):
    left = run(steps=steps, frequency=frequency).kept
    assert all(stay == round(0.25 * size) for size, stay in left.values())


def test_images_are_varied_as_for_a_student(tmp_path):
    require_augmentations(run, tmp_path)


def test_training_helps():
    teacher = learned_teacher()
    z = NORMALIZED.normalize(POOL.images)
    gaps = [
        np.abs(np.asarray(run(teacher, steps=n)[0](z) - teacher(z))).mean()
        for n in (0, 60)
    ]
    assert gaps[1] < 0.8 * gaps[0]


def test_blocks_of_chosen_layers():
    student, history, left = run(policy=keras.layers.Conv2D, block_size=(1, 2))
    assert len(left) == 2
    kernel = keras.ops.convert_to_numpy(student.layers[1].kernel)
    pairs = (kernel != 0).reshape(-1, 2)
    assert (pairs[:, 0] == pairs[:, 1]).all()


@pytest.mark.slow
@pytest.mark.parametrize("kill_at", [2, 3])
def test_killed_and_resumed_it_ends_the_same(tmp_path, kill_at):
    whole = run(folder=tmp_path / "whole").student

    class Kill(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == kill_at:
                raise Killed

    with pytest.raises(Killed):
        run(folder=tmp_path / "part", callbacks=[Kill()])
    resumed = run(folder=tmp_path / "part").student
    for a, b in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_bad_target():
    with pytest.raises(ValueError, match="target=1.0"):
        run(target=1.0)
    with pytest.raises(ValueError, match="`steps` must be.*2 or more.*steps=1"):
        run(steps=1)
    with pytest.raises(ValueError, match="`frequency` must be.*frequency=0"):
        run(frequency=0)


def test_what_is_no_sound_network():
    with pytest.raises(TypeError, match="Expected a `keras.Model`.*str"):
        sparsify("network.keras", images, target=0.5, steps=0)
    teacher = learned_teacher()
    teacher.layers[1].kernel.assign(teacher.layers[1].kernel * np.inf)
    with pytest.raises(ValueError, match="not finite.*kernel"):
        sparsify(teacher, images, target=0.5, steps=0)


def test_layers_of_equal_name_are_counted_apart():
    blocks = [
        keras.Sequential(
            [keras.Input((8, 8, i)), conv(o, name="conv")], name=name
        )
        for i, o, name in [(1, 4, "first"), (4, 2, "second")]
    ]
    head = keras.layers.Dense(3, name="head")
    flat = keras.layers.GlobalAveragePooling2D()
    teacher = chain(*blocks, flat, head, shape=(8, 8, 1))
    student, history, left = run(teacher, target=0.5)
    assert left == {
        "first/conv": (36, 18),
        "second/conv": (72, 36),
        "head": (6, 3),
    }
    logged = {f"sparsity/{name}" for name in left}
    assert logged == {x for x in history if x.startswith("sparsity/")}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_weights_are_counted_exactly_in_any_precision(dtype):
    """A sum of ones in bfloat16 ends at 256, one in float16 at 2,048."""
    flat = keras.layers.Flatten(dtype=dtype)
    head = keras.layers.Dense(80, name="head", dtype=dtype)
    model = chain(flat, head, shape=(8, 8, 1))
    # Some weights are zero before.
    kernel = np.random.default_rng(0).normal(size=(64, 80))
    kernel[:48] = 0
    head.kernel.assign(kernel)
    student = sparsify(model, images, target=0.5, steps=0, verbose=0)
    assert student.kept == {"head": (5120, 1280)}
    assert json.loads(json.dumps(student.kept)) == {"head": [5120, 1280]}
    prune_low_magnitude(model, ConstantSparsity(0.75))
    (mask,) = masks_of(model)
    assert mask.sparsity == 0
    mask.update(0.75)
    assert mask.sparsity == 0.75


def test_a_frozen_teacher_is_refused_at_once():
    teacher = learned_teacher()
    teacher.trainable = False
    with pytest.raises(ValueError, match="`model.trainable = True`.*Received"):
        run(teacher)
    assert len(run(teacher, steps=0).kept) == 3


def test_frozen_weights_that_lose_entries_are_warned_of():
    teacher = learned_teacher()
    teacher.layers[1].trainable = False
    with pytest.warns(UserWarning) as warned:
        run(teacher, steps=2)
    (found,) = [x for x in warned if "1 of the 3 weights" in str(x.message)]
    assert found.filename == __file__


@pytest.mark.parametrize("job", ["sparsify", "recover", "prune"])
def test_the_rate_falls_over_the_steps_of_whole_epochs(job):
    rates = Rates()
    given = {
        "steps_per_epoch": 2,
        "learning_rate": 0.01,
        "preprocessing": NORMALIZED,
        "callbacks": [rates],
        "run": "pool",
        "verbose": 0,
    }
    teacher = learned_teacher()
    if job == "sparsify":
        sparsify(teacher, images, target=0.5, steps=3, **given)
    elif job == "recover":
        recover(teacher, learned_teacher(), images, steps=3, **given)
    else:
        given |= {"rounds": 2, "steps_per_round": 3, "final_steps": 3}
        given |= {"criterion": "filter_norm", "ranking_batches": 1}
        prune(teacher, images, target=0.2, **given)
    # Three steps are two epochs of two.
    trainings = 2 if job == "prune" else 1
    expected = [*cosine(0.01, 4)] * trainings
    np.testing.assert_allclose(rates.found, expected, rtol=1e-5)
