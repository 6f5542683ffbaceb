"""One bar of a distillation: its work, and who tells the bar of it."""

import keras
import numpy as np
import pytest
from inversions import NORMALIZED
from tiny import CLASSES
from tiny import SHAPE
from tiny import tiny_teacher

from tf_deepinversion import DeepInversion
from tf_deepinversion import Distillation
from tf_deepinversion import FastInversion
from tf_deepinversion import Pool
from tf_deepinversion import RefreshPool
from tf_deepinversion.callbacks.refresh_pool import BATCH
from tf_deepinversion.core.job_progress import JobProgress
from tf_deepinversion.distillation.training_images import SynthesizedImages
from tf_deepinversion.distillation.whole_job import step_work
from tf_deepinversion.inversion.recipes import find
from tf_deepinversion.inversion.synthesizer import Synthesizer
from tf_deepinversion.models.generator import Generator
from tf_deepinversion.networks.forward_work import forward_work

# Of the tiny teacher, by hand: kernels times positions, and outputs.
TINY = (9 * 4) * 64 + (36 * 6) * 16 + 6 * 3 + 300 * (4 * 64 + 6 * 16 + 3)


@pytest.fixture(scope="module")
def maker():
    recipe = find("distillation_pixels")
    return DeepInversion(tiny_teacher(), NORMALIZED, recipe=recipe)


def test_the_work_of_a_step(maker):
    model = Distillation(
        maker.teacher, tiny_teacher(1), NORMALIZED, steps_per_teacher_call=4
    )
    assert forward_work(maker.teacher, SHAPE) == TINY
    assert step_work(model, 8) == 8 * (3 * TINY + TINY / 4)


def test_the_work_of_batches(maker):
    assert maker.work(6, 5) == 6 * 5 * 3 * TINY
    # A stage at half the size, and one at the whole size.
    recipe = find("imagenet").replace(steps=50)
    coarse = DeepInversion(maker.teacher, NORMALIZED, recipe=recipe)
    assert coarse.work(6) == 6 * 3 * TINY * (50 / 4 + 50)
    # The images also pass through a student, and come from a generator.
    rival = DeepInversion(maker.teacher, NORMALIZED, student=tiny_teacher(1))
    assert rival.work(6, 5) == 2 * maker.work(6, 5)
    generator = Generator(SHAPE, CLASSES, latents=4, width=8)
    drawn = forward_work(generator, (4 + CLASSES,))
    drawing = FastInversion(maker.teacher, NORMALIZED, generator=generator)
    assert drawing.work(6, 5) == maker.work(6, 5) + 6 * 5 * 3 * drawn


def test_a_network_whose_work_cannot_be_counted_has_none():
    assert forward_work(lambda x, training: x + 1, SHAPE) is None


def test_a_network_may_fix_its_batch_size():
    inputs = keras.Input(batch_shape=(8, *SHAPE))
    x = keras.layers.Conv2D(2, 3, strides=2)(inputs)
    flat = keras.ops.reshape(x, (8, -1))  # only for batches of 8
    model = keras.Model(inputs, keras.layers.Dense(3)(flat))
    assert forward_work(model, SHAPE) == 9 * 18 + 18 * 3 + 300 * (18 + 3)


def test_the_work_of_grouped_convolutions():
    """Keras computes them in a function within the graph."""
    inputs = keras.Input((8, 8, 4))
    x = keras.layers.Conv2D(6, 3, groups=2)(inputs)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(3)(x))
    expected = 9 * 2 * 6 * 36 + 6 * 3 + 300 * (6 * 36 + 3)
    assert forward_work(model, (8, 8, 4)) == expected


class Parts(Synthesizer):
    """It tells of each half of a batch."""

    classes, image_shape = CLASSES, SHAPE

    def make(self, labels, batch_index, steps=None, verbose=0):
        for share in (0.5, 1.0):
            if self.on_share:
                self.on_share(share)
        self.logs = {"loss": batch_index / 10}
        return np.zeros((len(labels), *SHAPE), "uint8"), labels

    def work(self, images, steps=None):
        return steps and float(images * steps)


@pytest.mark.parametrize(
    ("refresh", "expected"),
    [
        (RefreshPool(3, 2), [6, 6, 6]),
        (RefreshPool(3, 2, 9), [27, 6, 6]),
        (RefreshPool(3, 2, batches=2), [6, 6]),
        (RefreshPool(3, 2, when="every_round", batches=2), [6] * 6),
        (RefreshPool(3), []),  # unknown
    ],
)
def test_the_work_of_all_batches(refresh, expected):
    images = SynthesizedImages(Parts(), refresh, rounds=3, capacity=50)
    assert images.work() == expected


class Told(JobProgress):
    def __init__(self):
        self.moves = []

    def skip(self, unit, done):
        self.moves.append(("skip", done))

    def advance(self, unit, done, logs=None, line=True, shown=True):
        self.moves.append((done, logs, line))


def test_a_job_is_told_of_each_part_of_a_batch():
    job, made = Told(), Parts()
    images = SynthesizedImages(made, RefreshPool(3, 2), 3, 50)
    pool = images.open(None, None, False)
    pool.fill(made, batches=1, images=3, steps=2, verbose=0)
    images.begin(0, job)
    (refresh,) = images.callbacks
    refresh.set_params({"epochs": 3, "steps": 1, "verbose": 2})
    refresh.on_epoch_begin(0)
    assert job.moves == [
        ("skip", 1),  # the pool had it
        (1.5, None, False),
        (2.0, None, False),
        (2, {"loss": 0.1}, True),
        (2.5, None, False),
        (3.0, None, False),
        (3, {"loss": 0.2}, True),
    ]
    assert made.on_share is None and isinstance(pool, Pool)


def test_a_job_that_resumes_after_its_images_has_rounds_left_only():
    job = JobProgress("Job", {BATCH: [6] * 3, "round": [1] * 3}, verbose=0)
    made = Parts()
    images = SynthesizedImages(made, RefreshPool(3, 2), 3, 50)
    images.open(None, None, False).fill(
        made, batches=3, images=3, steps=2, verbose=0
    )
    images.begin(1, job)
    (refresh,) = images.callbacks
    refresh.set_params({"epochs": 3, "steps": 1, "verbose": 2})
    refresh.on_epoch_begin(1)
    assert {unit: part.left for unit, part in job._parts.items()} == {
        BATCH: 0,
        "round": 3,
    }


def test_an_inversion_tells_of_its_steps(maker, eagerly):
    told = []
    maker.on_share = told.append
    maker.compile(steps_per_execution=2)
    maker.make([0, 1], 0, 4)
    maker.on_share = None
    # The recipe keeps snapshots after 2 and 3 steps, which end epochs.
    assert told == [0.5, 0.75, 1.0]
