r"""How much sooner other images are as good for a student as the paper's.

    python benchmarks/time_to_quality.py \
        --idx_dir=/usr/share/datasets/fashion-mnist

The slow way is `DeepInversion`: it fills a pool, and a student trains on it.
The fast way is, by --fast=pixels, the same with the recipe --fast_recipe and
other numbers; by --fast=generator, a `FastInversion` that learns beside the
same student, for the same steps. Quality is the accuracy after each
round on images that no student saw and none is tested on: the last 5,000
training images of --idx_dir, or --held_out; without either the test images that
ship, and `scored_on` says which. The target is the largest accuracy of the slow
way.

- `speedup_measured`: the seconds in which the slow pool was made, to the
  seconds of synthesis that the fast way took until it reached the target.
- `speedup_extrapolated`, to --extrapolated images, which nobody made: the slow
  seconds grow with the images, and so do the fast pixels'; the generator of the
  moment when the target was reached draws all of them, at its measured seconds
  an image.

Both are null where the fast way never gets there. The student's own steps are
in neither. With --dtype the fast way computes in it, as the students do; the
slow way's images are made as published. In --output are `slow/` and
`generator/` or `pixels/`, each with `pool/`, and the curves. The same command
started again goes on where it was stopped, in the middle of a slow batch too.
Ends with a line of JSON.

A tiny run, to see that everything works: `--images=20 --synthesis_batch=10
--steps=2 --rounds=2 --steps_per_round=2 --fast_images=20 --fast_batch=10
--fast_steps=1 --first_steps=2 --draws=2`.
"""

import json
import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from absl import app
from absl import flags
from machine import machine

FLAGS = flags.FLAGS
flags.DEFINE_string(
    "teacher", "fashion_mnist_resnet20", "A shipped network or a .keras file."
)
flags.DEFINE_string("student", "ResNet20", "ResNet14 to ResNet56, VGG11BN.")
flags.DEFINE_integer("student_width", 8, "Channels of its first stage.")
flags.DEFINE_integer("images", 1024, "Of the slow way.", lower_bound=1)
flags.DEFINE_integer("synthesis_batch", 256, "Images it makes at once.", 1)
flags.DEFINE_string("recipe", "cifar10_paper", "In RECIPES, of the slow way.")
flags.DEFINE_integer("steps", 2000, "Of the slow way, for each batch.", 1)
flags.DEFINE_enum("fast", "pixels", ["pixels", "generator"], "The fast way.")
flags.DEFINE_integer(
    "fast_images", 1024, "The fast pixels', less snapshots.", 1
)
flags.DEFINE_integer("fast_batch", None, "256, of the generator 128.", 1)
flags.DEFINE_integer(
    "fast_steps", None, "Of each: 240, of the generator 10.", 1
)
flags.DEFINE_string("fast_recipe", "distillation_pixels", "In RECIPES.")
flags.DEFINE_integer("first_steps", 100, "Of the generator, in round one.", 1)
flags.DEFINE_integer("draws", 10, "Batches that it draws each round.", 1)
flags.DEFINE_integer("rounds", 80, "Of the student.", lower_bound=1)
flags.DEFINE_integer("steps_per_round", 40, "Of the student.", lower_bound=1)
flags.DEFINE_integer("batch_size", 128, "Of the student.", lower_bound=1)
flags.DEFINE_string(
    "dtype",
    None,
    "mixed_bfloat16: both students and the fast way compute in bfloat16.",
)
flags.DEFINE_float("strength", 0.25, "Of what the students see images through.")
flags.DEFINE_integer("extrapolated", 10_000, "Images.", lower_bound=1)
flags.DEFINE_integer("seed", 0, "")
flags.DEFINE_string("held_out", None, "An .npz of images and labels.")
flags.DEFINE_string("idx_dir", None, "Folder of real images in idx files.")
flags.DEFINE_string("output", "output/time_to_quality", "Folder.")


def held_out(shape):
    """What the students are scored on: its name, images and labels."""
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
            "No images of what this teacher knows ship: name some by "
            "--held_out."
        )
    return FLAGS.held_out or "the test images that ship", *pair


def fill_pool(
    name, teacher, preprocessing, recipe, images, size, steps, dtype=None
):
    """So many images, made of pixels, and the seconds in which they were."""
    from students import TimedPixels

    from tf_deepinversion import Pool

    batches, rest = divmod(images, size)
    if rest:
        raise app.UsageError(
            "The images of a pool must be a multiple of its batch. "
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


def train(name, teacher, preprocessing, scored, make_synthesizer, **kwargs):
    """The history of a student: all but the images is the same for both."""
    from students import learn
    from students import make_student

    from tf_deepinversion import augmentations
    from tf_deepinversion.core.files import write_atomically

    folder = pathlib.Path(FLAGS.output) / name
    student = make_student(
        FLAGS.student,
        FLAGS.student_width,
        teacher,
        preprocessing,
        FLAGS.seed,
    )
    _, (_, history, *_) = learn(
        teacher,
        student,
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
    curves = json.dumps(history).encode()
    write_atomically(folder / "curves.json", lambda f: f.write(curves))
    return history


def train_filled(name, pool, seconds, *args):
    """A student of a pool that is full before it begins; what it took."""
    from students import Given

    from tf_deepinversion import RefreshPool

    given = Given(
        pool.image_shape,
        pool.classes,
        (pool.images, pool.labels),
        FLAGS.seed,
    )
    # Each round the same images take the place of themselves.
    history = train(
        name,
        *args,
        lambda _: given,
        refresh=RefreshPool(len(pool), when="every_round"),
        capacity=len(pool),
    )
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
    return history, sum(history["draw_seconds"]) / drawn


def train_fast(*args):
    """The history of the fast way, and its seconds for one more image."""
    if FLAGS.fast == "generator":
        return train_beside(*args)
    pool, seconds = fill_pool(
        "pixels",
        *args[:2],
        FLAGS.fast_recipe,
        FLAGS.fast_images,
        FLAGS.fast_batch or 256,
        FLAGS.fast_steps or 240,
        dtype=FLAGS.dtype,
    )
    history = train_filled("pixels", pool, seconds, *args)
    # Snapshots come with their image, and are no more of them.
    return history, seconds / FLAGS.fast_images


def compare(slow, fast, each):
    """The figures, of the histories of the two students.

    Args:
        slow: Dict of lists, a history.
        fast: The same.
        each: Float, the fast way's seconds for one more image.
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
    # The generator must have learned first; pixels begin anew with each batch.
    first = None if FLAGS.fast == "generator" else 0.0
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
