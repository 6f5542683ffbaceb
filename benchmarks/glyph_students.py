r"""Distills a glyph teacher into a student with a quarter of its weights.

    python benchmarks/glyphs.py --fonts=FOLDER --output=glyphs
    python benchmarks/train_glyph_teachers.py --sets=glyphs --output=teachers
    python benchmarks/glyph_students.py --teacher=teachers/pairs_resnet_swish \
        --sets=glyphs

The student is of the teacher's family and has half of its width. It starts from
random weights, or with --start=narrow from half of the teacher's channels. With
--start=pruned it is the teacher, from which `prune` removes 75 % of the weights
in rounds, on --rounds batches of images that are made first; --student_steps
are then the steps after a round, with ten times as many after the last. With
--resnet20=4 it is a ResNet-20 of width 4 in place of that. The call of
`distill` is the default, for --rounds rounds. With --real it trains on the
training images of the set, the ceiling. With --unlabeled=100 the statistics of
a teacher without BatchNormalization are measured on 100 training images. With
--priors_only the images have no statistics to meet, for a teacher without
BatchNormalization whose user has no image. Both networks are scored on the test
images of the set. Their fonts are in no training image.

--output has a folder with the student. Repeating the same command resumes a
stopped run. The last line printed is JSON.
A tiny run: `--rounds=1 --images=20 --steps=3 --student_steps=4`.
"""

import json
import os
import pathlib
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import students
from absl import app
from absl import flags
from glyph_networks import FAMILIES
from glyph_networks import load_glyph_teacher
from machine import machine

import tf_deepinversion as di
from tf_deepinversion.core.files import save_network
from tf_deepinversion.metrics import recognition
from tf_deepinversion.networks.student_input import preprocessing_of_student

FLAGS = flags.FLAGS
flags.DEFINE_string(
    "teacher", None, "A path without suffix of train_glyph_teachers.py."
)
flags.DEFINE_string("sets", "output/glyphs", "Folder that glyphs.py wrote.")
flags.DEFINE_enum(
    "start", "random", ["random", "narrow", "pruned"], "Weights of the student."
)
flags.DEFINE_integer("resnet20", None, "Width of a ResNet-20.", 1)
flags.DEFINE_bool("real", False, "Real images in place of synthesized ones.")
flags.DEFINE_integer(
    "unlabeled", 0, "Images to measure; 0 for those of BatchNormalization.", 0
)
flags.DEFINE_bool("priors_only", False, "Images without statistics to meet.")
flags.DEFINE_integer("rounds", 32, "See `distill`.", 1)
flags.DEFINE_integer("images", 256, "Images in a batch, without snapshots.", 1)
flags.DEFINE_integer("steps", None, "Steps of a batch; the recipe's.", 1)
flags.DEFINE_integer("student_steps", None, "In each round.", 1)
flags.DEFINE_integer("seed", 0, "Of images and students.", 0)
flags.DEFINE_string("dtype", "mixed_bfloat16", "Of images and students.")
flags.DEFINE_string("output", "output/glyph_students", "Folder.")
flags.mark_flag_as_required("teacher")


def make_student(teacher, fed, figures):
    if FLAGS.resnet20:
        return students.make_student(
            "ResNet20", FLAGS.resnet20, teacher, fed, FLAGS.seed
        )
    if FLAGS.start == "narrow":
        return lambda images: di.pruning.narrow(
            teacher, images, preprocessing=fed, seed=FLAGS.seed
        )
    keras.utils.set_random_seed(FLAGS.seed)
    return FAMILIES[figures["family"]].build(
        figures["classes"], figures["width"] // 2
    )


def measured_targets(teacher, fed, figures):
    """Returns `FeatureTargets` of --unlabeled random images, or None."""
    if not FLAGS.unlabeled:
        return None
    images, _ = load_images(figures["set"], "train")
    random = np.random.default_rng(FLAGS.seed)
    rows = random.permutation(len(images))[: FLAGS.unlabeled]
    return di.FeatureTargets.measure(teacher, images[rows], preprocessing=fed)


def recipe_of_images():
    return students.recipe_of("distillation_pixels", FLAGS.priors_only)


def load_images(set_name, split) -> tuple:
    with np.load(pathlib.Path(FLAGS.sets) / set_name / f"{split}.npz") as file:
        return file["images"], file["labels"]


def steps_given(**multiples) -> dict:
    """Returns arguments of --student_steps, or none for the defaults."""
    steps = FLAGS.student_steps
    if steps is None:
        return {}
    multiples["steps_per_round"] = 1
    return {name: many * steps for name, many in multiples.items()}


def distilled(teacher, figures, images, preprocessing, **kwargs):
    """Returns a narrower student, and the pool that `distill` made for it."""
    if FLAGS.priors_only:
        images = di.DeepInversion(
            teacher,
            preprocessing,
            recipe=recipe_of_images(),
            seed=FLAGS.seed,
            dtype=FLAGS.dtype,
        )
    found = di.distill(
        teacher,
        make_student(teacher, preprocessing, figures),
        images,
        rounds=FLAGS.rounds,
        refresh=None
        if FLAGS.real
        else di.RefreshPool(FLAGS.images, FLAGS.steps),
        preprocessing=preprocessing,
        **steps_given(),
        **kwargs,
    )
    return found.student, found.pool


def pruned(teacher, figures, images, targets, callbacks, **kwargs):
    """Returns the pruned teacher, and the pool that it recovered on."""
    if images is None:
        images = di.synthesize(
            teacher,
            recipe=recipe_of_images(),
            batches=FLAGS.rounds,
            images=FLAGS.images,
            steps=FLAGS.steps,
            targets=targets,
            **kwargs,
        )
    found = di.prune(
        teacher,
        images,
        target=0.75,
        cost="parameters",
        callbacks=callbacks,
        **steps_given(final_steps=10),
        **kwargs,
    )
    return found.student, images


def main(_):
    if FLAGS.resnet20 and FLAGS.start != "random":
        raise app.UsageError(
            "A ResNet-20 has no channels of the teacher: pass --resnet20 or "
            f"--start={FLAGS.start}, not both."
        )
    made = [x for x in ("rounds", "images", "steps") if FLAGS[x].present]
    if FLAGS.real and FLAGS.start == "pruned" and made:
        raise app.UsageError(f"Real images are not made: leave out {made}.")
    given = [x for x in ("real", "unlabeled", "priors_only") if FLAGS[x].value]
    if len(given) > 1:
        raise app.UsageError(
            "Images are real, or made with statistics, or without: pass one "
            f"of these flags. Received: {given}"
        )
    teacher, fed, figures = load_glyph_teacher(FLAGS.teacher)
    name = pathlib.Path(FLAGS.teacher).name
    kind = f"resnet20_{FLAGS.resnet20}" if FLAGS.resnet20 else FLAGS.start
    images = None
    if FLAGS.real:
        kind, images = f"{kind}_real", load_images(figures["set"], "train")
    if FLAGS.unlabeled:
        kind = f"{kind}_{FLAGS.unlabeled}_unlabeled"
    if FLAGS.priors_only:
        kind = f"{kind}_priors_only"
    folder = pathlib.Path(FLAGS.output) / f"{name}_{kind}_{FLAGS.seed}"
    watch = di.callbacks.Stopwatch(folder / "seconds.json", time.monotonic())
    learn = pruned if FLAGS.start == "pruned" else distilled
    student, pool = learn(
        teacher,
        figures,
        images,
        targets=measured_targets(teacher, fed, figures),
        preprocessing=fed,
        dtype=FLAGS.dtype,
        seed=FLAGS.seed,
        folder=folder,
        callbacks=[watch],
    )
    save_network(folder / "student.keras", student)
    test = load_images(figures["set"], "test")
    # A ResNet-20 contains its preprocessing.
    own = preprocessing_of_student(student, None, fed)
    taught = recognition.accuracy(teacher, *test, fed)
    learned = recognition.accuracy(student, *test, own)
    met = None if FLAGS.real else np.mean(pool.labels == pool.requested)
    row = {
        "teacher": name,
        "student": kind,
        "classes": figures["classes"],
        "teacher_accuracy": taught,
        "student_accuracy": learned,
        "points_below_teacher": 100 * (taught - learned),
        "weights": student.count_params() / teacher.count_params(),
        "recognized": met and float(met),
        "seconds": watch.total,
        "machine": machine(seed=FLAGS.seed),
    }
    print(json.dumps(row))


if __name__ == "__main__":
    app.run(main)
