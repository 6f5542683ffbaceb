"""Measures the memory and the time of a step that reads its batch in pieces.

A process for each size of a micro-batch inverts the same random ResNet-18
(32x32, as in `step_time.py`) with the same batch. The benchmark reports the
peak of its memory, minus its memory before the first step, and the median time
of a step.

    python benchmarks/micro_batches.py
"""

import json
import os
import statistics
import subprocess
import sys
import time

from absl import app
from absl import flags
from machine import machine
from machine import peak_bytes

FLAGS = flags.FLAGS
flags.DEFINE_list("micro_batches", ["256", "64", "16", "8"], "Sizes.")
flags.DEFINE_integer("images", 256, "Images in a batch.")
flags.DEFINE_integer("width", 64, "Channels of the first stage.")
flags.DEFINE_integer("steps", 3, "Timed steps, after a warm-up step.")
flags.DEFINE_integer("seed", 0, "Random seed.")
flags.DEFINE_integer("worker", None, "Used by the benchmark itself.")


def measure(micro_batch):
    import keras

    import tf_deepinversion as di
    from tf_deepinversion.models import ResNet18

    keras.utils.set_random_seed(FLAGS.seed)
    model = di.DeepInversion(ResNet18(width=FLAGS.width), seed=FLAGS.seed)
    model.compile(micro_batch=micro_batch)
    labels = di.balanced_labels(10, FLAGS.images)
    before, seconds, losses = peak_bytes(), [], []
    for _ in range(FLAGS.steps + 1):
        start = time.perf_counter()
        history = model.fit(labels, steps=1, verbose=0)
        seconds.append(time.perf_counter() - start)
        losses += history.history["loss"]
    return {
        "micro_batch": micro_batch,
        "megabytes": (peak_bytes() - before) / 1e6,
        "seconds_per_step": statistics.median(seconds[1:]),
        "loss": losses[0],
    }


def main(_):
    if FLAGS.worker:
        print(json.dumps(measure(FLAGS.worker)))
        return
    results = []
    for size in FLAGS.micro_batches:
        names = ("images", "width", "steps", "seed")
        output = subprocess.run(
            [sys.executable, __file__, f"--worker={size}"]
            + [f"--{name}={FLAGS[name].value}" for name in names],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
        ).stdout
        results.append(json.loads(output.splitlines()[-1]))
        print(results[-1], file=sys.stderr)
    first, last = results[0], results[-1]
    figures = {
        "memory_ratio": last["megabytes"] / first["megabytes"],
        "time_ratio": last["seconds_per_step"] / first["seconds_per_step"],
        "loss_difference": max(
            abs(r["loss"] / first["loss"] - 1) for r in results
        ),
        "by_micro_batch": results,
        "images": FLAGS.images,
        "seed": FLAGS.seed,
        "machine": machine(),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    app.run(main)
