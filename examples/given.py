"""Flags that several examples share: a network, and real images."""

import os
import platform
import sys
import typing

import keras
import tensorflow as tf
from absl import app
from absl import flags
from absl import logging

from tf_deepinversion import Preprocessing
from tf_deepinversion.commands import values
from tf_deepinversion.core.run_state import fingerprint
from tf_deepinversion.datasets import load_split
from tf_deepinversion.datasets import load_test_data
from tf_deepinversion.datasets.real_images import FASHION_MNIST_CLASSES
from tf_deepinversion.models import PRETRAINED
from tf_deepinversion.models.pretrained import load_network

# absl lists a flag under the module that defines it: --help of a script shows
# the script's own flags and these.
flags.disclaim_key_flags()
FLAGS = flags.FLAGS
# TensorFlow logs a line for each file. The lines would hide the progress bar.
logging.set_verbosity(logging.WARNING)
tf.get_logger().setLevel("WARNING")


class Given(typing.NamedTuple):
    """A network, its preprocessing and its test data.

    Attributes:
        teacher: The `keras.Model`.
        preprocessing: Its `Preprocessing`, or None without --mean and --std.
        test: A pair, real images and labels to measure accuracy, or None.
        names: List of the names of its classes, or None.
    """

    teacher: keras.Model
    preprocessing: Preprocessing | None
    test: tuple | None
    names: tuple | None


def define_network(
    default="fashion_mnist_resnet20",
    text="A shipped network, or a .keras file.",
):
    """Defines the flags of a network and of its preprocessing."""
    flags.DEFINE_string("teacher", default, text)
    flags.DEFINE_string(
        "image_size", None, "Height,width, if the network leaves them open."
    )
    flags.DEFINE_string(
        "mean", None, "Mean of the training pixels, gray levels."
    )
    flags.DEFINE_string("std", None, "Standard deviation of these pixels.")
    flags.DEFINE_string(
        "pixel_range",
        "0,255",
        "The teacher's inputs for black and white, or: normalized.",
    )
    flags.DEFINE_enum("channel_order", "rgb", ["rgb", "bgr"], "Of the inputs.")


def command_line() -> list:
    """Returns the arguments of the script, for `absl.app.run`."""
    return values.at_home(sys.argv)


def define_images():
    """Defines flags that name real images."""
    flags.DEFINE_string("test_data", None, "An .npz of real images and labels.")
    flags.DEFINE_string(
        "idx_dir", None, "Folder of the idx files of real images."
    )
    flags.DEFINE_string("tfds_dir", None, "Folder of the data sets of TFDS.")


def define_targets():
    """Defines the flag of a teacher without BatchNormalization."""
    flags.DEFINE_string(
        "targets", None, "Statistics that `tf-deepinversion measure` wrote."
    )


def refuse_unread(names):
    """Refuses flags that were given although the run would not read them."""
    found = [f"--{n}={FLAGS[n].value}" for n in names if FLAGS[n].present]
    if found:
        raise app.UsageError(
            f"With the other flags, nothing reads {', '.join(found)}: leave "
            "this out."
        )


def load(teacher=None, dataset="fashion_mnist") -> Given:
    """Loads the network and the test data that the flags name.

    Args:
        teacher: String, the network without --teacher.
        dataset: String, name of the real images in TFDS.
    """
    name = FLAGS.teacher or teacher
    network = load_network(name, values.image_size(FLAGS))
    shipped = name in PRETRAINED
    test = load_test_data(
        network.input_shape[1:],
        FLAGS.test_data,
        FLAGS.idx_dir,
        FLAGS.tfds_dir,
        dataset,
        shipped=shipped,
    )
    names = FASHION_MNIST_CLASSES if shipped else None
    return Given(network, values.preprocessing(FLAGS), test, names)


def training_images(dataset="fashion_mnist"):
    """Loads real images and labels for training."""
    source = {"idx_dir": FLAGS.idx_dir, "tfds_dir": FLAGS.tfds_dir}
    return load_split(dataset, "train", **source)


def machine() -> str:
    """Describes the machine of a run."""
    return f"{platform.machine()}, {os.cpu_count()} cores"


def identity(teacher) -> dict:
    """Returns figures that identify a run."""
    return {
        "seed": FLAGS.seed,
        "teacher_sha256": fingerprint({}, teacher.get_weights()),
        "machine": machine(),
    }
