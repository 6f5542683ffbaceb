r"""Trains a student without any data, from its teacher alone.

A ResNet-20 of half the width for the network that ships:

    python examples/distill.py --student=ResNet20 --student_width=8 \
        --rounds=400 --output=output/student

Beside it, as ceilings and floors, the same student for the same steps on real
images, on noise, or on the images of another method:

    python examples/distill.py --method=real --rounds=400 \
        --idx_dir=/usr/share/datasets/fashion-mnist

Methods: `fast`, a generator that competes with the student; `deepinversion`,
pixels; `adi`, pixels that compete with the student; `noise`; `real`. The same
command started again goes on where it was stopped. In the output folder:
`student.keras`; `saved_model/`, whose serving signature takes uint8 pixels;
`pool/`, which `tfds.builder_from_directory` reads; `grid.png`.

A tiny run, to see that everything works: `--rounds=2 --steps_per_round=2
--images_per_round=20 --first_steps=5`.
"""

import json
import os
import pathlib
import platform
import time

from absl import app
from absl import flags

FLAGS = flags.FLAGS
flags.DEFINE_string(
    "teacher", "fashion_mnist_resnet20", "A shipped network or a .keras file."
)
flags.DEFINE_string("student", "ResNet20", "A name in models, or a .keras.")
flags.DEFINE_integer("student_width", 8, "Channels of its first stage.")
flags.DEFINE_enum(
    "method", "fast", ["fast", "deepinversion", "adi", "noise", "real"], ""
)
flags.DEFINE_integer("rounds", 400, "Each adds images and trains.")
flags.DEFINE_integer("steps_per_round", 40, "Of the student.")
flags.DEFINE_integer("batch_size", 128, "Of the student.")
flags.DEFINE_float("learning_rate", 0.1, "Of the student, the peak.")
flags.DEFINE_float("temperature", 4.0, "Of the distillation.")
flags.DEFINE_integer("images_per_round", 256, "Synthesised.")
flags.DEFINE_integer("synthesis_steps", 10, "A batch; pixels need hundreds.")
flags.DEFINE_integer("first_steps", 300, "Of the generator's first batch.")
flags.DEFINE_integer("capacity", 50_000, "Images in the pool.")
flags.DEFINE_integer("seed", 0, "")
flags.DEFINE_string("test_data", None, "An .npz of images and labels.")
flags.DEFINE_string("idx_dir", None, "Real images: for --method=real, test.")
flags.DEFINE_string("output", None, "Folder; by default output/distill_METHOD.")


def load_teacher():
    import keras

    from tf_deepinversion import load_pretrained

    if FLAGS.teacher.endswith(".keras"):
        return keras.models.load_model(FLAGS.teacher, compile=False)
    return load_pretrained(FLAGS.teacher)


def make_student(teacher, preprocessing):
    import keras

    from tf_deepinversion import models

    if FLAGS.student.endswith(".keras"):
        return keras.models.load_model(FLAGS.student, compile=False)
    keras.utils.set_random_seed(FLAGS.seed)
    return getattr(models, FLAGS.student)(
        teacher.input_shape[1:],
        teacher.output_shape[-1],
        width=FLAGS.student_width,
        mean=preprocessing.mean,
        std=preprocessing.std,
        name="student",
    )


def load_test(shape):
    import numpy as np

    from tf_deepinversion.datasets import load_idx
    from tf_deepinversion.datasets import load_test_images

    if FLAGS.test_data:
        with np.load(FLAGS.test_data) as data:
            return data["images"], data["labels"]
    if FLAGS.idx_dir:
        return load_idx(FLAGS.idx_dir, "test")
    return load_test_images() if tuple(shape) == (28, 28, 1) else None


class GivenImages:
    """Stands where a synthesizer does: real images, or noise."""

    def __init__(self, kind, classes, shape, seed):
        import numpy as np

        from tf_deepinversion.datasets import load_idx

        self.classes, self.image_shape, self.carried = classes, shape, []
        self.recipe, self._seed = {"source": kind}, seed
        self._real = None
        if kind == "real":
            images, labels = load_idx(FLAGS.idx_dir, "train")
            order = np.random.default_rng(seed).permutation(len(images))
            self._real = images[order], labels[order]

    def fit(self, labels, steps=None, batch=0, verbose=0):
        import numpy as np

        n, self.labels = len(labels), labels
        if self._real is None:
            self.images = np.random.default_rng((self._seed, batch)).integers(
                0, 256, (n, *self.image_shape), "uint8"
            )
            return
        rows = (np.arange(n) + batch * n) % len(self._real[0])
        self.images, self.labels = (part[rows] for part in self._real)


def make_synthesizer(teacher, student, preprocessing):
    import tf_deepinversion as di

    arguments = {"preprocessing": preprocessing, "seed": FLAGS.seed}
    if FLAGS.method == "fast":
        return di.FastInversion(teacher, student=student, **arguments)
    if FLAGS.method == "adi":
        return di.DeepInversion(teacher, student=student, **arguments)
    if FLAGS.method == "deepinversion":
        return di.DeepInversion(teacher, **arguments)
    return GivenImages(
        FLAGS.method,
        teacher.output_shape[-1],
        teacher.input_shape[1:],
        FLAGS.seed,
    )


def export(student, folder, test):
    """Writes a SavedModel of uint8 pixels to logits, and reads it again.

    Returns:
        The largest difference of the logits from the student's.
    """
    import numpy as np
    import tensorflow as tf

    signature = [tf.TensorSpec((None, *student.input_shape[1:]), "uint8")]
    archive = tf.Module()
    archive.student = student
    archive.serve = tf.function(
        lambda pixels: {
            "logits": student(tf.cast(pixels, "float32"), training=False)
        },
        input_signature=signature,
    )
    tf.saved_model.save(
        archive,
        str(folder),
        signatures={"serving_default": archive.serve},
    )
    loaded = tf.saved_model.load(str(folder)).signatures["serving_default"]
    logits = loaded(tf.constant(test))["logits"]
    expected = student(test.astype("float32"), training=False)
    return float(np.abs(logits - expected).max())


def main(_):
    import numpy as np

    from tf_deepinversion import Preprocessing
    from tf_deepinversion.checkpoint import fingerprint
    from tf_deepinversion.distill import default_optimizer
    from tf_deepinversion.distill import distill
    from tf_deepinversion.metrics import accuracy
    from tf_deepinversion.pictures import grid
    from tf_deepinversion.pictures import save_png

    if FLAGS.method == "real" and not FLAGS.idx_dir:
        raise app.UsageError("--method=real needs --idx_dir.")
    begin = time.monotonic()
    teacher = load_teacher()
    preprocessing = Preprocessing.of(teacher)
    student = make_student(teacher, preprocessing)
    synthesizer = make_synthesizer(teacher, student, preprocessing)
    output = pathlib.Path(FLAGS.output or f"output/distill_{FLAGS.method}")
    model, history, pool = distill(
        teacher,
        student,
        synthesizer,
        rounds=FLAGS.rounds,
        steps_per_round=FLAGS.steps_per_round,
        batch_size=FLAGS.batch_size,
        refresh={
            "images": FLAGS.images_per_round,
            "steps": FLAGS.synthesis_steps,
            "first_steps": FLAGS.first_steps,
        },
        capacity=FLAGS.capacity,
        optimizer=default_optimizer(
            FLAGS.rounds * FLAGS.steps_per_round, FLAGS.learning_rate
        ),
        folder=output,
        seed=FLAGS.seed,
        verbose=2,
        preprocessing=preprocessing,
        temperature=FLAGS.temperature,
    )
    student.save(output / "student.keras")
    order = np.argsort(pool.labels[-100:], kind="stable")
    save_png(output / "grid.png", grid(pool.images[-100:][order], 10, 2))
    difference = export(student, output / "saved_model", pool.images[:100])
    figures = {
        "method": FLAGS.method,
        "agreement_on_pool": history["agreement"][-1],
        "rounds": FLAGS.rounds,
        "images": len(pool),
        "images_made": FLAGS.rounds * FLAGS.images_per_round,
        "minutes": (time.monotonic() - begin) / 60,
        "saved_model_max_difference": difference,
        "parameters_ratio": student.count_params() / teacher.count_params(),
        "seed": FLAGS.seed,
        "teacher_sha256": fingerprint({}, teacher.get_weights()),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }
    test = load_test(teacher.input_shape[1:])
    if test is not None:
        for name, network in (("teacher", teacher), ("student", student)):
            figures[f"{name}_test_accuracy"] = accuracy(
                network, *test, preprocessing
            )
        figures["test_images"] = len(test[0])
    print(json.dumps(figures))


if __name__ == "__main__":
    app.run(main)
