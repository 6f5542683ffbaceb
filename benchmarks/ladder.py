r"""Repeats Table 1 of the paper: trains one student on each method's images.

    python benchmarks/ladder.py --idx_dir=/usr/share/datasets/fashion-mnist

The methods, from the lower to the upper bound:

- `noise`: uniform noise;
- `prior`: pixels by cross-entropy and total variation alone, without R_feature;
- `deepinversion`: pixels by the whole objective;
- `adi`: the same, in competition with the student as it learns;
- `fast`: a generator that competes with the student;
- `real`: training images; needs --idx_dir.

The rows differ by the images alone. All methods make the same number of images,
in the same number of batches, one before each round of the student's training.
The student, its first weights, its steps, transforms and temperature are the
same too. `--recipe` is the recipe of the pixels; `fast` has the recipe
`distillation`.

--output has a folder for each method with `pool/`, which
`tfds.builder_from_directory` reads, `student.keras` and `figures.json`.
Repeating the same command resumes a stopped run, even in the middle of a batch,
and repeats nothing that is finished. The accuracy is measured once, after
training, on real test images. The benchmark prints a table and, at the end, a
line of JSON.

A tiny run, to see that everything works: `--images=40 --synthesis_batch=20
--steps=2 --fast_steps=1 --first_steps=2 --student_steps=4`.
"""

import json
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from absl import app
from absl import flags
from machine import machine

METHODS = ("noise", "prior", "deepinversion", "adi", "fast", "real")
FLAGS = flags.FLAGS
flags.DEFINE_string(
    "teacher", "fashion_mnist_resnet20", "A shipped network or a .keras file."
)
flags.DEFINE_string("student", "ResNet20", "ResNet14 to ResNet56, VGG11BN.")
flags.DEFINE_integer("student_width", 8, "Channels of the first stage.")
flags.DEFINE_list(
    "methods", None, f"Of {', '.join(METHODS)}; real only with --idx_dir."
)
flags.DEFINE_integer("images", 2560, "For each method.", lower_bound=1)
flags.DEFINE_integer("synthesis_batch", 256, "Images in a batch.", 1)
flags.DEFINE_string("recipe", "cifar10_paper", "Recipe of the pixels.")
flags.DEFINE_integer("steps", 400, "Steps of a batch of pixels.", 1)
flags.DEFINE_integer("fast_steps", 40, "The generator's, for a batch.", 1)
flags.DEFINE_integer("first_steps", 100, "For its first batch.", 1)
flags.DEFINE_integer("student_steps", 1600, "Of all rounds.", lower_bound=1)
flags.DEFINE_integer("batch_size", 128, "Of the student.", lower_bound=1)
flags.DEFINE_string(
    "dtype", None, "mixed_bfloat16: images and students compute in it."
)
flags.DEFINE_integer("seed", 0, "Random seed.")
flags.DEFINE_string("test_data", None, "An .npz of images and labels.")
flags.DEFINE_string("idx_dir", None, "Folder of real images in idx files.")
flags.DEFINE_string("output", "output/ladder", "Folder.")


def plan():
    """Returns the methods, the number of rounds, and the steps in a round."""
    from tf_deepinversion.inversion.recipes import find

    methods = FLAGS.methods or METHODS[: 6 if FLAGS.idx_dir else 5]
    for method in methods:
        if method not in METHODS:
            raise app.UsageError(f"--methods: {method!r} is not in {METHODS}.")
    if "real" in methods and not FLAGS.idx_dir:
        raise app.UsageError("The method `real` needs --idx_dir.")
    rounds, rest = divmod(FLAGS.images, FLAGS.synthesis_batch)
    if rest:
        raise app.UsageError(
            "--images must be a multiple of --synthesis_batch. "
            f"Received: {FLAGS.images} and {FLAGS.synthesis_batch}"
        )
    if find(FLAGS.recipe).snapshots:
        raise app.UsageError(
            "All methods make as many images, so a recipe may keep no "
            f"snapshots beside them. Received: --recipe={FLAGS.recipe}"
        )
    if FLAGS.student_steps % rounds:
        raise app.UsageError(
            f"--student_steps must be a multiple of the {rounds} batches. "
            f"Received: {FLAGS.student_steps}"
        )
    return methods, rounds, FLAGS.student_steps // rounds


def given_images(method, classes, shape):
    """Returns --images images of noise, or real images, with labels."""
    import numpy as np

    from tf_deepinversion import balanced_labels
    from tf_deepinversion.datasets.real_images import load_idx

    random = np.random.default_rng(FLAGS.seed)
    if method == "noise":
        images = random.integers(0, 256, (FLAGS.images, *shape), "uint8")
        return images, balanced_labels(classes, FLAGS.images)
    images, labels = load_idx(FLAGS.idx_dir, "train")
    if len(images) < FLAGS.images:
        raise app.UsageError(f"{FLAGS.idx_dir} has only {len(images)} images.")
    rows = random.permutation(len(images))[: FLAGS.images]
    return images[rows], labels[rows]


def make_synthesizer(method, teacher, student, preprocessing, folder):
    from students import Given
    from students import TimedPixels
    from students import competing_generator

    from tf_deepinversion.inversion.recipes import find

    if method in ("noise", "real"):
        classes, shape = teacher.output_shape[-1], teacher.input_shape[1:]
        images, labels = given_images(method, classes, shape)
        return Given(shape, classes, (images, labels), FLAGS.seed)
    if method == "fast":
        return competing_generator(
            teacher, student, preprocessing, FLAGS.seed, 1, FLAGS.dtype
        )
    recipe = find(FLAGS.recipe)
    if method == "prior":
        terms = [term for term in recipe.loss if not term.needs_batch_norms]
        recipe = recipe.replace(loss=terms)
    return TimedPixels(
        teacher,
        preprocessing,
        recipe=recipe,
        student=student if method == "adi" else None,
        seed=FLAGS.seed,
        dtype=FLAGS.dtype,
        folder=folder / "batches",
    )


def climb(method, rounds, steps, teacher, preprocessing, test):
    """Runs one method and returns its figures, a row of the table."""
    from students import learn
    from students import make_student

    from tf_deepinversion import RefreshPool
    from tf_deepinversion.core.files import save_network
    from tf_deepinversion.core.files import write_content
    from tf_deepinversion.metrics.recognition import accuracy

    folder, fast = pathlib.Path(FLAGS.output) / method, method == "fast"
    student = make_student(
        FLAGS.student,
        FLAGS.student_width,
        teacher,
        preprocessing,
        FLAGS.seed,
    )
    seen, (_, history, pool, _) = learn(
        teacher,
        student,
        make_synthesizer(method, teacher, student, preprocessing, folder),
        rounds=rounds,
        steps_per_round=steps,
        batch_size=FLAGS.batch_size,
        refresh=RefreshPool(
            FLAGS.synthesis_batch,
            FLAGS.fast_steps if fast else FLAGS.steps,
            FLAGS.first_steps if fast else None,
            "every_round",
        ),
        capacity=FLAGS.images,
        folder=folder,
        seed=FLAGS.seed,
        preprocessing=preprocessing,
        dtype=FLAGS.dtype,
    )
    save_network(folder / "student.keras", student)
    figures = {
        "accuracy": accuracy(student, *test, seen.model.student_preprocessing),
        "seconds": sum(history["synthesis_seconds"]),
        "images": len(pool),
        "student_steps": int(seen.model.optimizer.iterations),
    }
    write_content(folder / "figures.json", json.dumps(figures))
    return figures


def main(_):
    methods, rounds, steps = plan()

    from tf_deepinversion import Preprocessing
    from tf_deepinversion.core.run_state import fingerprint
    from tf_deepinversion.datasets.real_images import load_test_data
    from tf_deepinversion.metrics.recognition import accuracy
    from tf_deepinversion.models import PRETRAINED
    from tf_deepinversion.models.pretrained import load_network

    teacher = load_network(FLAGS.teacher)
    preprocessing = Preprocessing.of(teacher)
    test = load_test_data(
        teacher.input_shape[1:],
        FLAGS.test_data,
        FLAGS.idx_dir,
        shipped=FLAGS.teacher in PRETRAINED,
    )
    if test is None:
        raise app.UsageError(
            "Expected test images: pass --test_data or --idx_dir."
        )
    rows = {
        method: climb(method, rounds, steps, teacher, preprocessing, test)
        for method in methods
    }
    print("\nmethod          accuracy   seconds of synthesis")
    for method, row in rows.items():
        print(f"{method:14}  {row['accuracy']:7.2%}  {row['seconds']:20.1f}")
    by_method = {
        name: {method: row[name] for method, row in rows.items()}
        for name in ("accuracy", "seconds", "student_steps")
    }
    figures = {
        **by_method,
        "teacher_accuracy": accuracy(teacher, *test, preprocessing),
        "images": FLAGS.images,
        "test_images": len(test[0]),
        "recipe": FLAGS.recipe,
        "steps": FLAGS.steps,
        "fast_steps": FLAGS.fast_steps,
        "dtype": FLAGS.dtype,
        "seed": FLAGS.seed,
        "teacher_sha256": fingerprint({}, teacher.get_weights()),
        "machine": machine(),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    app.run(main)
