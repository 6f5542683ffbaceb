r"""Trains a student without any data, from its teacher alone.

A ResNet-20 of half the width for the network that ships, in about forty minutes
of two cores; it says how far it came on real images that nobody trained on:

    python examples/distill.py

In any other time, which decides how many images there are and how long the
student trains, on a processor with instructions for bfloat16:

    python examples/distill.py --minutes=45 --dtype=mixed_bfloat16

Beside it, as ceilings and floors, the same student for the same steps on real
images, on noise, or on the images of another method:

    python examples/distill.py --method=real \
        --idx_dir=/usr/share/datasets/fashion-mnist

With `--ceiling` the first of them follows in the same run.

A network of your own for CIFAR-10 (`examples/train_teacher.py` makes one), by
the paper's recipe or by a generator with the field's numbers; both are hours of
a GPU, and we have not run them:

    python examples/distill.py --recipe=cifar10_paper --method=adi \
        --teacher=teacher.keras --tfds_dir=$HOME/tensorflow_datasets
    python examples/distill.py --recipe=cifar10_fast --teacher=teacher.keras \
        --tfds_dir=$HOME/tensorflow_datasets

A recipe says what the flags do not: see `distillation_recipes.DISTILLATIONS`.
Methods: `deepinversion`, pixels; `adi`, pixels that compete with the student;
`fast`, a generator that does, and, where the recipe says so, images made
before, which stay (`--portraits`); `noise`; `real`. The same command started
again goes on where it was stopped. In the output folder: `student.keras`;
`saved_model/`, whose serving signature takes uint8 pixels; `pool/` (and
`portraits/pool/`), which `tfds.builder_from_directory` reads; `report.html`;
`grid.png`; `curves.json`.

A tiny run, to see that everything works: `--rounds=2 --steps_per_round=2
--images_per_round=20 --synthesis_steps=3 --first_steps=5`.
"""

import functools
import json
import os
import pathlib
import platform
import time

import feeding
from absl import app
from absl import flags

FLAGS = flags.FLAGS
flags.DEFINE_enum(
    "recipe",
    "fashion_mnist",
    [
        "fashion_mnist",
        "fashion_mnist_generator",
        "cifar10_paper",
        "cifar10_fast",
        "cifar100_fast",
    ],
    "Where the flags below say nothing.",
)
flags.DEFINE_string("teacher", None, "A shipped network or a .keras file.")
feeding.define_flags()
flags.DEFINE_string(
    "student", "ResNet20", "ResNet14 to ResNet56, VGG11BN or a .keras file."
)
flags.DEFINE_integer("student_width", None, "Channels of its first stage.")
flags.DEFINE_enum(
    "method", None, ["fast", "deepinversion", "adi", "noise", "real"], ""
)
flags.DEFINE_integer("rounds", None, "Each adds images and trains.")
flags.DEFINE_float(
    "minutes",
    None,
    "In place of --rounds: as many as fit, by a trial; --ceiling comes on top.",
)
flags.DEFINE_integer("steps_per_round", None, "Of the student.")
flags.DEFINE_integer("batch_size", None, "Of the student.")
flags.DEFINE_enum(
    "optimizer",
    None,
    ["muon", "sgd"],
    "Of the student; sgd wants a rate of 0.1.",
)
flags.DEFINE_float("learning_rate", None, "Of the student, the peak.")
flags.DEFINE_float("temperature", None, "Of the distillation.")
flags.DEFINE_integer(
    "reuse", None, "Steps of the student for each batch its teacher answers."
)
flags.DEFINE_integer("images_per_round", None, "The synthesizer's batch.")
flags.DEFINE_integer("synthesis_steps", None, "A round; pixels need a hundred.")
flags.DEFINE_integer("first_steps", None, "Of the synthesizer, in round one.")
flags.DEFINE_integer(
    "draws", None, "Batches that the generator draws after each round's steps."
)
flags.DEFINE_integer("capacity", None, "Images in the pool.")
flags.DEFINE_integer(
    "portraits", None, "Batches of images that stay, for --method=fast."
)
flags.DEFINE_string("synthesis_recipe", None, "In RECIPES, of the images.")
flags.DEFINE_string("portrait_recipe", None, "In RECIPES.")
flags.DEFINE_integer("portrait_images", None, "A batch of them.")
flags.DEFINE_integer(
    "portrait_steps", None, "A batch; of a generator's others, a third."
)
flags.DEFINE_float("share", None, "Of portraits, in each batch of the student.")
flags.DEFINE_float(
    "strength", None, "Of `augmentations`, in place of the recipe's transforms."
)
flags.DEFINE_string(
    "dtype",
    None,
    "mixed_bfloat16: compute in bfloat16, for processors made for it.",
)
flags.DEFINE_integer("seed", 0, "")
flags.DEFINE_bool(
    "ceiling", False, "Then the same by --method=real: real_data_test_accuracy."
)
flags.DEFINE_string("test_data", None, "An .npz of images and labels.")
flags.DEFINE_string("idx_dir", None, "Real images: for --method=real, test.")
flags.DEFINE_string("tfds_dir", None, "The data folder of TFDS, likewise.")
flags.DEFINE_string("dataset", None, "In it; the recipe's if None.")
flags.DEFINE_string(
    "output",
    None,
    "Folder; by default output/RECIPE_METHOD, of Fashion-MNIST distill_...",
)


def follow(recipe):
    """Fills in from a recipe the flags that were not given."""
    for name, value in recipe.items():
        if name in FLAGS and FLAGS[name].value is None:
            FLAGS[name].value = value
    if FLAGS.method is None:
        FLAGS.method = next(iter(recipe["methods"]))
    if FLAGS.method not in (*recipe["methods"], "noise", "real"):
        raise app.UsageError(
            f"--recipe={FLAGS.recipe} has no --method={FLAGS.method}, but "
            f"{', '.join(recipe['methods'])}, noise and real."
        )
    if FLAGS.draws and FLAGS.method in ("adi", "deepinversion"):
        raise app.UsageError(
            f"--method={FLAGS.method} optimises pixels; only a generator "
            "draws: leave --draws out."
        )
    if FLAGS.ceiling and FLAGS.method == "real":
        raise app.UsageError("--method=real is the ceiling: leave that out.")
    if FLAGS.teacher is None:
        raise app.UsageError(f"--recipe={FLAGS.recipe} needs --teacher.")
    real = FLAGS.ceiling or FLAGS.method == "real"
    if real and not (FLAGS.idx_dir or FLAGS.tfds_dir):
        name = "ceiling" if FLAGS.ceiling else "method=real"
        raise app.UsageError(f"--{name} needs --idx_dir or --tfds_dir.")


def make_student(teacher, preprocessing):
    import keras

    from tf_deepinversion import models

    if FLAGS.student.endswith(".keras"):
        return keras.models.load_model(FLAGS.student, compile=False)
    keras.utils.set_random_seed(FLAGS.seed)
    return getattr(models, FLAGS.student)(
        teacher.input_shape[1:],
        teacher.output_shape[-1],
        width=FLAGS.student_width,
        mean=preprocessing.mean,
        std=preprocessing.std,
        name="student",
    )


@functools.cache
def training_images():
    """The real ones, for --method=real and --ceiling."""
    from tf_deepinversion.datasets.real_images import load_split

    return load_split(
        FLAGS.dataset, "train", idx_dir=FLAGS.idx_dir, tfds_dir=FLAGS.tfds_dir
    )


def make_synthesizer(method, teacher, student, preprocessing):
    import tf_deepinversion as di
    from tf_deepinversion.distillation.recipes import DISTILLATIONS
    from tf_deepinversion.inversion.given_images import GivenImages

    recipe = DISTILLATIONS[FLAGS.recipe]
    if method in recipe["methods"]:
        maker, draws = di.DeepInversion, {}
        if method == "fast":
            maker, draws = di.FastInversion, {"draws": FLAGS.draws}
        return maker(
            teacher,
            preprocessing,
            student=None if method == "deepinversion" else student,
            recipe=FLAGS.synthesis_recipe or recipe["methods"][method],
            seed=FLAGS.seed,
            dtype=FLAGS.dtype,
            **draws,
        )
    real = training_images() if method == "real" else None
    return GivenImages(
        teacher.input_shape[1:], teacher.output_shape[-1], real, FLAGS.seed
    )


def make_portraits(teacher, output):
    """Images that stay, for a student that learns by a generator's others."""
    import tf_deepinversion as di
    from tf_deepinversion.inversion import recipes

    if FLAGS.method != "fast" or not FLAGS.portraits:
        return None
    recipe, steps = recipes.find(FLAGS.portrait_recipe), FLAGS.portrait_steps
    drawn = recipe.get("moves") == "generator"
    return di.synthesize(
        teacher,
        folder=output / "portraits",
        seed=FLAGS.seed,
        batches=FLAGS.portraits,
        images=FLAGS.portrait_images,
        first_steps=steps,
        steps=max(1, steps // 3) if drawn else steps,
        preprocessing=feeding.preprocessing(),
        recipe=recipe,
        dtype=FLAGS.dtype,
    )


def images_for_nothing():
    """As many as a synthesizer adds for each image that it makes."""
    from tf_deepinversion.distillation.recipes import DISTILLATIONS
    from tf_deepinversion.inversion import recipes

    if FLAGS.draws:
        return FLAGS.draws
    default = next(iter(DISTILLATIONS[FLAGS.recipe]["methods"].values()))
    recipe = recipes.find(FLAGS.synthesis_recipe or default)
    return recipes.images_per_label(recipe)


def run(
    teacher,
    portraits,
    rounds,
    folder,
    callbacks=(),
    *,
    each_round=False,
    method=None,
):
    """Distils into a new student: what `distill` returns, and its synthesis.

    What has nothing to do with the student is all made before it begins, or
    by `each_round` as the rest: a batch before each round. The method is that
    of the flags, unless it is given.
    """
    from tf_deepinversion import Preprocessing
    from tf_deepinversion import RefreshPool
    from tf_deepinversion.distillation._distill import distill
    from tf_deepinversion.distillation.recipes import DISTILLATIONS
    from tf_deepinversion.inversion.recipes import make_transforms
    from tf_deepinversion.optimizers.schedules import OPTIMIZERS
    from tf_deepinversion.transforms.augmentations import augmentations

    method = method or FLAGS.method
    preprocessing = Preprocessing.of(teacher, feeding.preprocessing())
    student = make_student(teacher, preprocessing)
    recipe = DISTILLATIONS[FLAGS.recipe]
    strength = FLAGS.strength
    if strength is None and not isinstance(recipe["transforms"], list):
        strength = recipe["transforms"]
    images = FLAGS.images_per_round
    if method in ("noise", "real"):
        images *= images_for_nothing()
    synthesizer = make_synthesizer(method, teacher, student, preprocessing)
    refresh = RefreshPool(
        images,
        FLAGS.synthesis_steps,
        FLAGS.first_steps,
        when="every_round" if each_round else None,
    )
    return *distill(
        teacher,
        student,
        synthesizer,
        rounds=rounds,
        steps_per_round=FLAGS.steps_per_round,
        batch_size=FLAGS.batch_size,
        refresh=refresh,
        capacity=FLAGS.capacity,
        portraits=portraits,
        share=FLAGS.share,
        optimizer=OPTIMIZERS[FLAGS.optimizer](
            rounds * FLAGS.steps_per_round, FLAGS.learning_rate
        ),
        folder=folder,
        seed=FLAGS.seed,
        callbacks=list(callbacks),
        verbose=2,
        preprocessing=preprocessing,
        temperature=FLAGS.temperature,
        reuse=FLAGS.reuse,
        dtype=FLAGS.dtype,
        transforms=make_transforms(recipe)
        if strength is None
        else augmentations(strength),
    ), refresh.synthesis


def rounds_for(minutes, teacher, portraits, folder, begin):
    """How many rounds fit, by a trial of three; decided once for a folder."""
    import keras

    from tf_deepinversion.core.files import write_atomically

    plan = folder / "plan.json"
    if plan.exists():
        planned = json.loads(plan.read_text())
        if planned.get("minutes") != minutes:
            raise app.UsageError(
                f"{folder} was planned for --minutes={planned.get('minutes')}: "
                "take another --output, or delete it."
            )
        return planned["rounds"]
    start, ends = time.monotonic(), []
    clock = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda *_: ends.append(time.monotonic())
    )
    run(teacher, portraits, 3, None, [clock], each_round=True)
    each = (ends[-1] - ends[0]) / 2
    # The first round, in which graphs are traced, takes longer.
    left = 60 * minutes - (time.monotonic() - begin) - (ends[0] - start)
    rounds = max(1, int(left / each))
    found = {"minutes": minutes, "rounds": rounds, "seconds_a_round": each}
    content = json.dumps(found).encode()
    write_atomically(plan, lambda file: file.write(content))
    return rounds


def main(_):
    import numpy as np

    from tf_deepinversion.callbacks.stopwatch import Stopwatch
    from tf_deepinversion.core.checks import check_pixels
    from tf_deepinversion.core.checks import share_right
    from tf_deepinversion.core.files import write_atomically
    from tf_deepinversion.core.pictures import grid
    from tf_deepinversion.core.pictures import save_png
    from tf_deepinversion.core.run_state import fingerprint
    from tf_deepinversion.datasets.real_images import FASHION_MNIST_CLASSES
    from tf_deepinversion.datasets.real_images import load_test_data
    from tf_deepinversion.distillation.recipes import DISTILLATIONS
    from tf_deepinversion.models import PRETRAINED
    from tf_deepinversion.models.pretrained import load_network
    from tf_deepinversion.networks.reader import resized
    from tf_deepinversion.reports.student_report import report_student
    from tf_deepinversion.serving import Served
    from tf_deepinversion.serving import export

    recipe = DISTILLATIONS[FLAGS.recipe]
    follow(recipe)
    begin = time.monotonic()
    teacher = load_network(FLAGS.teacher)
    # What is wrong with real images is said before hours are spent.
    garments = FLAGS.teacher in PRETRAINED
    real = load_test_data(
        teacher.input_shape[1:],
        FLAGS.test_data,
        FLAGS.idx_dir,
        FLAGS.tfds_dir,
        FLAGS.dataset,
        shipped=garments,
    )
    if real is not None:
        check_pixels(real[0])
    if FLAGS.ceiling or FLAGS.method == "real":
        training_images()
    stem = FLAGS.recipe.replace("fashion_mnist", "distill")
    output = pathlib.Path(FLAGS.output or f"output/{stem}_{FLAGS.method}")
    output.mkdir(parents=True, exist_ok=True)
    portraits = make_portraits(teacher, output)
    rounds = FLAGS.rounds
    if FLAGS.minutes:
        rounds = rounds_for(FLAGS.minutes, teacher, portraits, output, begin)
    watch = Stopwatch(output / "seconds.json", begin)
    model, history, pool, synthesis = run(
        teacher, portraits, rounds, output, [watch]
    )
    student = model.student
    student.save(output / "student.keras")
    order = np.argsort(pool.labels[-100:], kind="stable")
    save_png(output / "grid.png", grid(pool.images[-100:][order], 10, 2))
    curves = json.dumps(history).encode()
    write_atomically(output / "curves.json", lambda f: f.write(curves))
    export(student, output / "saved_model", model.student_preprocessing)
    shown = resized(pool.images[-250:], student)
    served = Served(output / "saved_model")(shown)
    figures = {
        "recipe": FLAGS.recipe,
        "method": FLAGS.method,
        "agreement_on_pool": history["agreement"][-1],
        "rounds": rounds,
        "student_steps": rounds * FLAGS.steps_per_round,
        "images": len(pool),
        "portraits": len(portraits or ()),
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
        best, *_ = run(teacher, None, rounds, output / "ceiling", method="real")
        answers = best.answers(real[0])[1].argmax(-1)
        figures["real_data_test_accuracy"] = share_right(answers, real[1])
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
