r"""Synthesizes the images that a network remembers, and reports on them.

This command inverts the network that ships, as `make demo` does, but with 256
images. It takes about eight minutes on two CPU cores:

    python examples/invert.py --teacher=fashion_mnist_resnet20 --noprior_alone

Without `--noprior_alone` it repeats the inversion without the network's
statistics, for a comparison.

This command inverts your own network. The network takes pixels in [0, 1]; its
training pixels have a mean of 110 and a standard deviation of 60 gray levels:

    python examples/invert.py --teacher=my_network.keras \
        --mean=110 --std=60 --pixel_range=0,1 --output=output/my_network

This command inverts a network of `keras.applications`, given by its name, with
its ImageNet weights:

    python examples/invert.py --teacher=ResNet50 --labels=207,281,933 \
        --recipe=imagenet_multiresolution

A tiny run, to see that everything works: add `--labels=0,1 --steps=5`, or
`--steps=5,5` for a recipe of two stages. Repeating the same command resumes a
stopped run. The output folder holds `images/CLASS/*.png`, which
`keras.utils.image_dataset_from_directory` reads; `grid.png`; `report.html`; and
`state.npz`.
"""

import json
import pathlib

import given
from absl import app
from absl import flags

FLAGS = flags.FLAGS
given.define_network(
    text="A .keras file, a shipped network or a class in keras.applications."
)
given.define_targets()
flags.DEFINE_string(
    "labels", None, "Classes; default: in turn, as many as --images."
)
flags.DEFINE_integer("images", None, "Number of images; the recipe's.")
flags.DEFINE_string(
    "recipe",
    "generator",
    "Name in RECIPES. A recipe either trains a generator (FastInversion, for "
    "small images) or optimizes pixels (DeepInversion).",
)
flags.DEFINE_string("steps", None, "Number of steps of each stage.")
flags.DEFINE_integer("seed", 0, "Another seed gives other images.")
flags.DEFINE_string(
    "dtype", None, "mixed_bfloat16; or auto, which takes it if faster here."
)
flags.DEFINE_integer("micro_batch", None, "Images per gradient; all.")
flags.DEFINE_bool("prior_alone", True, "Also invert without R_feature.")
flags.DEFINE_string("output", None, "Folder; default: output/TEACHER.")


def load_teacher(name):
    """Loads the network of --teacher."""
    import keras

    from tf_deepinversion.models.pretrained import load_network

    if name in vars(keras.applications):
        return getattr(keras.applications, name)(classifier_activation=None)
    try:
        return load_network(name)
    except ValueError as error:
        raise app.UsageError(
            f"{error} A class in keras.applications is a network, too."
        ) from error


def main(_):
    if FLAGS.labels and FLAGS.images:
        raise app.UsageError(
            "--images are of all classes in turn: pass --images or --labels, "
            f"not both. Received: --images={FLAGS.images}"
        )
    import keras

    from tf_deepinversion import balanced_labels
    from tf_deepinversion.commands import values

    labels, steps = (
        values.whole_numbers(name, FLAGS[name].value)
        for name in ("labels", "steps")
    )
    from tf_deepinversion.core.files import sha256_of_file
    from tf_deepinversion.core.run_state import fingerprint
    from tf_deepinversion.datasets.real_images import FASHION_MNIST_CLASSES
    from tf_deepinversion.datasets.real_images import load_test_images
    from tf_deepinversion.demo import invert_and_report
    from tf_deepinversion.inversion import make_synthesizer
    from tf_deepinversion.models import PRETRAINED
    from tf_deepinversion.models import load_pretrained

    teacher = load_teacher(FLAGS.teacher)
    size = values.image_size(FLAGS)
    if FLAGS.teacher in vars(keras.applications) and (
        size is None and None in teacher.input_shape[1:]
    ):
        size = (224, 224)  # ImageNet's size, for a network of any size
    model = make_synthesizer(
        teacher,
        values.preprocessing(FLAGS),
        recipe=FLAGS.recipe,
        image_shape=size and (*size, teacher.input_shape[-1]),
        seed=FLAGS.seed,
        dtype=FLAGS.dtype,
        targets=values.targets(FLAGS),
    )
    model.compile(micro_batch=FLAGS.micro_batch)
    if FLAGS.images:
        labels = balanced_labels(model.classes, FLAGS.images)
    shipped = FLAGS.teacher in PRETRAINED
    figures = invert_and_report(
        model,
        FLAGS.output or f"output/{pathlib.Path(FLAGS.teacher).stem}",
        labels=labels,
        steps=steps,
        verifier=load_pretrained("fashion_mnist_vgg11") if shipped else None,
        real=load_test_images() if shipped else None,
        names=FASHION_MNIST_CLASSES if shipped else None,
        prior_images=None if FLAGS.prior_alone else 0,
    )
    if shipped:
        figures["teacher_sha256"] = PRETRAINED[FLAGS.teacher]["sha256"]
    elif pathlib.Path(FLAGS.teacher).exists():
        figures["teacher_sha256"] = sha256_of_file(FLAGS.teacher)
    else:
        figures["teacher_sha256"] = fingerprint({}, teacher.get_weights())
    print(json.dumps(figures))


if __name__ == "__main__":
    app.run(main, given.command_line())
