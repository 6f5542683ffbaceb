r"""Measures how much sooner other images are as good as the paper's.

    python benchmarks/time_to_quality.py \
        --idx_dir=/usr/share/datasets/fashion-mnist

The slow way is `DeepInversion` with the paper's recipe: it fills a pool, and a
student trains on the pool. The fast way is one of two. With --fast=pixels it is
the same with the recipe --fast_recipe and other numbers. With --fast=generator
a `FastInversion` learns beside the same student, for the same steps. With
--fast_start=narrow the student of fast pixels starts from half of the teacher's
channels, and is the same network if --student has half of the teacher's width;
the seconds of ranking the channels count as synthesis.

Quality is the student's accuracy after each round on held-out images, which no
student trains on: the last 5,000 training images of --idx_dir, or --held_out.
Without both it is measured on the test images that ship. `scored_on` names the
images. The target is the largest accuracy of the slow way.

- `speedup_measured` divides the seconds for the slow pool by the fast way's
  seconds of synthesis until its student reached the target.
- `speedup_extrapolated` is the same for --extrapolated images, which nobody
  made. The seconds of pixels grow with the number of images, for both ways. A
  generator that has reached the target draws all images, at its measured
  seconds per image.

Both are null if the fast way never reaches the target. Neither includes the
student's own steps. --dtype sets the precision of the fast way and of both
students; the slow way makes its images as published.

--output holds `slow/` and `generator/` or `pixels/`, each with `pool/`, and the
curves. Repeating the same command resumes a stopped run, even in the middle of
a slow batch. The last line printed is JSON.

A tiny run, to see that everything works: `--images=20 --synthesis_batch=10
--steps=2 --rounds=2 --steps_per_round=2 --fast_images=20 --fast_batch=10
--fast_steps=1 --first_steps=2 --draws=2`.
"""

import json
import os
import pathlib
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from absl import app
from absl import flags
from machine import machine
from run_folder import claim

FLAGS = flags.FLAGS
flags.DEFINE_string(
    "teacher", "fashion_mnist_resnet20", "A shipped network or a .keras file."
)
flags.DEFINE_string("student", "ResNet20", "ResNet14 to ResNet56, VGG11BN.")
flags.DEFINE_integer("student_width", 8, "Channels of the first stage.")
flags.DEFINE_integer("images", 1024, "Of the slow way.", lower_bound=1)
flags.DEFINE_integer("synthesis_batch", 256, "Images in a slow batch.", 1)
flags.DEFINE_string("recipe", "cifar10_paper", "Recipe of the slow way.")
flags.DEFINE_integer("steps", 2000, "Steps of a slow batch.", 1)
flags.DEFINE_enum("fast", "pixels", ["pixels", "generator"], "The fast way.")
flags.DEFINE_integer(
    "fast_images", 1024, "Of fast pixels, without snapshots.", 1
)
flags.DEFINE_integer("fast_batch", None, "Default 256; generator: 128.", 1)
flags.DEFINE_integer("fast_steps", None, "Default 100; generator: 10.", 1)
flags.DEFINE_string("fast_recipe", "distillation_pixels", "Of pixels.")
flags.DEFINE_enum(
    "fast_start",
    "random",
    ["random", "narrow"],
    "Weights of the student of pixels.",
)
flags.DEFINE_integer("first_steps", 100, "The generator's, in round one.", 1)
flags.DEFINE_integer("draws", 10, "Batches it draws in a round.", 1)
flags.DEFINE_integer("rounds", 80, "Of the student.", lower_bound=1)
flags.DEFINE_integer("steps_per_round", 40, "Of the student.", lower_bound=1)
flags.DEFINE_integer("batch_size", 128, "Of the student.", lower_bound=1)
flags.DEFINE_string(
    "dtype",
    None,
    "mixed_bfloat16: both students and the fast way compute in bfloat16.",
)
flags.DEFINE_float("strength", 0.25, "Strength of the augmentations.")
flags.DEFINE_integer(
    "extrapolated", 10_000, "Images of the extrapolation.", lower_bound=1
)
flags.DEFINE_integer("seed", 0, "Random seed.")
flags.DEFINE_string("held_out", None, "An .npz of images and labels.")
flags.DEFINE_string("idx_dir", None, "Folder of real images in idx files.")
flags.DEFINE_string("output", "output/time_to_quality", "Folder.")


def held_out(shape):
    """Returns the held-out images: their name, the images and the labels."""
    from tf_deepinversion.datasets.real_images import load_idx
    from tf_deepinversion.datasets.real_images import load_test_data
    from tf_deepinversion.models import PRETRAINED

    if FLAGS.idx_dir and not FLAGS.held_out:
        pair = [part[-5000:] for part in load_idx(FLAGS.idx_dir, "train")]
        return f"the last {len(pair[0])} training images", *pair
    shipped = FLAGS.teacher in PRETRAINED
    pair = load_test_data(shape, FLAGS.held_out, shipped=shipped)
    if pair is None:
        raise app.UsageError(
            "No test images for this teacher ship. Expected --held_out."
        )
    return FLAGS.held_out or "the test images that ship", *pair


def fill_pool(
    name, teacher, preprocessing, recipe, images, size, steps, dtype=None
):
    """Makes a pool of images of pixels; returns it with the seconds."""
    from students import TimedPixels

    from tf_deepinversion import Pool

    batches, rest = divmod(images, size)
    if rest:
        raise app.UsageError(
            "The number of images must be a multiple of the batch size. "
            f"Received: {images} and {size}"
        )
    synthesizer = TimedPixels(
        teacher,
        preprocessing,
        recipe=recipe,
        seed=FLAGS.seed,
        dtype=dtype,
        folder=pathlib.Path(FLAGS.output) / name / "batches",
    )
    pool = Pool(
        images * synthesizer.images_per_label,
        synthesizer.image_shape,
        synthesizer.classes,
    )
    pool.fill(synthesizer, batches=batches, images=size, steps=steps, verbose=0)
    return pool, synthesizer.seconds


def new_student(teacher, preprocessing):
    from students import make_student

    return make_student(
        FLAGS.student,
        FLAGS.student_width,
        teacher,
        preprocessing,
        FLAGS.seed,
    )


def train(
    name,
    teacher,
    preprocessing,
    scored,
    make_synthesizer,
    start=None,
    **kwargs,
):
    """Trains a student and returns its history.

    Only the images differ, and the weights that `start`, a function of images
    as for `distill`, gives to a student.
    """
    from students import learn

    from tf_deepinversion import augmentations
    from tf_deepinversion.core.files import write_content

    folder = pathlib.Path(FLAGS.output) / name
    student = new_student(teacher, preprocessing)
    _, (_, history, *_) = learn(
        teacher,
        start or student,
        make_synthesizer(student),
        rounds=FLAGS.rounds,
        steps_per_round=FLAGS.steps_per_round,
        batch_size=FLAGS.batch_size,
        folder=folder,
        seed=FLAGS.seed,
        preprocessing=preprocessing,
        scored=scored,
        dtype=FLAGS.dtype,
        transforms=augmentations(FLAGS.strength),
        **kwargs,
    )
    write_content(folder / "curves.json", json.dumps(history))
    return history


class Narrow:
    """Makes students from half of a teacher's channels, and measures it.

    The seconds of the first call are stored beside the images.
    """

    def __init__(self, teacher, preprocessing):
        self._teacher, self._preprocessing = teacher, preprocessing
        self._path = pathlib.Path(FLAGS.output) / "pixels" / "ranking.json"

    def __call__(self, images):
        from tf_deepinversion.core.files import write_content
        from tf_deepinversion.pruning import narrow

        begin = time.monotonic()
        student = narrow(
            self._teacher,
            images,
            preprocessing=self._preprocessing,
            seed=FLAGS.seed,
        )
        if not self._path.exists():
            seconds = time.monotonic() - begin
            write_content(self._path, json.dumps(seconds))
        return student

    @property
    def seconds(self) -> float:
        return json.loads(self._path.read_text())

    def require_same_size(self):
        """Checks that the slow way's student is the same network."""
        from tf_deepinversion.pruning import narrow

        shape = self._teacher.input_shape[1:]
        narrowed = narrow(
            self._teacher,
            (np.zeros((8, *shape), "uint8"), np.zeros(8, int)),
            criterion="filter_norm",
            ranking_batches=1,
            batch_size=8,
            preprocessing=self._preprocessing,
        )
        asked = new_student(self._teacher, self._preprocessing)
        sizes = narrowed.count_params(), asked.count_params()
        if sizes[0] != sizes[1]:
            raise app.UsageError(
                "--fast_start=narrow needs --student and --student_width of "
                f"half of the teacher's channels, {sizes[0]} weights. "
                f"Received: a student of {sizes[1]} weights"
            )


def train_filled(name, pool, seconds, *args, start=None):
    """Trains a student on a full pool; returns its history."""
    from students import Given

    from tf_deepinversion import RefreshPool

    given = Given(
        pool.image_shape,
        pool.classes,
        (pool.images, pool.labels),
        FLAGS.seed,
    )
    # Each round replaces the images by the same images.
    history = train(
        name,
        *args,
        lambda _: given,
        start=start,
        refresh=RefreshPool(len(pool), when="every_round"),
        capacity=len(pool),
    )
    if start is not None:
        seconds += start.seconds
    history["synthesis_seconds"] = [seconds, *[0.0] * (FLAGS.rounds - 1)]
    return history


def train_beside(teacher, preprocessing, scored):
    from students import competing_generator

    from tf_deepinversion import RefreshPool

    def make(student):
        return competing_generator(
            teacher,
            student,
            preprocessing,
            FLAGS.seed,
            FLAGS.draws,
            FLAGS.dtype,
        )

    refresh = RefreshPool(
        FLAGS.fast_batch or 128, FLAGS.fast_steps or 10, FLAGS.first_steps
    )
    history = train(
        "generator", teacher, preprocessing, scored, make, refresh=refresh
    )
    drawn = FLAGS.rounds * refresh.images * FLAGS.draws
    return history, sum(history["draw_seconds"]) / drawn, None


def train_fast(*args):
    """Runs the fast way.

    Returns:
        A history, the seconds for one more image, and the seconds before the
        first image; None for those of a generator that learns.
    """
    if FLAGS.fast == "generator":
        return train_beside(*args)
    pool, seconds = fill_pool(
        "pixels",
        *args[:2],
        FLAGS.fast_recipe,
        FLAGS.fast_images,
        FLAGS.fast_batch or 256,
        FLAGS.fast_steps or 100,
        dtype=FLAGS.dtype,
    )
    start = Narrow(*args[:2]) if FLAGS.fast_start == "narrow" else None
    history = train_filled("pixels", pool, seconds, *args, start=start)
    first = 0.0 if start is None else start.seconds
    # Snapshots are versions of the same image and do not count.
    return history, seconds / FLAGS.fast_images, first


def compare(slow, fast, each, first):
    """Computes the figures from the histories of the two students.

    Args:
        slow: Dict of lists, a history.
        fast: The same.
        each: Float, the fast way's seconds for one more image.
        first: Float, its seconds before the first image, or None for those
            until it reaches the target.
    """
    from speedup import seconds_until
    from speedup import speedups

    target, best = max(slow["val_accuracy"]), max(fast["val_accuracy"])
    until = seconds_until(
        fast["val_accuracy"], fast["synthesis_seconds"], target
    )
    if until is None:
        print(
            f"The fast way never reached {target:.4f}; its best is {best:.4f}. "
            "Give both more --rounds.",
            file=sys.stderr,
        )
    slow_seconds = sum(slow["synthesis_seconds"])
    return {
        **speedups(
            slow_seconds,
            FLAGS.images,
            until,
            each,
            FLAGS.extrapolated,
            first,
        ),
        "fast": FLAGS.fast,
        "fast_start": FLAGS.fast_start,
        "extrapolated_to_images": FLAGS.extrapolated,
        "target_accuracy": target,
        "fast_best_accuracy": best,
        "slow_seconds": slow_seconds,
        "fast_seconds": until,
        "fast_seconds_in_all": sum(fast["synthesis_seconds"]),
        "seconds_per_fast_image": each,
    }


def main(_):
    from tf_deepinversion import Preprocessing
    from tf_deepinversion.core.run_state import fingerprint
    from tf_deepinversion.models.pretrained import load_network

    teacher = load_network(FLAGS.teacher)
    preprocessing = Preprocessing.of(teacher)
    if FLAGS.fast_start == "narrow":
        if FLAGS.fast == "generator":
            raise app.UsageError("--fast_start=narrow is for --fast=pixels.")
        Narrow(teacher, preprocessing).require_same_size()
    # A history holds the accuracies of its own held-out images.
    claim(FLAGS.output, "fast", "extrapolated")
    scored_on, *scored = held_out(teacher.input_shape[1:])
    run = teacher, preprocessing, tuple(scored)
    pool, seconds = fill_pool(
        "slow",
        *run[:2],
        FLAGS.recipe,
        FLAGS.images,
        FLAGS.synthesis_batch,
        FLAGS.steps,
    )
    slow = train_filled("slow", pool, seconds, *run)
    figures = {
        **compare(slow, *train_fast(*run)),
        "scored_on": scored_on,
        "scored_images": len(scored[0]),
        "images": FLAGS.images,
        "recipe": FLAGS.recipe,
        "steps": FLAGS.steps,
        "student_steps": FLAGS.rounds * FLAGS.steps_per_round,
        "dtype": FLAGS.dtype,
        "strength": FLAGS.strength,
        "seed": FLAGS.seed,
        "teacher_sha256": fingerprint({}, teacher.get_weights()),
        "machine": machine(),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    app.run(main)
