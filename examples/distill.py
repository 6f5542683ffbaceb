r"""Trains a student without any data, from its teacher alone.

A ResNet-20 of half the width for the network that ships, in about forty minutes
of two cores; it says how far it came on real images that nobody trained on:

    python examples/distill.py

In any other time, which decides how many images there are and how long the
student trains, on a processor with instructions for bfloat16:

    python examples/distill.py --minutes=45 --dtype=mixed_bfloat16

The same student for the same steps on real images, a ceiling (`--ceiling` lets
it follow in the same run), or on noise, a floor:

    python examples/distill.py --method=real \
        --idx_dir=/usr/share/datasets/fashion-mnist

A network of your own for CIFAR-10 (`examples/train_teacher.py` makes one), by
the paper's recipe or by a generator with the field's numbers; both are hours of
a GPU, and we have not run them:

    python examples/distill.py --recipe=cifar10_paper --method=adi \
        --teacher=teacher.keras --tfds_dir=$HOME/tensorflow_datasets
    python examples/distill.py --recipe=cifar10_fast --teacher=teacher.keras \
        --tfds_dir=$HOME/tensorflow_datasets

A recipe says what the flags do not: see `distillation_recipes.DISTILLATIONS`.
Methods: `deepinversion`, pixels; `adi`, pixels that compete with the student;
`fast`, a generator that does, and, where the recipe says so, fixed images made
before (`--fixed_batches`); `noise`; `real`. The same command started again goes
on where it was stopped. In the output folder: `student.keras`; `saved_model/`,
whose serving signature takes uint8 pixels; `pool/`, where images were made, and
`fixed_images/pool/`, which `tfds.builder_from_directory` reads; `report.html`;
`grid.png`; `curves.json`, and the terms of the synthesis, `synthesis.json`.

A tiny run, to see that everything works: `--rounds=2 --steps_per_round=2
--images_per_round=20 --synthesis_steps=3 --first_steps=5`.
"""

import json
import os
import pathlib
import platform
import time

import feeding
from absl import app
from absl import flags
from distillation_recipes import DISTILLATIONS

FLAGS = flags.FLAGS
# What a recipe says, unless the flag is given.
OVERRIDES = {
    "teacher": (str, "A shipped network or a .keras file."),
    "student_width": (int, "Channels of the student's first stage."),
    "rounds": (int, "Each adds images and trains."),
    "steps_per_round": (int, "Of the student."),
    "batch_size": (int, "Of the student."),
    "learning_rate": (float, "Of the student, the peak."),
    "temperature": (float, "Of the distillation."),
    "steps_per_teacher_call": (int, "Of the student, for each answered batch."),
    "images_per_round": (int, "The synthesizer's batch."),
    "synthesis_steps": (int, "Of the synthesizer, a batch."),
    "first_steps": (int, "Of the synthesizer, in its first batch."),
    "draws": (int, "Batches that the generator draws after each batch."),
    "capacity": (int, "Images in the pool."),
    "dataset": (str, "Of real images, in TFDS."),
    "fixed_batches": (int, "Batches of images that stay, for --method=fast."),
    "fixed_recipe": (str, "In RECIPES, of those."),
    "fixed_images": (int, "A batch of those."),
    "fixed_steps": (int, "A batch; of a generator's others, a third."),
    "fixed_share": (float, "Of those, in each batch of the student."),
}
DEFINE = {
    str: flags.DEFINE_string,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
}
for name, (kind, text) in OVERRIDES.items():
    DEFINE[kind](name, None, text)
flags.DEFINE_enum("recipe", "fashion_mnist", list(DISTILLATIONS), "See above.")
flags.DEFINE_enum(
    "method", None, ["fast", "deepinversion", "adi", "noise", "real"], ""
)
flags.DEFINE_enum(
    "optimizer", None, ["muon", "sgd"], "Of the student; sgd wants 0.1."
)
flags.DEFINE_string(
    "student", "ResNet20", "ResNet14 to ResNet56, VGG11BN or a .keras file."
)
flags.DEFINE_string("synthesis_recipe", None, "In RECIPES, of the images.")
flags.DEFINE_float("minutes", None, "In place of --rounds: as many as fit.")
flags.DEFINE_float("strength", None, "Of `augmentations`, as transforms.")
flags.DEFINE_string("dtype", None, "mixed_bfloat16: compute in bfloat16.")
flags.DEFINE_integer("seed", 0, "")
flags.DEFINE_bool("ceiling", False, "Then the same by --method=real.")
flags.DEFINE_string("test_data", None, "An .npz of images and labels.")
flags.DEFINE_string("idx_dir", None, "Real images: for --method=real, test.")
flags.DEFINE_string("tfds_dir", None, "The data folder of TFDS, likewise.")
flags.DEFINE_string("output", None, "Folder; by default output/RECIPE_METHOD.")
feeding.define_flags()


def settings():
    """The recipe, with what the flags say in its place."""
    recipe = dict(DISTILLATIONS[FLAGS.recipe])
    given = {n: FLAGS[n].value for n in (*OVERRIDES, "optimizer")}
    recipe |= {name: v for name, v in given.items() if v is not None}
    method = FLAGS.method or next(iter(recipe["methods"]))
    real = FLAGS.ceiling or method == "real"
    name = "ceiling" if FLAGS.ceiling else "method=real"
    faults = {
        f"--recipe={FLAGS.recipe} has no --method={method}, but "
        f"{', '.join(recipe['methods'])}, noise and real.": method
        not in (*recipe["methods"], "noise", "real"),
        f"--method={method} optimizes pixels; only a generator draws: leave "
        "--draws out.": recipe["draws"] and method in ("adi", "deepinversion"),
        "--method=real is the ceiling: leave that out.": FLAGS.ceiling
        and method == "real",
        f"--recipe={FLAGS.recipe} needs --teacher.": not recipe["teacher"],
        f"--{name} needs --idx_dir or --tfds_dir.": real
        and not (FLAGS.idx_dir or FLAGS.tfds_dir),
    }
    for fault, found in faults.items():
        if found:
            raise app.UsageError(fault)
    return {**recipe, "method": method}


def make_student(plan, teacher, preprocessing):
    import keras

    from tf_deepinversion import models

    if FLAGS.student.endswith(".keras"):
        return keras.models.load_model(FLAGS.student, compile=False)
    keras.utils.set_random_seed(FLAGS.seed)
    return getattr(models, FLAGS.student)(
        teacher.input_shape[1:],
        teacher.output_shape[-1],
        width=plan["student_width"],
        mean=preprocessing.mean,
        std=preprocessing.std,
        name="student",
    )


def training_images(plan):
    """The real ones, for --method=real and --ceiling."""
    from tf_deepinversion.datasets.real_images import load_split

    return load_split(
        plan["dataset"],
        "train",
        idx_dir=FLAGS.idx_dir,
        tfds_dir=FLAGS.tfds_dir,
    )


def make_images(plan, teacher, student, preprocessing, rounds):
    """What makes a student's images, and how many labels a batch has.

    Noise and real images are as many as a synthesizer would have added.
    """
    import tf_deepinversion as di
    from tf_deepinversion.inversion import GivenImages
    from tf_deepinversion.inversion.recipes import find

    method, count = plan["method"], plan["images_per_round"]
    by_default = next(iter(plan["methods"].values()))
    recipe = FLAGS.synthesis_recipe or plan["methods"].get(method, by_default)
    if method in plan["methods"]:
        maker, draws = di.DeepInversion, {}
        if method == "fast":
            maker, draws = di.FastInversion, {"draws": plan["draws"]}
        return maker(
            teacher,
            preprocessing,
            student=None if method == "deepinversion" else student,
            recipe=recipe,
            seed=FLAGS.seed,
            dtype=FLAGS.dtype,
            **draws,
        ), count
    count *= plan["draws"] or find(recipe).images_per_label
    shape, classes = teacher.input_shape[1:], teacher.output_shape[-1]
    if method == "noise":
        return GivenImages(shape, classes, seed=FLAGS.seed), count
    real = GivenImages(shape, classes, training_images(plan), FLAGS.seed)
    count *= min(rounds, max(1, plan["capacity"] // count))
    pool = di.Pool(count, shape, classes)
    pool.add(*real.make(di.balanced_labels(classes, count), 0))
    return pool, count


def make_fixed_images(plan, teacher, output):
    """Images that stay, for a student that learns by a generator's others."""
    import tf_deepinversion as di
    from tf_deepinversion.inversion.recipes import find

    if plan["method"] != "fast" or not plan["fixed_batches"]:
        return None
    recipe, steps = find(plan["fixed_recipe"]), plan["fixed_steps"]
    return di.synthesize(
        teacher,
        folder=output / "fixed_images",
        seed=FLAGS.seed,
        batches=plan["fixed_batches"],
        images=plan["fixed_images"],
        first_steps=steps,
        steps=max(1, steps // 3) if recipe.generator else steps,
        preprocessing=feeding.preprocessing(),
        recipe=recipe,
        dtype=FLAGS.dtype,
    )


def train(plan, teacher, fixed, rounds, folder, callbacks=(), when=None):
    """Distills into a new student; see `distill` for what it returns."""
    import tf_deepinversion as di
    from tf_deepinversion.optimizers.schedules import OPTIMIZERS

    preprocessing = di.Preprocessing.of(teacher, feeding.preprocessing())
    student = make_student(plan, teacher, preprocessing)
    images, count = make_images(plan, teacher, student, preprocessing, rounds)
    refresh = None
    if not isinstance(images, di.Pool):
        steps = plan["synthesis_steps"], plan["first_steps"]
        refresh = di.RefreshPool(count, *steps, when=when)
    strength = FLAGS.strength
    if strength is None and plan["transforms"] != "crops":
        strength = plan["transforms"]
    return di.distill(
        teacher,
        student,
        images,
        rounds=rounds,
        steps_per_round=plan["steps_per_round"],
        batch_size=plan["batch_size"],
        refresh=refresh,
        fixed_images=fixed,
        fixed_share=plan["fixed_share"],
        temperature=plan["temperature"],
        transforms=[di.Shift(4), di.HorizontalFlip()]
        if strength is None
        else di.augmentations(strength),
        steps_per_teacher_call=plan["steps_per_teacher_call"],
        optimizer=OPTIMIZERS[plan["optimizer"]](
            rounds * plan["steps_per_round"], plan["learning_rate"]
        ),
        preprocessing=preprocessing,
        dtype=FLAGS.dtype,
        capacity=plan["capacity"],
        folder=folder,
        seed=FLAGS.seed,
        callbacks=list(callbacks),
        verbose=2,
    )


def main(_):
    plan, begin = settings(), time.monotonic()

    import numpy as np

    import tf_deepinversion as di
    from tf_deepinversion.callbacks.stopwatch import Stopwatch
    from tf_deepinversion.core.checks import check_pixels
    from tf_deepinversion.core.files import write_atomically
    from tf_deepinversion.core.pictures import grid
    from tf_deepinversion.core.pictures import save_png
    from tf_deepinversion.core.run_state import fingerprint
    from tf_deepinversion.datasets.real_images import FASHION_MNIST_CLASSES
    from tf_deepinversion.datasets.real_images import load_test_data
    from tf_deepinversion.distillation import rounds_for
    from tf_deepinversion.metrics.recognition import accuracy
    from tf_deepinversion.models import PRETRAINED
    from tf_deepinversion.models.pretrained import load_network
    from tf_deepinversion.networks.reader import resized
    from tf_deepinversion.reports.student_report import report_student
    from tf_deepinversion.serving import Served

    teacher = load_network(plan["teacher"])
    # What is wrong with real images is said before hours are spent.
    garments = plan["teacher"] in PRETRAINED
    real = load_test_data(
        teacher.input_shape[1:],
        FLAGS.test_data,
        FLAGS.idx_dir,
        FLAGS.tfds_dir,
        plan["dataset"],
        shipped=garments,
    )
    if real is not None:
        check_pixels(real[0])
    if FLAGS.ceiling or plan["method"] == "real":
        training_images(plan)
    stem = FLAGS.recipe.replace("fashion_mnist", "distill")
    output = pathlib.Path(FLAGS.output or f"output/{stem}_{plan['method']}")
    output.mkdir(parents=True, exist_ok=True)
    fixed = make_fixed_images(plan, teacher, output)
    rounds = plan["rounds"]
    if FLAGS.minutes:
        rounds = rounds_for(
            FLAGS.minutes,
            lambda few, callbacks: train(
                plan, teacher, fixed, few, None, callbacks, "every_round"
            ),
            output / "plan.json",
            begin,
        )
    watch = Stopwatch(output / "seconds.json", begin)
    student, history, pool, synthesis = train(
        plan, teacher, fixed, rounds, output, [watch]
    )
    student.save(output / "student.keras")
    order = np.argsort(pool.labels[-100:], kind="stable")
    save_png(output / "grid.png", grid(pool.images[-100:][order], 10, 2))
    curves = json.dumps(history).encode()
    write_atomically(output / "curves.json", lambda f: f.write(curves))
    model = di.Distillation(teacher, student, feeding.preprocessing())
    fed = model.student_preprocessing
    di.export(student, output / "saved_model", fed)
    shown = resized(pool.images[-250:], student)
    served = Served(output / "saved_model")(shown)
    figures = {
        "recipe": FLAGS.recipe,
        "method": plan["method"],
        "agreement_on_pool": history["agreement"][-1],
        "rounds": rounds,
        "student_steps": rounds * plan["steps_per_round"],
        "images": len(pool),
        "fixed_images": len(fixed or ()),
        "minutes": watch.total / 60,
        "synthesis_seconds": watch.total - watch.training,
        "distillation_seconds": watch.training,
        "saved_model_max_difference": float(
            np.abs(served - model(shown).numpy()).max()
        ),
        "parameters_ratio": student.count_params() / teacher.count_params(),
        "seed": FLAGS.seed,
        "teacher_sha256": fingerprint({}, teacher.get_weights()),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }
    if FLAGS.ceiling:
        plan |= {"method": "real"}
        best = train(plan, teacher, None, rounds, output / "ceiling").student
        figures["real_data_test_accuracy"] = accuracy(best, *real, fed)
    figures |= report_student(
        output / "report.html",
        model,
        history,
        pool,
        synthesis=synthesis,
        real=real,
        names=FASHION_MNIST_CLASSES if garments else None,
        figures=figures,
    )
    print(json.dumps(figures))


if __name__ == "__main__":
    app.run(main)
