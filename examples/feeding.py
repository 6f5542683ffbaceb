"""How a network of one's own is fed: flags that several examples have."""

from absl import app
from absl import flags

flags.disclaim_key_flags()  # they are the scripts', in their --help
FLAGS = flags.FLAGS


def define_flags():
    """Defines them, for networks that are not known by name."""
    flags.DEFINE_list("mean", None, "Of the teacher's training pixels, gray.")
    flags.DEFINE_list("std", None, "Their standard deviation, gray levels.")
    flags.DEFINE_list(
        "pixel_range",
        "0,255",
        "What the teacher is fed for black and white, or: normalized.",
    )
    flags.DEFINE_enum("channel_order", "rgb", ["rgb", "bgr"], "As it is fed.")


def preprocessing():
    """The `Preprocessing` of the flags; None if they do not say."""
    from tf_deepinversion import Preprocessing

    if FLAGS.mean is None and FLAGS.std is None:
        return None
    if FLAGS.mean is None or FLAGS.std is None:
        raise app.UsageError("--mean and --std belong together.")
    pair = FLAGS.pixel_range
    return Preprocessing(
        [float(v) for v in FLAGS.mean],
        [float(v) for v in FLAGS.std],
        pair[0] if pair == ["normalized"] else [float(v) for v in pair],
        FLAGS.channel_order,
    )
