r"""Trains a student without any data, from its teacher alone.

The first command trains a ResNet-20 of half the width for the network that
ships, in about forty minutes on two cores. It measures the student on real
images that no network saw in training. The second command trains for 45
minutes. The third trains the same student on as many real images, the upper
bound. `--method=noise` trains on noise, the lower bound:

    python examples/distill.py
    python examples/distill.py --minutes=45 --dtype=mixed_bfloat16
    python examples/distill.py --method=real \
        --idx_dir=/usr/share/datasets/fashion-mnist

This command is for your own network for CIFAR-10, such as one by
`examples/train_teacher.py`. A generator with the published numbers makes the
images. The command takes hours on a GPU; we have not run it:

    python examples/distill.py --recipe=cifar10_fast --teacher=teacher.keras \
        --tfds_dir=$HOME/tensorflow_datasets

`distillation_recipes.py` holds all other settings; `--set` changes them.

Methods: `deepinversion` optimizes pixels; `adi` optimizes pixels that compete
with the student; `fast` trains a generator that competes with the student;
`noise`; `real`.

Repeating the same command resumes a stopped run. The output folder holds
`student.keras`; `saved_model/`, whose serving signature takes uint8 pixels;
`pool/`, which `tfds.builder_from_directory` reads; `report.html`; `grid.png`;
and `curves.json`.

A tiny run, to see that everything works: `--set=rounds=2,steps_per_round=2
--set=images_per_round=20,synthesis_steps=3,first_steps=5`.
"""

import json
import pathlib
import time

import given
import keras
import numpy as np
from absl import app
from absl import flags
from distillation_recipes import DISTILLATIONS

import tf_deepinversion as di
from tf_deepinversion.callbacks import Stopwatch
from tf_deepinversion.commands import values
from tf_deepinversion.inversion import GivenImages
from tf_deepinversion.inversion import make_synthesizer
from tf_deepinversion.optimizers.schedules import OPTIMIZERS
from tf_deepinversion.reports import save_student

FLAGS = flags.FLAGS
METHODS = ["fast", "deepinversion", "adi", "noise", "real"]
given.define_network(None, "Shipped network or .keras file; the recipe's.")
given.define_images()
given.define_targets()
flags.DEFINE_enum("recipe", "fashion_mnist", list(DISTILLATIONS), "Settings.")
flags.DEFINE_multi_string(
    "set", [], "Settings to change, such as rounds=4,student_width=8."
)
flags.DEFINE_enum("method", None, METHODS, "Default: the recipe's first.")
flags.DEFINE_string(
    "student",
    "ResNet20",
    "ResNet14 to 56, VGG11BN, .keras, or narrow: half of the channels.",
)
flags.DEFINE_string("synthesis_recipe", None, "Images' recipe, in RECIPES.")
flags.DEFINE_float("minutes", None, "Train this long, not for `rounds`.")
flags.DEFINE_string(
    "dtype", None, "mixed_bfloat16; or auto, which takes it if faster here."
)
flags.DEFINE_integer("seed", 0, "Random seed of images and student.")
flags.DEFINE_string(
    "output", None, "Folder; default: output/distill_METHOD for garments."
)


def make_student(plan, teacher, fed):
    if FLAGS.student == "narrow":
        return lambda images: di.pruning.narrow(
            teacher, images, preprocessing=fed, seed=FLAGS.seed
        )
    if FLAGS.student.endswith(".keras"):
        return keras.models.load_model(FLAGS.student, compile=False)
    keras.utils.set_random_seed(FLAGS.seed)
    return getattr(di.models, FLAGS.student)(
        teacher.input_shape[1:],
        teacher.output_shape[-1],
        width=plan.student_width,
        mean=fed.mean,
        std=fed.std,
        name="student",
    )


def make_images(plan, method, teacher, student, fed, real):
    """Returns the source of the images and its `RefreshPool`.

    The number of real images or of noise images is that of the synthesizer.
    """
    made = method if method in plan.methods else next(iter(plan.methods))
    competes = method == made and made != "deepinversion"
    synthesizer = make_synthesizer(
        teacher,
        fed,
        student=student if competes else None,
        recipe=FLAGS.synthesis_recipe or plan.methods[made],
        seed=FLAGS.seed,
        dtype=FLAGS.dtype,
        draws=plan.draws,
        targets=values.targets(FLAGS),
    )
    count = plan.images_per_round
    if method == made:
        steps = plan.synthesis_steps, plan.first_steps
        return synthesizer, di.RefreshPool(count, *steps)
    count *= synthesizer.images_per_label
    shape, classes = synthesizer.image_shape, synthesizer.classes
    if method == "noise":
        noise = GivenImages(shape, classes, seed=FLAGS.seed)
        return noise, di.RefreshPool(count)
    count *= min(plan.rounds, max(1, plan.capacity // count))
    order = np.random.default_rng(FLAGS.seed).permutation(len(real[0]))
    images, labels = (part[np.resize(order, count)] for part in real)
    return di.Pool.of(images, labels, classes), None


def distill(plan, teacher, student, images, refresh, fed, folder, **options):
    return di.distill(
        teacher,
        student,
        images,
        rounds=plan.rounds if FLAGS.minutes is None else None,
        minutes=FLAGS.minutes,
        steps_per_round=plan.steps_per_round,
        batch_size=plan.batch_size,
        refresh=refresh,
        fixed_share=plan.fixed_share,
        temperature=plan.temperature,
        class_maps=plan.class_maps,
        transforms=plan.transforms,
        steps_per_teacher_call=plan.steps_per_teacher_call,
        optimizer=lambda steps: OPTIMIZERS[plan.optimizer](
            steps, plan.learning_rate
        ),
        preprocessing=fed,
        dtype=FLAGS.dtype,
        capacity=plan.capacity,
        folder=folder,
        seed=FLAGS.seed,
        **options,
    )


def main(_):
    begin = time.monotonic()
    plan = DISTILLATIONS[FLAGS.recipe].changed(FLAGS.set)
    method = FLAGS.method or next(iter(plan.methods))
    plan.check(method, FLAGS.recipe)
    teacher, fed, test, names = given.load(plan.teacher, plan.dataset)
    # An error in the real images must come before hours of synthesis.
    real = given.training_images(plan.dataset) if method == "real" else None
    student = make_student(plan, teacher, di.Preprocessing.of(teacher, fed))
    images, refresh = make_images(plan, method, teacher, student, fed, real)
    stem = FLAGS.recipe.replace("fashion_mnist", "distill")
    output = pathlib.Path(FLAGS.output or f"output/{stem}_{method}")
    fixed_images = None
    if method == "fast" and plan.fixed_batches:
        fixed_images = di.synthesize(
            teacher,
            folder=output / "fixed_images",
            seed=FLAGS.seed,
            batches=plan.fixed_batches,
            images=plan.fixed_images,
            steps=plan.fixed_steps,
            preprocessing=fed,
            recipe="replay_pixels",
            dtype=FLAGS.dtype,
            targets=values.targets(FLAGS),
        )
    watch = Stopwatch(output / "seconds.json", begin)
    found = distill(
        plan,
        teacher,
        student,
        images,
        refresh,
        fed,
        output,
        fixed_images=fixed_images,
        callbacks=[watch],
    )
    rounds = len(found.history["loss"])
    figures = {
        "recipe": FLAGS.recipe,
        "method": method,
        "start": FLAGS.student
        if FLAGS.student.endswith((".keras", "narrow"))
        else "random",
        "rounds": rounds,
        "student_steps": rounds * plan.steps_per_round,
        "fixed_images": len(fixed_images or ()),
        "minutes": watch.total / 60,
        "synthesis_seconds": watch.total - watch.training,
        "distillation_seconds": watch.training,
        **given.identity(teacher),
    }
    model = di.Distillation(teacher, found.student, fed)
    figures |= save_student(
        output, model, found, real=test, names=names, figures=figures
    )
    print(json.dumps(figures))


if __name__ == "__main__":
    app.run(main, given.command_line())
