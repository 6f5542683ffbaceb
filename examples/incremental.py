r"""Teaches a network new classes without the data of the old classes.

This command teaches a network five garments and then five others, by ABD:

    python examples/incremental.py --case=fashion_5_5 --method=abd \
        --idx_dir=/usr/share/datasets/fashion-mnist

Cases: `fashion_plus_digits` (scikit-learn's digits, extra `digits`);
`fashion_5_5` and `fashion_2x5`, the garments in tasks of five and of two
classes; `cifar100_5` and `cifar100_10`, CIFAR-100 in five and ten tasks, from
TFDS; `letters_2x5` and `letters_2x13`, letters in color in tasks of two, which
benchmarks/glyphs.py draws into the folder --sets.

Methods: `abd`; `replay`, the paper's three terms; `lwf`, `lwf_mc` and
`finetune`, which synthesize nothing; `analytic`, a head of sums on random
features, or with `--features=network` on the maps of the first network, which
stays as it is; `joint`, training on all data at once, the upper bound.
`--route` lets the head of `analytic` choose the task, and the network of the
method the class within the task. `--head=gaussians` solves the head from
Gaussians of the classes' features; both reuse a finished run.

`incremental_cases.py` holds the default method and the default settings of each
case.

The command trains the network of the first task and the network of joint
training with `incremental.train`. It keeps both in OUTPUT/CASE_seedN for all
methods; `--nojoint` saves the time of joint training. Each method has a folder
there. Repeating the same command resumes a
stopped run. The folder of a method holds `network.keras`; `saved_model/`, whose
serving signature takes uint8 pixels; `figures.json`; and, except for `joint`,
`report.html`.

A tiny run, to see that everything works: `--train_images=500 --epochs=1
--joint_epochs=1 --synthesis_images=20 --synthesis_batches=1 --first_steps=2
--width=2`.
"""

import json
import pathlib
import time

import given
import incremental_analytic as analytic
import incremental_cases as cases
import keras
import numpy as np
from absl import app
from absl import flags
from incremental_images import Images

import tf_deepinversion as di
from tf_deepinversion import incremental
from tf_deepinversion.core.files import save_network
from tf_deepinversion.core.run_state import fingerprint
from tf_deepinversion.metrics import accuracy
from tf_deepinversion.models import ResNet20
from tf_deepinversion.reports import report_tasks

FLAGS = flags.FLAGS
METHODS = ["finetune", "lwf", "lwf_mc", "replay", "abd", "analytic", "joint"]
REPLAYING = ["replay", "abd"]
KINDS = ["generator", "pixels"]
# Flags that some methods alone read.
OF_LEARNING = [
    "weights",
    "epochs",
    "least_steps",
    "batch_size",
    "learning_rate",
    "strength",
    "head",
    "route",
]
OF_IMAGES = [
    "synthesis",
    "synthesis_batches",
    "synthesis_images",
    "draws",
    "synthesis_steps",
    "first_steps",
    "class_weight",
    "statistics",
]
OF_ANALYTIC = ["features", "filters"]
flags.DEFINE_enum("case", "fashion_plus_digits", cases.CASES, "Data sets.")
flags.DEFINE_enum("method", None, METHODS, "Default: the case's.")
flags.DEFINE_list("weights", [], "Weights of terms, as balance=1,local=2.")
flags.DEFINE_string("idx_dir", None, "Folder of Fashion-MNIST's idx files.")
flags.DEFINE_string("tfds_dir", None, "Folder of the data sets of TFDS.")
flags.DEFINE_string("sets", None, "Folder that benchmarks/glyphs.py wrote.")
flags.DEFINE_integer("train_images", 30_000, "The first of each data set.")
flags.DEFINE_integer("width", 8, "Channels of the ResNet-20's first stage.")
flags.DEFINE_integer("epochs", None, "Epochs of each new task.")
flags.DEFINE_integer("least_steps", 100, "Fewest steps of an epoch.")
flags.DEFINE_integer("batch_size", 64, "New images; as many are replayed.")
flags.DEFINE_float("learning_rate", 0.05, "Largest rate for new tasks.")
flags.DEFINE_integer("joint_epochs", 15, "Joint and first training.")
flags.DEFINE_enum("synthesis", None, [*KINDS, "both"], "Kind of images.")
flags.DEFINE_integer("synthesis_batches", 10, "Batches for a task.")
flags.DEFINE_integer("synthesis_images", 256, "Images in a batch.")
flags.DEFINE_integer("draws", None, "Batches that the generator adds.")
flags.DEFINE_integer("synthesis_steps", None, "Default 30; pixels: 150.")
flags.DEFINE_integer("first_steps", 300, "Of the generator's first batch.")
flags.DEFINE_float("class_weight", None, "Of the cross-entropy.")
flags.DEFINE_enum(
    "statistics",
    None,
    ["class", "task", "network"],
    "Of the images. Default: the case's.",
)
flags.DEFINE_float("strength", 0.5, "Strength of the augmentations.")
flags.DEFINE_enum(
    "features", "random", ["network", "random"], "Of the analytic head."
)
flags.DEFINE_integer("filters", 50, "Random filters of the analytic head.")
flags.DEFINE_enum(
    "head", "trained", ["trained", "gaussians"], "Head after each task."
)
flags.DEFINE_bool("route", False, "The analytic head chooses the task.")
flags.DEFINE_bool("joint", True, "Train the upper bound, too.")
flags.DEFINE_integer("seed", 0, "Another seed gives another network.")
flags.DEFINE_string("output", "output/incremental", "Folder.")


def setting(name):
    """Returns the value of a flag, by default the case's."""
    flag = FLAGS[name].value
    return cases.SETTINGS[FLAGS.case][name] if flag is None else flag


def statistics_of_images():
    """Returns the kind of statistics, or None without synthesized images."""
    return setting("statistics") if setting("method") in REPLAYING else None


def train_network(case, tasks, name, folder):
    """Trains a ResNet-20 on the first `tasks` tasks, or loads it."""
    images, labels = cases.joined(case.train[:tasks])
    keras.utils.set_random_seed(FLAGS.seed)
    network = ResNet20(
        images.shape[1:],
        int(labels.max()) + 1,
        width=FLAGS.width,
        mean=images.mean((0, 1, 2)).round(2).tolist(),
        std=images.std((0, 1, 2)).round(2).tolist(),
        name="classifier",
    )
    source = [FLAGS.case, FLAGS.train_images, FLAGS.seed]
    return incremental.train(
        network,
        images,
        labels,
        epochs=FLAGS.joint_epochs,
        transforms=cases.transforms_of(case),
        folder=folder,
        name=name,
        run=fingerprint([source, tasks, FLAGS.width, FLAGS.joint_epochs]),
        seed=FLAGS.seed,
    ).network


def targets_of_classes(network, images, labels):
    """Measures the statistics of each class."""
    measure = di.FeatureTargets.measure
    return [measure(network, images[labels == c]) for c in np.unique(labels)]


def weights_of_terms() -> dict:
    """Returns the weights that --weights names."""
    try:
        pairs = [weight.split("=") for weight in FLAGS.weights]
        return {name: float(value) for name, value in pairs}
    except ValueError:
        raise app.UsageError(
            "Expected names and numbers, such as --weights=balance=1,local=2. "
            f"Received: --weights={','.join(FLAGS.weights)}"
        ) from None


def learn(case, first, folder):
    """Learns all tasks after the first, by a method except joint training."""
    weights = weights_of_terms()
    kind = setting("synthesis")
    batches, size = FLAGS.synthesis_batches, FLAGS.synthesis_images
    statistics, targets = statistics_of_images(), None
    if statistics == "class":
        targets = targets_of_classes(first, *case.train[0])
        # As many images as for all classes of a task together.
        share = batches * size / len(targets)
        batches = max(1, round(batches / len(targets)))
        size = max(1, round(share / batches))
    images = Images(
        KINDS if kind == "both" else [kind],
        batches,
        size,
        FLAGS.synthesis_steps,
        FLAGS.first_steps,
        setting("draws"),
        setting("class_weight"),
        case.mirrored,
    )
    steps = min(len(labels) for _, labels in case.train[1:])
    gaussians = None
    if FLAGS.head == "gaussians":
        measure = incremental.ClassGaussians.measure
        gaussians = measure(first, *case.train[0])
    return incremental.learn_tasks(
        first,
        case.train[1:],
        incremental.method(setting("method"), **weights),
        tests=case.test,
        synthesize=images.make,
        measure=statistics != "network",
        targets=targets,
        gaussians=gaussians,
        epochs=setting("epochs"),
        steps_per_epoch=max(FLAGS.least_steps, steps // FLAGS.batch_size),
        batch_size=FLAGS.batch_size,
        replay_batch_size=FLAGS.batch_size,
        learning_rate=FLAGS.learning_rate,
        transforms=cases.augmentations_of(case, FLAGS.strength),
        folder=folder,
        run=images.run(),
        seed=FLAGS.seed,
    )


def run(case, base, folder):
    """Returns the `LearnedTasks` of the method, perhaps routed."""
    method = setting("method")
    if method == "joint":
        joint = train_network(case, len(case.train), "joint", base)
        return incremental.LearnedTasks(
            joint, [], [], [], [row_of(joint, case)]
        )
    if method != "analytic":
        found = learn(case, train_network(case, 1, "first", base), folder)
        if not FLAGS.route:
            return found
    if FLAGS.features == "network":
        features = incremental.pooled_features(
            train_network(case, 1, "first", base), places=4
        )
    else:
        features = analytic.random_features(case, FLAGS.filters, FLAGS.seed)
    head, routers = analytic.learn(case, features)
    save_network(folder / "analytic.keras", head.network)
    if method == "analytic":
        return head
    return analytic.route(case, found, head, routers, base, folder)


def row_of(network, case):
    return [accuracy(network, *test) for test in case.test]


def of_joint(case, base, row) -> dict:
    """Returns figures of joint training, the upper bound."""
    if not FLAGS.joint:
        return {}
    joint = train_network(case, len(case.train), "joint", base)
    joint_row = row_of(joint, case)
    return {
        "joint_test_accuracy": float(np.mean(joint_row)),
        "ratio_to_joint": float(np.mean(row) / np.mean(joint_row)),
        "joint_accuracy_by_task": dict(zip(case.names, joint_row, strict=True)),
    }


def kept_apart(method) -> list:
    """Returns what the name of the method's folder adds to its name."""
    if method == "analytic":
        return ["network"] if FLAGS.features == "network" else []
    statistics = statistics_of_images()
    return [] if statistics in (None, "task") else [statistics]


def require_read():
    """Refuses given flags that the method does not read."""
    method, unread = setting("method"), []
    if method in ("analytic", "joint"):
        unread += OF_LEARNING
    if method not in REPLAYING:
        unread += OF_IMAGES
    elif setting("synthesis") == "pixels":
        unread += ["draws", "first_steps"]
    if method != "analytic" and not FLAGS.route:
        unread += OF_ANALYTIC
    elif FLAGS.features == "network":
        unread += ["filters"]
    given.refuse_unread(unread)


def main(_):
    if FLAGS.route and FLAGS.head == "gaussians":
        raise app.UsageError(
            "--route takes the networks of the trained head: pass --route or "
            "--head=gaussians, not both"
        )
    require_read()
    weights_of_terms()  # a mistake is said before the first training
    begin = time.monotonic()
    case = cases.load_case(
        FLAGS.case,
        idx_dir=FLAGS.idx_dir,
        tfds_dir=FLAGS.tfds_dir,
        sets=FLAGS.sets,
        train_images=FLAGS.train_images,
    )
    base = pathlib.Path(FLAGS.output) / f"{FLAGS.case}_seed{FLAGS.seed}"
    method = setting("method")
    folder = base / "_".join([method, *kept_apart(method)])
    folder.mkdir(parents=True, exist_ok=True)
    found = run(case, base, folder)
    row = found.accuracies[-1]
    sums = FLAGS.route or method == "analytic"
    figures = {
        "case": FLAGS.case,
        "method": method,
        "head": FLAGS.head,
        "statistics": statistics_of_images(),
        "route": "analytic" if FLAGS.route else None,
        "features": FLAGS.features if sums else None,
        "test_accuracy": float(np.mean(row)),
        **of_joint(case, base, row),
        "accuracy_by_task": dict(zip(case.names, row, strict=True)),
        "kept_bytes": found.kept_bytes,
        "average_incremental_accuracy": found.average_incremental_accuracy,
        "forgetting": found.forgetting,
        "accuracies": found.accuracies,
        "seconds": sum(found.seconds),
        "seconds_with_training": time.monotonic() - begin,
        "test_images": [len(labels) for _, labels in case.test],
        "seed": FLAGS.seed,
        "epochs": setting("epochs"),
        "joint_epochs": FLAGS.joint_epochs,
        "train_images": FLAGS.train_images,
        "machine": given.machine(),
    }
    variant = "gaussians" if FLAGS.head == "gaussians" else ""
    variant = "routed" if FLAGS.route else variant
    title = f"{FLAGS.case} by {method} {variant}".strip()
    page = folder / variant
    fed = analytic.fed_pixels(case)
    figures |= report_tasks(
        page, found, case.names, case.test, figures, title, fed
    )
    print(json.dumps(figures))


if __name__ == "__main__":
    app.run(main, given.command_line())
