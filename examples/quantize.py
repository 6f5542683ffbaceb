r"""Quantizes a network to int8, without any of its data.

This command calibrates the network that ships with noise, with synthesized
images and with real images, five times each. It measures the accuracy on the
10,000 test images. It takes ten minutes on two CPU cores, nearly all of them
for the synthesis:

    python examples/quantize.py --idx_dir=/usr/share/datasets/fashion-mnist

`--pool` takes existing images: the folders of PNG files of examples/invert.py,
or the pool of examples/distill.py:

    python examples/quantize.py --pool=output/fashion_mnist_resnet20/images \
        --idx_dir=/usr/share/datasets/fashion-mnist

Without --idx_dir, the real images are the 2,000 that ship: the first images
calibrate, the others test. For your own network, `--nobaselines --pool=...`
only writes the model. The output folder holds `int8.tflite`, calibrated with
the first set of synthesized images, `float.tflite`, and the page `layers.html`
with the error of each layer.

For a device that takes int8, a fixed batch and one scale per dense layer, add
`--input_dtype=int8 --batch_size=1 --per_tensor_dense`. With --scheme=int16x8
the file is `int16x8.tflite`. With --scheme=int4, weights have 4 bits;
`--scheme=int4 --training_steps=1000` also trains the network for them on all
synthesized images, and writes `trained.tflite`.

A tiny run, to see that everything works: `--images=4 --sets=2 --steps=2`.
"""

import json
import pathlib

import given
import numpy as np
from absl import app
from absl import flags

import tf_deepinversion as di
from tf_deepinversion.core.files import write_content
from tf_deepinversion.datasets import load_images
from tf_deepinversion.metrics import accuracy
from tf_deepinversion.quantization import LiteRT
from tf_deepinversion.quantization import to_litert
from tf_deepinversion.quantization.scheme import TRAINED
from tf_deepinversion.reports import report_quantized

FLAGS = flags.FLAGS
given.define_network()
given.define_images()
flags.DEFINE_integer("images", 50, "Images in a set.", lower_bound=1)
flags.DEFINE_integer("sets", 5, "Disjoint sets of each kind.", lower_bound=1)
flags.DEFINE_integer("seed", 0, "Random seed.")
flags.DEFINE_string("pool", None, "Folder of synthesized images.")
flags.DEFINE_integer("steps", None, "Of the synthesis; the recipe's.")
flags.DEFINE_enum(
    "scheme", "int8", ["int8", "int4", "int16x8"], "What the file computes in."
)
flags.DEFINE_string("input_dtype", None, "Of the pixels; the scheme's.")
flags.DEFINE_string("output_dtype", None, "Of the logits; the scheme's.")
flags.DEFINE_integer("batch_size", None, "Fixed in the file; default: open.")
flags.DEFINE_bool("per_tensor_dense", False, "One scale per dense kernel.")
flags.DEFINE_integer("training_steps", 0, "Of quantized training.", 0)
flags.DEFINE_bool("baselines", True, "Compare noise and real images.")
flags.DEFINE_string("output", "output/quantize", "Folder.")


def synthesized(teacher, fed, count):
    """Loads the images of --pool, or makes new images."""
    if FLAGS.pool:
        return load_images(FLAGS.pool, teacher.input_shape[-1])[0]
    model = di.FastInversion(teacher, fed, seed=FLAGS.seed)
    model.fit(di.balanced_labels(model.classes, count), FLAGS.steps)
    return model.images


def quantized(teacher, fed, images):
    """Quantizes as the flags say."""
    return di.quantize(
        teacher,
        images,
        fed,
        scheme=FLAGS.scheme,
        input_dtype=FLAGS.input_dtype,
        output_dtype=FLAGS.output_dtype,
        batch_size=FLAGS.batch_size,
        per_tensor_dense=FLAGS.per_tensor_dense,
    )


def trained(teacher, fed, images):
    """Trains on images as the flags say, and converts the student."""
    found = di.quantization.train_quantized(
        teacher,
        (images, np.zeros(len(images), int)),
        steps=FLAGS.training_steps,
        scheme=FLAGS.scheme,
        preprocessing=fed,
        folder=pathlib.Path(FLAGS.output) / "trained",
        seed=FLAGS.seed,
    )
    return di.quantize(
        found.student,
        preprocessing=fed,
        ranges=found.ranges,
        scheme=FLAGS.scheme,
        input_dtype=FLAGS.input_dtype,
        output_dtype=FLAGS.output_dtype,
        batch_size=FLAGS.batch_size,
    )


def sets_of(images, name):
    """Returns --sets disjoint sets of random images."""
    wanted = FLAGS.images * FLAGS.sets
    if len(images) < wanted:
        raise app.UsageError(
            f"{FLAGS.sets} disjoint sets of {FLAGS.images} need {wanted} "
            f"{name} images. Received: {len(images)} images"
        )
    order = np.random.default_rng(FLAGS.seed).permutation(len(images))[:wanted]
    return images[order].reshape(FLAGS.sets, -1, *images.shape[1:])


def real_images(test):
    """Returns real images for calibration, and other images with labels."""
    if FLAGS.idx_dir or FLAGS.tfds_dir:
        return given.training_images()[0], *test
    images, labels = test
    used = FLAGS.images * FLAGS.sets
    return images[:used], images[used:], labels[used:]


def compare(teacher, fed, test, made, first):
    """Measures the accuracy for each kind of calibration images."""
    real, images, labels = real_images(test)
    noise = np.random.default_rng((FLAGS.seed, 1)).integers(
        0, 256, (FLAGS.images * FLAGS.sets, *images.shape[1:]), "uint8"
    )
    kinds = {"noise": noise, "synthesized": made, "real": real}
    found = {name: [] for name in kinds}
    for name, kind in kinds.items():
        for i, chosen in enumerate(sets_of(kind, name)):
            content = first
            if (name, i) != ("synthesized", 0):
                content = quantized(teacher, fed, chosen)
            found[name].append(LiteRT(content).accuracy(images, labels))
            print(f"{name} {i}: {found[name][-1]:.4f}", flush=True)
    deviation = 1 if FLAGS.sets > 1 else 0
    return {
        "float_test_accuracy": accuracy(teacher, images, labels, fed),
        f"{FLAGS.scheme}_test_accuracy": {
            k: float(np.mean(v)) for k, v in found.items()
        },
        f"{FLAGS.scheme}_test_accuracy_deviation": {
            k: float(np.std(v, ddof=deviation)) for k, v in found.items()
        },
        f"{FLAGS.scheme}_test_accuracies": found,
        "test_images": len(images),
    }


def unread() -> list:
    """Returns the flags that the other flags leave without a reader."""
    names = ["steps"] if FLAGS.pool else []
    if not FLAGS.baselines:
        names += ["sets", "test_data", "idx_dir", "tfds_dir"]
    return names


def main(_):
    trains = FLAGS.scheme in TRAINED and not FLAGS.per_tensor_dense
    if FLAGS.training_steps and not trains:
        raise app.UsageError(
            f"--training_steps is for --scheme among {', '.join(TRAINED)}, "
            "without --per_tensor_dense"
        )
    given.refuse_unread(unread())
    teacher, fed, test, _ = given.load()
    if not FLAGS.baselines:
        FLAGS.sets = 1  # only the first set is used
    elif test is None:
        raise app.UsageError(
            "No real images of this network ship: pass --test_data, or "
            "--nobaselines to compare nothing"
        )
    made = synthesized(teacher, fed, FLAGS.images * FLAGS.sets)
    chosen = sets_of(made, "synthesized")
    content = {
        "float": to_litert(teacher, fed),
        FLAGS.scheme: quantized(teacher, fed, chosen[0]),
    }
    if FLAGS.training_steps:
        content["trained"] = trained(teacher, fed, made)
    for name, model in content.items():
        path = pathlib.Path(FLAGS.output) / f"{name}.tflite"
        write_content(path, model)
    figures = {}
    if FLAGS.baselines:
        figures = compare(teacher, fed, test, made, content[FLAGS.scheme])
    if FLAGS.baselines and FLAGS.training_steps:
        right = LiteRT(content["trained"]).accuracy(*real_images(test)[1:])
        figures["trained_test_accuracy"] = right
    ratios = report_quantized(
        pathlib.Path(FLAGS.output) / "layers.html",
        teacher,
        content[FLAGS.scheme],
        made[-100:],
        fed,
    )
    figures |= {
        "lowest_ratio_db": min(ratios.values()),
        "size_ratio": len(content[FLAGS.scheme]) / len(content["float"]),
        f"{FLAGS.scheme}_bytes": len(content[FLAGS.scheme]),
        "dtypes": LiteRT(content[FLAGS.scheme]).dtypes,
        "calibration_images": FLAGS.images,
        "sets": FLAGS.sets,
        **given.identity(teacher),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    app.run(main, given.command_line())
