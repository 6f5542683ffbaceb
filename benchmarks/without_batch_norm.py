r"""Inverts and distills networks without BatchNormalization.

    python benchmarks/without_batch_norm.py --idx_dir=FOLDER --output=FOLDER

Each teacher of `modern_networks.py` is trained on Fashion-MNIST first, unless
--output has it. Then each arm of `--arms` gives the statistics that images
should have:

- `stored`: those of BatchNormalization, for the network that has it;
- `images`: of --unlabeled training images, `FeatureTargets.measure`;
- `weights`: of the teacher alone, `FeatureTargets.from_weights`;
- `none`: no statistics, image priors only.

`recognized` is the share of the images of --recipe that the teacher takes for
what they were asked for, `verified` the share that another teacher does, and
`student` the test accuracy of a ResNet-14 of --student_width after --rounds by
`distill`. In --output each row is a file: the same command started again makes
no row anew. Ends with a line of JSON.
`--limit=256 --epochs=1 --width=8 --images=10 --steps=2 --rounds=1
--steps_per_round=2 --arms=images` is a tiny run.
"""

import json
import os
import pathlib
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from absl import app
from absl import flags
from machine import machine
from modern_networks import NETWORKS
from run_folder import claim
from students import make_student
from students import recipe_of

import tf_deepinversion as di
from tf_deepinversion.core.files import save_network
from tf_deepinversion.core.files import write_content
from tf_deepinversion.core.labels import balanced_labels
from tf_deepinversion.datasets.real_images import augmented_epoch
from tf_deepinversion.datasets.real_images import load_split
from tf_deepinversion.optimizers.schedules import warmed_cosine

ARMS = "stored", "images", "weights", "none"
FLAGS = flags.FLAGS
flags.DEFINE_list("teachers", list(NETWORKS), "Of those.")
flags.DEFINE_list("arms", list(ARMS), "Of those, where a network has them.")
flags.DEFINE_string("dataset", "fashion_mnist", "Name of a data set in TFDS.")
flags.DEFINE_string("idx_dir", None, "Folder of idx files, in place of TFDS.")
flags.DEFINE_string("tfds_dir", None, "Folder of the data sets of TFDS.")
flags.DEFINE_integer("width", 32, "Of the teachers.", 4)
flags.DEFINE_integer("epochs", 10, "Of the teachers.", 1)
flags.DEFINE_integer("limit", None, "Train on so many images (a tiny run).")
flags.DEFINE_integer("unlabeled", 100, "Images to measure.", 10)
flags.DEFINE_string("recipe", "ours", "Of the images that are looked at.")
flags.DEFINE_integer("images", 100, "In a batch of --recipe.", 1)
flags.DEFINE_integer("steps", None, "Of a batch; None for the recipe's.", 1)
flags.DEFINE_integer("rounds", 20, "Of the student; 0 for no student.", 0)
flags.DEFINE_integer("steps_per_round", 480, "Of the student.", 1)
flags.DEFINE_integer("student_width", 8, "Of the ResNet-14.", 1)
flags.DEFINE_integer("seed", 0, "Of all.", 0)
flags.DEFINE_string("output", "output/without_batch_norm", "Folder.")

BATCH = 128  # of the teachers' training


def split(part):
    return load_split(
        FLAGS.dataset, part, idx_dir=FLAGS.idx_dir, tfds_dir=FLAGS.tfds_dir
    )


def train(name, images, labels):
    """A teacher by AdamW, whose first epoch is a warm-up."""
    keras.utils.set_random_seed(FLAGS.seed)
    steps = len(images) // BATCH
    model = NETWORKS[name](
        images.shape[1:],
        int(labels.max()) + 1,
        FLAGS.width,
        mean=float(images.mean().round(1)),
        std=float(images.std().round(1)),
    )
    rate = warmed_cosine(FLAGS.epochs * steps, 2e-3, steps)
    model.compile(
        keras.optimizers.AdamW(rate, weight_decay=0.05),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    for epoch in range(FLAGS.epochs):
        batches = augmented_epoch(
            images, labels, batch_size=BATCH, seed=FLAGS.seed, epoch=epoch
        )
        model.fit(batches, initial_epoch=epoch, epochs=epoch + 1, verbose=2)
    model.compile()  # a teacher needs no optimizer
    return model


def teacher_of(name, data):
    path = pathlib.Path(FLAGS.output) / f"{name}.keras"
    if not path.exists():
        save_network(path, train(name, *data))
    return keras.models.load_model(path)


def arms_of(teacher) -> list:
    stores = "batch_norm" in teacher.name
    return [
        arm
        for arm in FLAGS.arms
        if (arm != "stored" or stores) and (arm != "weights" or not stores)
    ]


def targets_of(arm, teacher, images):
    if arm == "images":
        random = np.random.default_rng(FLAGS.seed)
        rows = random.permutation(len(images))[: FLAGS.unlabeled]
        return di.FeatureTargets.measure(teacher, images[rows])
    return di.FeatureTargets.from_weights(teacher) if arm == "weights" else None


def look(teacher, verifier, arm, targets) -> dict:
    """One batch of images, and what two teachers take them for."""
    model = di.DeepInversion(
        teacher,
        targets=targets,
        recipe=recipe_of(FLAGS.recipe, arm == "none"),
        seed=FLAGS.seed,
    )
    labels, begin = balanced_labels(model.classes, FLAGS.images), time.time()
    history = model.fit(labels, FLAGS.steps, verbose=0).history
    terms = {k: v[-1] for k, v in history.items() if k != "recognized"}
    return {
        "recognized": float((model.classes_of(model.images) == labels).mean()),
        "verified": di.metrics.accuracy(verifier, model.images, labels),
        "terms": terms,
        "seconds": time.time() - begin,
    }


def teach(teacher, arm, targets, test) -> dict:
    """A student by `distill`, and its accuracy on the test images."""
    preprocessing = di.Preprocessing.of(teacher)
    student = make_student(
        "ResNet14", FLAGS.student_width, teacher, preprocessing, FLAGS.seed
    )
    synthesizer = di.DeepInversion(
        teacher,
        targets=targets,
        recipe=recipe_of("distillation_pixels", arm == "none"),
        seed=FLAGS.seed,
    )
    begin = time.time()
    found = di.distill(
        teacher,
        student,
        synthesizer,
        rounds=FLAGS.rounds,
        steps_per_round=FLAGS.steps_per_round,
        refresh=di.RefreshPool(images=max(FLAGS.images, 64), steps=FLAGS.steps),
        seed=FLAGS.seed,
        verbose=2,
    )
    return {
        "student": di.metrics.accuracy(student, *test, preprocessing),
        "student_weights": student.count_params(),
        "student_recognized": found.synthesis["recognized"][-1],
        "student_seconds": time.time() - begin,
    }


def row_of(teacher, verifier, arm, data, test) -> dict:
    targets = targets_of(arm, teacher, data[0])
    row = {
        "teacher": teacher.name,
        "arm": arm,
        "teacher_accuracy": di.metrics.accuracy(teacher, *test),
        "teacher_weights": teacher.count_params(),
        **look(teacher, verifier, arm, targets),
    }
    if FLAGS.rounds:
        row.update(teach(teacher, arm, targets, test))
    return row


def main(_):
    rows = []
    output = claim(FLAGS.output, "teachers", "arms", "idx_dir", "tfds_dir")
    data = tuple(part[: FLAGS.limit] for part in split("train"))
    test = tuple(part[: FLAGS.limit] for part in split("test"))
    verifier = di.load_pretrained("fashion_mnist_resnet20")
    for name in FLAGS.teachers:
        teacher = teacher_of(name, data)
        for arm in arms_of(teacher):
            path = output / f"{name}.{arm}.json"
            if not path.exists():
                row = row_of(teacher, verifier, arm, data, test)
                write_content(path, json.dumps(row))
                print(row, flush=True)
            rows.append(json.loads(path.read_text()))
    print(json.dumps({"rows": rows, "machine": machine()}))


if __name__ == "__main__":
    app.run(main)
