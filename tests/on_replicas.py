"""What several replicas must do as one device does, on any number of them.

`replicas_test.py` does it on two devices of its own process, and on four of a
process that runs this file: `python tests/on_replicas.py 4`.
"""

import sys

import numpy as np
import tensorflow as tf

from tf_deepinversion import replicas
from tf_deepinversion import transforms
from tf_deepinversion import warps

DRAWN = [
    warps.Affine(),
    warps.ResizedCrop(),
    transforms.Shift(3),
    transforms.HorizontalFlip(),
    transforms.Tone(),
    transforms.MixUp(0.7),
]


def run(strategy, function, *batches):
    """Calls a function by each replica with its own rows of some arrays.

    Returns:
        A list of what they give, nests of arrays.
    """
    data = tf.data.Dataset.from_tensors(batches)
    own = next(iter(replicas.spread(data, strategy)))
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
        numbers = transforms.draw_own(
            DRAWN, [5, 1], step, tf.shape(new)[0], tf.shape(old)[0]
        )
        for transform, drawn in zip(DRAWN[2:], numbers[2:], strict=True):
            images = transform(images, drawn[: tf.shape(new)[0]])
        return tf.concat([new, old], 0), numbers, images

    alone = transforms.draw(DRAWN, [5, 1], step, 12)
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
    batches = steps.map(lambda s: {"x": tf.fill((3 + s % 2,), s)})
    iterator = iter(replicas.spread(batches.with_options(options), strategy))
    assert drawn == []
    for step in range(6):
        own = strategy.experimental_local_results(next(iterator)["x"])
        assert drawn == list(range(step + 1))
        assert np.concatenate(own).tolist() == [step] * (3 + step % 2)


CHECKS = [check_rows, check_draws, check_batches]


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
