"""What several examples are given by flags: a network, and real images."""

import os
import platform
import typing

import keras
import tensorflow as tf
from absl import flags
from absl import logging

from tf_deepinversion import Preprocessing
from tf_deepinversion import command
from tf_deepinversion.core.run_state import fingerprint
from tf_deepinversion.datasets import load_split
from tf_deepinversion.datasets import load_test_data
from tf_deepinversion.datasets.real_images import FASHION_MNIST_CLASSES
from tf_deepinversion.models import PRETRAINED
from tf_deepinversion.models.pretrained import load_network

flags.disclaim_key_flags()  # they are the scripts', in their --help
FLAGS = flags.FLAGS
# What TensorFlow writes of each file would drown the progress.
logging.set_verbosity(logging.WARNING)
tf.get_logger().setLevel("WARNING")


class Given(typing.NamedTuple):
    """A network and what goes with it.

    Attributes:
        teacher: The `keras.Model`.
        preprocessing: Its `Preprocessing`; None if the flags do not say.
        test: A pair, real images and labels to score by, or None.
        names: List of the names of its classes, or None.
    """

    teacher: keras.Model
    preprocessing: Preprocessing | None
    test: tuple | None
    names: tuple | None


def define_network(
    default="fashion_mnist_resnet20", text="A shipped network or a .keras file."
):
    """Defines flags of a network, and of how one of your own is fed."""
    flags.DEFINE_string("teacher", default, text)
    flags.DEFINE_string("mean", None, "Of the teacher's training pixels, gray.")
    flags.DEFINE_string("std", None, "Their standard deviation, gray levels.")
    flags.DEFINE_string(
        "pixel_range",
        "0,255",
        "What the teacher is fed for black and white, or: normalized.",
    )
    flags.DEFINE_enum("channel_order", "rgb", ["rgb", "bgr"], "As it is fed.")


def define_images():
    """Defines flags that name real images."""
    flags.DEFINE_string("test_data", None, "An .npz of images and labels.")
    flags.DEFINE_string("idx_dir", None, "Real images: a folder of idx files.")
    flags.DEFINE_string("tfds_dir", None, "The data folder of TFDS, likewise.")


def load(teacher=None, dataset="fashion_mnist") -> Given:
    """Loads what the flags name.

    Args:
        teacher: String, the network where no flag names one.
        dataset: String, of real images, in TFDS.
    """
    name = FLAGS.teacher or teacher
    network, shipped = load_network(name), name in PRETRAINED
    test = load_test_data(
        network.input_shape[1:],
        FLAGS.test_data,
        FLAGS.idx_dir,
        FLAGS.tfds_dir,
        dataset,
        shipped=shipped,
    )
    names = FASHION_MNIST_CLASSES if shipped else None
    return Given(network, command.preprocessing(FLAGS), test, names)


def training_images(dataset="fashion_mnist"):
    """Real images and labels to train on."""
    source = {"idx_dir": FLAGS.idx_dir, "tfds_dir": FLAGS.tfds_dir}
    return load_split(dataset, "train", **source)


def machine() -> str:
    """What a run took its minutes on."""
    return f"{platform.machine()}, {os.cpu_count()} cores"


def identity(teacher) -> dict:
    """Figures that tell a run from others."""
    return {
        "seed": FLAGS.seed,
        "teacher_sha256": fingerprint({}, teacher.get_weights()),
        "machine": machine(),
    }
