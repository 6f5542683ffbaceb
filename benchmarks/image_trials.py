r"""Compares variants of the images from which a student learns.

    python benchmarks/image_trials.py \
        --idx_dir=/usr/share/datasets/fashion-mnist
    python benchmarks/image_trials.py --teacher=teachers/k_to_t_resnet_swish \
        --held_out=glyphs/k_to_t/held_out.npz --batches=6

A variant is a change of the recipe `distillation_pixels`, see `VARIANTS`. Each
variant has a pool of the same number of images, all made first, and a student
with the same first weights and the same steps. --student=narrow starts the
student from half of the teacher's channels (`pruning.narrow`) in place of
random weights.

No figure is of a test image: --held_out holds labeled images of the training
split that no student sees. --idx_dir takes the first 5,000 training images of
Fashion-MNIST, which the shipped teacher has seen. `kl` is the mean of
KL(p_T || p_S) on these images, both networks at a temperature of 4. It varies
less than the accuracy.

--output has a folder for each variant. Repeating the same command resumes a
stopped run and repeats nothing that is finished. The last line printed is JSON.
A tiny run: `--batches=1 --images=20 --steps=3 --student_steps=4`.
"""

import json
import os
import pathlib
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from absl import app
from absl import flags
from glyph_networks import load_glyph_teacher
from machine import machine
from run_folder import claim
from students import make_student

import tf_deepinversion as di
from tf_deepinversion.core.files import write_content
from tf_deepinversion.inversion import DeadLeaves
from tf_deepinversion.inversion import Noise
from tf_deepinversion.models.pretrained import load_network
from tf_deepinversion.networks import reader
from tf_deepinversion.networks.student_input import preprocessing_of_student

BASE = di.RECIPES["distillation_pixels"]
COARSE = Noise(coarseness=4)
VARIANTS = {
    "noise": {"start": COARSE},
    "leaves": {"start": DeadLeaves()},
    "textured": {"start": DeadLeaves(textured=0.5)},
    "means": {"start": COARSE, "loss": [*BASE.loss, di.ClassMeans(4.5)]},
    "leaves_means": {
        "start": DeadLeaves(),
        "loss": [*BASE.loss, di.ClassMeans(4.5)],
    },
}
FLAGS = flags.FLAGS
flags.DEFINE_string(
    "teacher",
    "fashion_mnist_resnet20",
    "A shipped network, or a path without suffix of train_glyph_teachers.py.",
)
flags.DEFINE_string("idx_dir", None, "Folder of Fashion-MNIST's four files.")
flags.DEFINE_string("held_out", None, "A .npz with `images` and `labels`.")
flags.DEFINE_list("variants", list(VARIANTS), "Of VARIANTS.")
flags.DEFINE_enum("student", "random", ["random", "narrow"], "First weights.")
flags.DEFINE_integer("width", 8, "Channels of the ResNet-20's first stage.", 1)
flags.DEFINE_integer("batches", 6, "Batches of images.", 1)
flags.DEFINE_integer("images", 256, "Images in a batch, without snapshots.", 1)
flags.DEFINE_integer("steps", 100, "Steps of a batch.", 1)
flags.DEFINE_integer("student_steps", 1920, "Of all rounds.", 1)
flags.DEFINE_float("class_maps", 1.0, "See `distill`; 0 for outputs only.")
flags.DEFINE_integer("seed", 0, "Of images and students.", 0)
flags.DEFINE_string("dtype", "mixed_bfloat16", "Of images and students.")
flags.DEFINE_string("output", "output/image_trials", "Folder.")


def load_teacher():
    if pathlib.Path(FLAGS.teacher + ".json").exists():
        return load_glyph_teacher(FLAGS.teacher)[:2]
    return load_network(FLAGS.teacher), None


def held_out_images():
    if FLAGS.held_out:
        with np.load(FLAGS.held_out) as file:
            return file["images"], file["labels"]
    if not FLAGS.idx_dir:
        raise app.UsageError("Pass --held_out or --idx_dir.")
    images, labels = di.datasets.load_idx(FLAGS.idx_dir, "train")
    return images[:5000], labels[:5000]


def make_pool(teacher, fed, name, folder):
    """Makes the variant's pool; returns it and the seconds of this run."""
    begin = time.monotonic()
    maker = di.DeepInversion(
        teacher,
        fed,
        recipe=BASE.replace(**VARIANTS[name]),
        seed=FLAGS.seed,
        dtype=FLAGS.dtype,
    )
    count = FLAGS.batches * FLAGS.images * maker.images_per_label
    pool = di.Pool(
        count, maker.image_shape, maker.classes, folder=folder, run=name
    )
    pool.fill(
        maker, batches=FLAGS.batches, images=FLAGS.images, steps=FLAGS.steps
    )
    return pool, time.monotonic() - begin


def train_student(teacher, fed, pool, folder):
    """Trains the student; returns it and the seconds of this run."""
    begin = time.monotonic()
    given = di.Preprocessing.of(teacher, fed)
    if FLAGS.student == "narrow":
        student = di.pruning.narrow(
            teacher, pool, preprocessing=fed, seed=FLAGS.seed
        )
    else:
        student = make_student(
            "ResNet20", FLAGS.width, teacher, given, FLAGS.seed
        )
    rounds = max(1, FLAGS.student_steps // 480)
    di.distill(
        teacher,
        student,
        pool,
        rounds=rounds,
        steps_per_round=FLAGS.student_steps // rounds,
        class_maps=FLAGS.class_maps,
        preprocessing=fed,
        dtype=FLAGS.dtype,
        seed=FLAGS.seed,
        folder=folder,
    )
    return student, time.monotonic() - begin


def score(teacher, student, fed, images, labels) -> dict:
    taught = reader.read_logits(teacher, images, fed)
    # The ResNet-20 contains its preprocessing; channels of the teacher do not.
    own = preprocessing_of_student(
        student, None, di.Preprocessing.of(teacher, fed)
    )
    learned = reader.read_logits(student, images, own)
    # The loss is T^2 times the divergence.
    kl = float(di.SoftenedKL(4.0)(taught, learned)) / 16
    return {
        "accuracy": float((learned.argmax(-1) == labels).mean()),
        "teacher_accuracy": float((taught.argmax(-1) == labels).mean()),
        "kl": kl,
    }


def trial(teacher, fed, name, held_out) -> dict:
    output = pathlib.Path(FLAGS.output)
    student_name = f"{name}_{FLAGS.student}_{FLAGS.class_maps:g}"
    path = output / f"{student_name}.json"
    if path.exists():
        return json.loads(path.read_text())
    pool, synthesis = make_pool(teacher, fed, name, output / name)
    student, training = train_student(teacher, fed, pool, output / student_name)
    row = {
        "variant": name,
        "student": FLAGS.student,
        "class_maps": FLAGS.class_maps,
        **score(teacher, student, fed, *held_out),
        "recognized": float(np.mean(pool.labels == pool.requested)),
        "synthesis_seconds": synthesis,
        "student_seconds": training,
    }
    write_content(path, json.dumps(row))
    return row


def main(_):
    unknown = set(FLAGS.variants) - set(VARIANTS)
    if unknown:
        raise app.UsageError(f"--variants: {unknown} not in {list(VARIANTS)}.")
    claim(FLAGS.output, "variants", "student", "class_maps")
    held_out = held_out_images()
    teacher, fed = load_teacher()
    rows = [trial(teacher, fed, name, held_out) for name in FLAGS.variants]
    for row in rows:
        print(
            f"{row['variant']:14} {row['accuracy']:7.1%} KL {row['kl']:.4f} "
            f"labels met {row['recognized']:.0%}"
        )
    given = {"teacher": FLAGS.teacher, "seed": FLAGS.seed}
    print(json.dumps({"rows": rows, **given, "machine": machine()}))


if __name__ == "__main__":
    app.run(main)
