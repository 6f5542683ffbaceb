"""What several replicas must do as one device does, on any number of them.

`replicas_test.py` does it on two devices of its own process, and on four of a
process that runs this file: `python tests/on_replicas.py 4`.
"""

import sys

import keras
import numpy as np
import tensorflow as tf
from tiny import CLASSES
from tiny import SHAPE
from tiny import learned_teacher
from tiny import tiny_teacher

from tf_deepinversion import Competition
from tf_deepinversion import CrossEntropy
from tf_deepinversion import DeepInversion
from tf_deepinversion import Distillation
from tf_deepinversion import Preprocessing
from tf_deepinversion import RefreshPool
from tf_deepinversion import distill
from tf_deepinversion.networks import replicas
from tf_deepinversion.networks import split_batches
from tf_deepinversion.transforms import appearance
from tf_deepinversion.transforms import base
from tf_deepinversion.transforms import resampling
from tf_deepinversion.transforms import shifts

NORMALIZED = Preprocessing(127.5, 50.0, "normalized")
DRAWN = [
    resampling.Affine(),
    resampling.ResizedCrop(),
    shifts.Shift(3),
    shifts.HorizontalFlip(),
    appearance.Tone(),
    appearance.MixUp(0.7),
]


def run(strategy, function, *batches):
    """Calls a function by each replica with its own rows of some arrays.

    Returns:
        A list of what they give, nests of arrays.
    """
    data = tf.data.Dataset.from_tensors(batches)
    own = next(iter(split_batches.spread(data, strategy)))
    found = tf.function(lambda: strategy.run(function, own))()
    return [
        tf.nest.map_structure(
            lambda x, r=r: strategy.experimental_local_results(x)[r].numpy(),
            found,
        )
        for r in range(strategy.num_replicas_in_sync)
    ]


def check_rows(strategy):
    """The places of two streams, whose numbers no replicas can share."""

    def places(new, old):
        where, count = replicas.own_rows(tf.shape(new)[0], tf.shape(old)[0])
        return tf.concat([new, old], 0), where, count

    new, old = np.arange(7), np.arange(7, 12)
    found = run(strategy, places, new, old)
    for rows, where, count in found:
        np.testing.assert_array_equal(where, rows)
        assert count == 12
    rows = np.concatenate([rows for rows, _, _ in found])
    assert sorted(rows) == list(range(12))


def check_draws(strategy):
    """Each image has the numbers and becomes what it does on one device."""
    random = np.random.default_rng(0)
    images = random.uniform(0, 255, (9, 6, 6, 1)).astype("float32")
    step = tf.constant(3)

    def changed(images, new, old):
        numbers = base.draw_own(
            DRAWN, [5, 1], step, tf.shape(new)[0], tf.shape(old)[0]
        )
        for transform, drawn in zip(DRAWN[2:], numbers[2:], strict=True):
            images = transform(images, drawn[: tf.shape(new)[0]])
        return tf.concat([new, old], 0), numbers, images

    alone = base.draw(DRAWN, [5, 1], step, 12)
    whole = images
    for transform, drawn in zip(DRAWN[2:], alone[2:], strict=True):
        whole = transform(tf.constant(whole), drawn[:9])
    found = run(strategy, changed, images, np.arange(9), np.arange(9, 12))
    for rows, numbers, _ in found:
        for one, several in zip(alone, numbers, strict=True):
            # A graph may round a cosine otherwise.
            np.testing.assert_allclose(several, one.numpy()[rows], atol=1e-6)
    np.testing.assert_allclose(
        np.concatenate([own for _, _, own in found]), whole, rtol=1e-5
    )


def check_batches(strategy):
    """Batches stay as they are, odd ones too, and none is read ahead."""
    drawn = []

    def note(step):
        drawn.append(int(step))
        return step

    steps = tf.data.Dataset.range(6).map(
        lambda step: tf.numpy_function(note, [step], tf.int64)
    )
    options = tf.data.Options()
    options.experimental_optimization.apply_default_optimizations = False
    batches = steps.map(lambda s: {"x": tf.fill((5 + s % 2,), s)})
    iterator = iter(
        split_batches.spread(batches.with_options(options), strategy)
    )
    assert drawn == []
    for step in range(6):
        own = strategy.experimental_local_results(next(iterator)["x"])
        assert drawn == list(range(step + 1))
        assert np.concatenate(own).tolist() == [step] * (5 + step % 2)


def student():
    """A tiny one whose statistics are of the batch of all replicas."""
    network = tiny_teacher(1)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = True
    return network


def on_both(strategy, function):
    """What a function gives on one device and on several, nests of arrays."""
    alone = function()
    with strategy.scope():
        found = function()
    for one, several in zip(
        tf.nest.flatten(alone), tf.nest.flatten(found), strict=True
    ):
        np.testing.assert_allclose(several, one, rtol=1e-3, atol=1e-4)
    return alone


def check_distillation(strategy):
    """Loss, metrics, weights and moving statistics; the last batch is odd."""
    random = np.random.default_rng(0)
    few = 1 if not split_batches.convolves_nothing_wrongly(strategy) else 4
    images = random.integers(0, 256, (10 + few, *SHAPE), "uint8")
    labels = np.arange(10 + few) % CLASSES
    data = tf.data.Dataset.from_tensor_slices((images, labels)).batch(5)

    def train():
        network = student()
        model = Distillation(
            learned_teacher(),
            network,
            NORMALIZED,
            class_maps=1.0,
            transforms=[shifts.Shift(2), appearance.MixUp(0.7)],
        )
        # Not one that makes steps of what is 0 but for its rounding, as the
        # gradients of biases are that a BatchNormalization takes away.
        model.compile(optimizer=keras.optimizers.SGD(0.02, weight_decay=0.1))
        history = model.fit(
            data.repeat(),
            steps_per_epoch=3,
            epochs=2,
            shuffle=False,
            verbose=0,
        ).history
        scores = model.evaluate(
            images, labels, batch_size=7, verbose=0, return_dict=True
        )
        return history, scores, network.get_weights()

    before = student().get_weights()
    history, scores, after = on_both(strategy, train)
    assert len(history["loss"]) == 2 and set(scores) > {"accuracy", "loss"}
    assert all((a != b).any() for a, b in zip(before, after, strict=True))


def check_distill(strategy):
    """A batch of images is made against the student before each round."""

    def train():
        teacher, network = learned_teacher(), student()
        synthesizer = DeepInversion(teacher, NORMALIZED, student=network)
        synthesizer.compile(loss=[CrossEntropy(), Competition(1.0)])
        _, history, pool, synthesis = distill(
            teacher,
            network,
            synthesizer,
            rounds=2,
            steps_per_round=2,
            batch_size=6,
            refresh=RefreshPool(images=8, steps=2),
            optimizer=keras.optimizers.SGD(0.02),
            steps_per_teacher_call=1,
            preprocessing=NORMALIZED,
            verbose=0,
        )
        assert pool.batches == 2
        history = {**history, "synthesis": synthesis}
        return history, pool.images / 255, network.get_weights()

    history, _, _ = on_both(strategy, train)
    assert history["synthesis"]["batch"] == [0, 1]
    assert len(history["synthesis"]["competition"]) == 2


CHECKS = [check_rows, check_draws, check_batches, check_distillation]


def main(count):
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0],
        [tf.config.LogicalDeviceConfiguration()] * count,
    )
    devices = [f"CPU:{i}" for i in range(count)]
    strategy = tf.distribute.MirroredStrategy(devices)
    for check in CHECKS:
        check(strategy)
        print(check.__name__, flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
