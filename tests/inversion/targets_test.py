"""Inversion by targets: one objective, however the batch is cut."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from inversions import LABELS
from inversions import NORMALIZED
from inversions import TERMS
from inversions import two_replicas
from modern import modern
from tiny import SHAPE
from tiny import tiny_teacher

import tf_deepinversion as di

IMAGES = np.random.default_rng(0).integers(0, 256, (20, *SHAPE), "uint8")
LEARN = [*LABELS, 2, 1, 0, 2]


def made(teacher, targets, micro_batch=None, strategy=None, **kwargs):
    """Images and losses of a few steps by plain descent."""
    strategy = strategy or tf.distribute.get_strategy()
    with strategy.scope():
        model = di.DeepInversion(
            teacher, NORMALIZED, targets=targets, recipe="ours", **kwargs
        )
        model.compile(keras.optimizers.SGD(0.3), TERMS, micro_batch=micro_batch)
    history = model.fit(LEARN, steps=6, verbose=0).history
    return model.images.astype(int), history


@pytest.mark.slow
def test_replicas_and_micro_batches_do_what_one_device_does():
    teacher = modern()
    targets = di.FeatureTargets.measure(teacher, IMAGES, None, NORMALIZED)
    images, history = made(teacher, targets)
    assert history["feature_statistics"][-1] > 0.1
    for kwargs in ({"micro_batch": 2}, {"strategy": two_replicas()}):
        found, other = made(teacher, targets, **kwargs)
        assert np.abs(found - images).max() <= 1
        np.testing.assert_allclose(other["loss"], history["loss"], rtol=1e-4)


def test_the_statistics_of_batch_norms_as_targets_change_nothing(eagerly):
    teacher = tiny_teacher()
    targets = di.FeatureTargets.from_weights(teacher)
    images, history = made(teacher, None)
    found, other = made(teacher, targets)
    assert np.abs(found - images).max() <= 1
    np.testing.assert_allclose(other["loss"], history["loss"], rtol=1e-4)


@pytest.mark.slow
def test_images_get_the_statistics_of_the_targets():
    teacher = modern()
    # Those that weights imply contradict each other in so random a network.
    for targets, share in (
        (di.FeatureTargets.measure(teacher, IMAGES, None, NORMALIZED), 0.6),
        (di.FeatureTargets.from_weights(teacher), 0.95),
    ):
        model = di.DeepInversion(teacher, NORMALIZED, targets=targets)
        model.compile(loss=[di.FeatureStatistics(1.0, form="relative")])
        history = model.fit(LEARN, steps=40, steps_per_epoch=1, verbose=0)
        distances = history.history["feature_statistics"]
        assert distances[-1] < share * distances[0], targets.source


def test_a_run_of_other_targets_is_another(tmp_path, eagerly):
    teacher = modern()
    for i, source in enumerate((IMAGES, IMAGES[:10])):
        targets = di.FeatureTargets.measure(teacher, source, None, NORMALIZED)
        model = di.DeepInversion(teacher, NORMALIZED, targets=targets)
        if i:
            with pytest.raises(ValueError, match="another run"):
                model.fit(
                    LABELS, 2, verbose=0, checkpoint=tmp_path / "state.npz"
                )
        else:
            model.fit(LABELS, 2, verbose=0, checkpoint=tmp_path / "state.npz")


@pytest.mark.slow
def test_pools_and_students_are_made_by_targets():
    teacher, student = modern(), tiny_teacher()
    targets = di.FeatureTargets.measure(teacher, IMAGES, None, NORMALIZED)
    given = {"preprocessing": NORMALIZED, "targets": targets, "verbose": 0}
    pool = di.synthesize(
        teacher, batches=1, images=6, first_steps=2, steps=2, **given
    )
    assert len(pool) == 6
    plan = {"rounds": 1, "steps_per_round": 2, "batch_size": 4}
    refresh = di.RefreshPool(images=6, steps=2)
    found = di.distill(teacher, student, refresh=refresh, **plan, **given)
    assert found.synthesis["feature_statistics"][0] > 0
    with pytest.raises(ValueError, match="`targets` are for images that are"):
        di.distill(teacher, tiny_teacher(1), pool, **plan, **given)
