r"""Trains teachers of eight families on the letters that `glyphs.py` draws.

    python benchmarks/glyphs.py --fonts=FOLDER --output=glyphs
    python benchmarks/train_glyph_teachers.py --sets=glyphs --output=teachers

Each teacher is a file NAME.keras. NAME.json holds its preprocessing and its
accuracies. The script saves the state after every epoch. Repeating the same
command resumes from the state and trains no finished teacher again. The
held-out images have fonts of the training images; the test images have other
fonts. The script reads both only after training. The last line printed is JSON.

`--limit=256 --epochs=1 --width=4` is a tiny run.
"""

import json
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from absl import app
from absl import flags
from glyph_networks import FAMILIES
from machine import machine
from run_folder import claim

import tf_deepinversion as di
from tf_deepinversion.core.files import save_network
from tf_deepinversion.core.files import write_content
from tf_deepinversion.networks import grouped_convolutions
from tf_deepinversion.optimizers.schedules import OPTIMIZERS
from tf_deepinversion.optimizers.schedules import warmed_cosine

# For each teacher: the folder of its images, its family and its width.
TEACHERS = {
    "k_to_t_resnet_swish": ("k_to_t", "resnet_swish", 16),
    "k_to_t_vgg": ("k_to_t", "vgg", 16),
    "k_to_t_convnext": ("k_to_t", "convnext", 32),
    "k_to_t_convnext_batch_norm": ("k_to_t", "convnext_batch_norm", 32),
    "k_to_t_convnext_tiny": ("k_to_t", "convnext_tiny", None),
    "k_to_t_vit": ("k_to_t", "vit", 32),
    "a_to_z_mobilenet": ("a_to_z", "mobilenet", 16),
    "pairs_densenet": ("pairs", "densenet", 12),
    "pairs_resnet_swish": ("pairs", "resnet_swish", 24),
}
FLAGS = flags.FLAGS
flags.DEFINE_string("sets", "output/glyphs", "Folder that glyphs.py wrote.")
flags.DEFINE_list("teachers", list(TEACHERS), "Teachers, in this order.")
flags.DEFINE_integer("width", None, "Of all teachers; each its own.", 1)
flags.DEFINE_integer("epochs", 8, "Passes over the images.", 1)
flags.DEFINE_integer("batch_size", 128, "Images in a step.", 1)
flags.DEFINE_integer("seed", 0, "Random seed.", 0)
flags.DEFINE_integer("limit", None, "Number of training images; all.")
flags.DEFINE_string("output", "output/glyph_teachers", "Folder.")


class Epoch(keras.utils.PyDataset):
    """Batches of one epoch, shifted and with permuted colors.

    A batch depends only on seed, epoch and batch number. An interrupted
    training therefore resumes with the same batches.
    """

    def __init__(self, images, labels, feed, epoch):
        super().__init__()
        self._images, self._labels, self._feed = images, labels, feed
        self._key = FLAGS.seed, epoch
        self._order = np.random.default_rng(self._key).permutation(len(images))

    def __len__(self):
        return len(self._images) // FLAGS.batch_size

    def __getitem__(self, number):
        random = np.random.default_rng((*self._key, number))
        rows = self._order[number * FLAGS.batch_size :][: FLAGS.batch_size]
        images = self._images[rows][..., random.permutation(3)]
        images = np.pad(images, [(0, 0), (2, 2), (2, 2), (0, 0)], "reflect")
        top, left = random.integers(5, size=2)
        images = images[:, top : top + 32, left : left + 32]
        return self._feed(images), self._labels[rows]


def load(name, part):
    with np.load(pathlib.Path(FLAGS.sets) / name / f"{part}.npz") as file:
        return file["images"], file["labels"]


def preprocessing_of(images, pixel_range):
    """Returns the teacher's `Preprocessing`, which depends on its family."""
    mean, std = images.mean((0, 1, 2)), images.std((0, 1, 2))
    return di.Preprocessing(
        mean.round(1).tolist(), std.round(1).tolist(), pixel_range or (0, 255)
    )


def adamw(steps):
    rate = warmed_cosine(steps, 1e-3, steps // 10)
    return keras.optimizers.AdamW(rate, weight_decay=0.05)


def new_model(family, classes, width, steps):
    make_optimizer = {**OPTIMIZERS, "adamw": adamw}[family.optimizer]
    keras.utils.set_random_seed(FLAGS.seed)
    model = family.build(classes, width)
    model.compile(
        make_optimizer(FLAGS.epochs * steps),
        keras.losses.SparseCategoricalCrossentropy(
            from_logits=model.layers[-1].activation is keras.activations.linear
        ),
        metrics=["accuracy"],
    )
    return model


def train(name, output):
    """Trains one teacher, resuming from its state, and measures it."""
    set_name, family_name, width = TEACHERS[name]
    family = FAMILIES[family_name]
    watch = di.callbacks.Stopwatch(output / f"{name}.seconds.json")
    width = FLAGS.width or width
    images, labels = (part[: FLAGS.limit] for part in load(set_name, "train"))
    classes = int(load(set_name, "test")[1].max()) + 1
    preprocessing = preprocessing_of(images, family.pixel_range)
    steps = len(images) // FLAGS.batch_size
    state = output / f"{name}.training.keras"
    if state.exists():
        model = keras.models.load_model(state)
    else:
        model = new_model(family, classes, width, steps)
    for epoch in range(int(model.optimizer.iterations) // steps, FLAGS.epochs):
        with grouped_convolutions.faster(model):
            model.fit(
                Epoch(images, labels, preprocessing.fed, epoch),
                initial_epoch=epoch,
                epochs=epoch + 1,
                shuffle=False,
                callbacks=[watch],
                verbose=2,
            )
        save_network(state, model)
    model.compile()  # a teacher needs no optimizer
    save_network(output / f"{name}.keras", model)
    figures = {
        "set": set_name,
        "family": family_name,
        "classes": classes,
        "width": width,
        "parameters": model.count_params(),
        "preprocessing": preprocessing.get_config(),
        "epochs": FLAGS.epochs,
        "seconds": watch.total,
        **{
            f"{part}_accuracy": di.metrics.accuracy(
                model, *load(set_name, part), preprocessing
            )
            for part in ("held_out", "test")
        },
    }
    write_content(
        output / f"{name}.json", json.dumps(figures, indent=1).encode()
    )
    state.unlink()
    watch.path.unlink(missing_ok=True)
    return figures


def main(_):
    output, results = claim(FLAGS.output, "teachers", "sets"), {}
    for name in FLAGS.teachers:
        if name not in TEACHERS:
            raise app.UsageError(
                f"--teachers: {name!r} is not in {list(TEACHERS)}."
            )
        path = output / f"{name}.json"
        if path.exists():
            results[name] = json.loads(path.read_text())
        else:
            results[name] = train(name, output)
        print(name, results[name]["test_accuracy"], flush=True)
    print(json.dumps({"teachers": results, "machine": machine()}))


if __name__ == "__main__":
    app.run(main)
