r"""Quantizes a network in all ways, with three kinds of images.

    python benchmarks/quantization.py --seed=0 \
        --idx_dir=/usr/share/datasets/fashion-mnist
    python benchmarks/quantization.py --seed=0 \
        --teacher=teachers/k_to_t_resnet_swish --sets=glyphs

The network is like MobileNetV2 (`glyph_networks.mobilenet`), trained on
Fashion-MNIST at 32x32x3; or --teacher, of `train_glyph_teachers.py`. Each row
is a LiteRT file and its accuracy on real test images:

- `int8` after training, calibrated with noise, synthesized and real images;
- the same after cross-layer equalization (ReLU6 as ReLU), and with corrected
  biases, calibrated with synthesized images;
- `int4` (weights of 4 bits, activations of 8 bits) after training, likewise;
- `int4` by training on synthesized and on real images.

The folder holds the teacher, the images, the states of the trainings and
`figures.json`. Repeating the same command resumes a stopped run, and repeats no
row that is there. The last line printed is JSON. A run of the defaults takes
eight minutes of one core.

`--images=256 --epochs=1 --width=4 --synthesis_steps=2 --first_steps=2
--training_steps=2 --test_images=100` is a tiny run.
"""

import json
import os
import pathlib
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from absl import app
from absl import flags
from absl import logging
from glyph_networks import load_glyph_teacher
from glyph_networks import mobilenet
from machine import machine
from run_folder import claim

import tf_deepinversion as di
from tf_deepinversion.core.files import save_network
from tf_deepinversion.core.files import write_atomically
from tf_deepinversion.core.files import write_content
from tf_deepinversion.datasets import load_idx
from tf_deepinversion.metrics import accuracy
from tf_deepinversion.optimizers import sgd
from tf_deepinversion.quantization import LiteRT
from tf_deepinversion.quantization import correct_bias
from tf_deepinversion.quantization import equalize
from tf_deepinversion.quantization import train_quantized

SETTINGS = (
    "teacher",
    "width",
    "images",
    "epochs",
    "training_steps",
    "learning_rate",
    "calibration",
    "seed",
)
FLAGS = flags.FLAGS
flags.DEFINE_string(
    "idx_dir", "/usr/share/datasets/fashion-mnist", "Folder of Fashion-MNIST."
)
flags.DEFINE_string(
    "teacher", None, "A path without suffix of train_glyph_teachers.py."
)
flags.DEFINE_string("sets", "output/glyphs", "Folder that glyphs.py wrote.")
flags.DEFINE_integer("width", 8, "Of the network.", 1)
flags.DEFINE_integer("images", 20_000, "Training images of the network.", 1)
flags.DEFINE_integer("epochs", 3, "Passes over them.", 1)
flags.DEFINE_integer("calibration", 100, "Images that calibrate.", 1)
flags.DEFINE_integer("batches", 4, "Of 100 synthesized images.", 1)
flags.DEFINE_integer("first_steps", 100, "Of the first batch.", 1)
flags.DEFINE_integer("synthesis_steps", 30, "Of each later batch.", 1)
flags.DEFINE_integer("training_steps", 150, "Of quantized training.", 1)
flags.DEFINE_float("learning_rate", 5e-4, "Of quantized training.")
flags.DEFINE_integer("test_images", 10_000, "Of the accuracy.", 1)
flags.DEFINE_integer("seed", 0, "Random seed.", 0)
flags.DEFINE_string("output", "output/quantization", "Folder.")


class Case(NamedTuple):
    """A network and real images.

    Attributes:
        network: The `keras.Model`.
        fed: Its `Preprocessing`.
        train: uint8 training images.
        test: Pair of uint8 test images and their labels.
    """

    network: keras.Model
    fed: di.Preprocessing
    train: np.ndarray
    test: tuple


def garments(split, count):
    """Loads images of 32x32x3 and their labels."""
    images, labels = load_idx(FLAGS.idx_dir, split)
    images = np.pad(images[:count], [(0, 0), (2, 2), (2, 2), (0, 0)])
    return np.repeat(images, 3, -1), labels[:count].astype("int32")


def case_of(folder) -> Case:
    """Loads --teacher and its letters, or the network of garments."""
    if not FLAGS.teacher:
        train = garments("train", FLAGS.images)
        network = trained_network(folder, *train)
        fed = di.Preprocessing(73.0, 90.0, (0, 1))
        return Case(network, fed, train[0], garments("test", FLAGS.test_images))
    network, fed, figures = load_glyph_teacher(FLAGS.teacher)
    path = pathlib.Path(FLAGS.sets) / figures["set"]
    with np.load(path / "train.npz") as file:
        train = file["images"][: FLAGS.images]
    with np.load(path / "test.npz") as file:
        test = tuple(
            file[name][: FLAGS.test_images] for name in ("images", "labels")
        )
    return Case(network, fed, train, test)


def trained_network(folder, images, labels):
    """Loads the trained network, or trains it."""
    path = folder / "teacher.keras"
    if path.exists():
        return keras.saving.load_model(path)
    keras.utils.set_random_seed(FLAGS.seed)
    model = mobilenet(10, FLAGS.width)
    steps = FLAGS.epochs * (len(images) // 128 + 1)
    loss = "sparse_categorical_crossentropy"
    model.compile(sgd(steps), loss, metrics=["accuracy"])
    fed = images.astype("float32") / 255
    model.fit(fed, labels, 128, FLAGS.epochs, verbose=2)
    save_network(path, model)
    return model


def synthesized(case, folder):
    """Loads the images that the network remembers, or makes them."""
    path = folder / "synthesized.npz"
    if not path.exists():
        model = di.FastInversion(case.network, case.fed, seed=FLAGS.seed)
        made = []
        for i in range(FLAGS.batches):
            steps = FLAGS.synthesis_steps if i else FLAGS.first_steps
            labels = di.balanced_labels(model.classes, 100, i)
            model.fit(labels, steps, batch_index=i, verbose=2)
            made.append(model.images)
        images = np.concatenate(made)
        write_atomically(path, lambda file: np.savez(file, images=images))
    with np.load(path) as file:
        return file["images"]


def without_relu6(teacher):
    """Returns the network with ReLU in place of ReLU6, not equalized."""
    return equalize(teacher, iterations=0, replace_relu6=True)


def post_training(case, kinds):
    """Returns functions that make files, by name."""

    def file_of(change, kind, scheme):
        chosen = kinds[kind][: FLAGS.calibration]
        network = case.network
        if "equalized" in change:
            network = equalize(network, replace_relu6=True)
        if "corrected" in change:
            network = correct_bias(network, chosen, case.fed, scheme=scheme)
        return di.quantize(network, chosen, case.fed, 0, scheme=scheme)

    rows = [("", kind, "int8") for kind in kinds]
    for scheme in ("int8", "int4"):
        changes = ["equalized", "corrected", "equalized, corrected"]
        changes = ["", *changes] if scheme == "int4" else changes
        rows += [(change, "synthesized", scheme) for change in changes]
    return {
        ", ".join(filter(None, (scheme, change, kind))): (
            lambda row=(change, kind, scheme): file_of(*row)
        )
        for change, kind, scheme in rows
    }


def trained_file(case, kind, images, folder):
    """Trains with weights of 4 bits on some images, and makes the file."""
    trained = train_quantized(
        case.network,
        (images, np.zeros(len(images), "int32")),
        steps=FLAGS.training_steps,
        scheme="int4",
        learning_rate=FLAGS.learning_rate,
        preprocessing=case.fed,
        folder=folder / f"trained_{kind}",
        seed=FLAGS.seed,
        verbose=2,
    )
    return di.quantize(
        trained.student,
        preprocessing=case.fed,
        ranges=trained.ranges,
        scheme="int4",
    )


def main(_):
    logging.set_verbosity(logging.WARNING)  # the converter tells much
    name = pathlib.Path(FLAGS.teacher).name + "_" if FLAGS.teacher else ""
    folder = claim(pathlib.Path(FLAGS.output) / f"{name}seed_{FLAGS.seed}")
    case = case_of(folder)
    made = synthesized(case, folder)
    kinds = {
        "noise": np.random.default_rng(FLAGS.seed).integers(
            0, 256, (FLAGS.calibration, 32, 32, 3), "uint8"
        ),
        "synthesized": made,
        "real": case.train[: len(made)],
    }
    rows = {
        "float": lambda: None,
        "float, ReLU6 as ReLU": lambda: None,
        **post_training(case, kinds),
    }
    for kind in ("synthesized", "real"):
        rows[f"int4, trained, {kind}"] = lambda kind=kind: trained_file(
            case, kind, kinds[kind], folder
        )
    path = folder / "figures.json"
    figures = json.loads(path.read_text()) if path.exists() else {}
    for name, make in rows.items():
        if name not in figures:
            content = make()
            if content is None:
                network = case.network
                if "as" in name:
                    network = without_relu6(network)
                figures[name] = [accuracy(network, *case.test, case.fed), None]
            else:
                right = LiteRT(content).accuracy(*case.test)
                figures[name] = [right, len(content)]
            write_content(path, json.dumps(figures))
        print(f"{name}: {figures[name]}", flush=True)
    print(
        json.dumps(
            {
                "accuracy_and_bytes": figures,
                **{name: FLAGS[name].value for name in SETTINGS},
                "synthesized": len(kinds["synthesized"]),
                "test_images": len(case.test[0]),
                "machine": machine(),
            }
        )
    )


if __name__ == "__main__":
    app.run(main)
