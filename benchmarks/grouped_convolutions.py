r"""Measures how much faster the library reads grouped convolutions on a CPU.

    python benchmarks/grouped_convolutions.py

Both sides compute the logits of the same random network of `keras.applications`
and the gradient of their squares for the images: once as Keras calls the
network, once with `networks.grouped_convolutions`, as the library reads a
teacher. The sides take turns. The figures are medians, and the largest
difference of the two gradients as a share of the largest gradient. The last
line printed is JSON. A tiny run: `--images=2 --rounds=1`.

Result on two threads of an AMD EPYC with AVX-512, beside other work, two runs:
the library takes 7.2 and 6.6 % of the time.
"""

import contextlib
import json
import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf
from absl import app
from absl import flags
from machine import machine

from tf_deepinversion.networks import grouped_convolutions

FLAGS = flags.FLAGS
flags.DEFINE_string("network", "ConvNeXtTiny", "Of `keras.applications`.")
flags.DEFINE_integer("size", 32, "Height and width of the images.", 32)
flags.DEFINE_integer("images", 64, "Images in a batch.", 1)
flags.DEFINE_integer("rounds", 5, "Turns of each side, after a first.", 1)
flags.DEFINE_integer("seed", 0, "Of weights and images.", 0)


def gradient_of(network):
    """Returns a function from images to the gradient, to be traced."""

    @tf.function(autograph=False)
    def gradient(images):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(images)
            value = tf.reduce_sum(network(images, training=False) ** 2)
        return tape.gradient(value, images)

    return gradient


def main(_):
    keras.utils.set_random_seed(FLAGS.seed)
    shape = (FLAGS.size, FLAGS.size, 3)
    network = getattr(keras.applications, FLAGS.network)(
        weights=None, input_shape=shape, classes=10, classifier_activation=None
    )
    random = np.random.default_rng(FLAGS.seed)
    images = random.uniform(0, 255, (FLAGS.images, *shape))
    images = tf.constant(images, "float32")
    sides = {
        "keras": contextlib.nullcontext(),
        "library": grouped_convolutions.faster(network),
    }
    functions, gradients = {}, {}
    for side, context in sides.items():
        functions[side] = gradient_of(network)
        with context:  # traces
            gradients[side] = functions[side](images).numpy()
    seconds = {side: [] for side in sides}
    for _ in range(FLAGS.rounds):
        for side, function in functions.items():
            begin = time.perf_counter()
            function(images)
            seconds[side].append(time.perf_counter() - begin)
    medians = {side: statistics.median(s) for side, s in seconds.items()}
    apart = np.abs(gradients["library"] - gradients["keras"]).max()
    figures = {
        "network": FLAGS.network,
        "seconds": medians,
        "time_ratio": medians["library"] / medians["keras"],
        "difference": float(apart / np.abs(gradients["keras"]).max()),
        "images": FLAGS.images,
        "size": FLAGS.size,
        "machine": machine(seed=FLAGS.seed),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    app.run(main)
