"""What a pool on disk costs: memory, the time of a batch, the time of an `add`.

Fills a folder with random images, and opens it in a process of its own with
few images and with many. The peak of memory must be the same, a random batch
must take no more than twice the time of one from memory, and the last `add`
must take no longer than the first.

    python benchmarks/pool_memory.py
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
from absl import app
from absl import flags
from machine import machine
from machine import peak_bytes

FLAGS = flags.FLAGS
flags.DEFINE_integer("few", 10_000, "Images of the smaller pool.")
flags.DEFINE_integer("many", 100_000, "Images of the larger pool.")
flags.DEFINE_integer("size", 64, "Pixels of a side; three channels.")
flags.DEFINE_integer("added", 500, "Images of each `add`.")
flags.DEFINE_integer("batch_size", 256, "")
flags.DEFINE_integer("batches", 50, "Random batches that are timed.")
flags.DEFINE_string("opened", None, "Used by the benchmark itself: a folder.")
flags.DEFINE_bool("tiny", False, "A few small images, to see that it runs.")

CLASSES = 10


def shape():
    return FLAGS.size, FLAGS.size, 3


def images_of(number):
    """The images of `add` number `number`."""
    random = np.random.default_rng(number)
    return random.integers(0, 256, (FLAGS.added, *shape()), "uint8")


def fill(folder, images):
    """Makes a pool; returns the seconds of each `add`."""
    import tf_deepinversion as di

    pool = di.Pool(images, shape(), CLASSES, folder=folder, run="benchmark")
    labels, seconds = np.arange(FLAGS.added) % CLASSES, []
    for number in range(images // FLAGS.added):
        batch, begin = images_of(number), time.perf_counter()
        pool.add(batch, labels)
        seconds.append(time.perf_counter() - begin)
    pool.close()
    return seconds


def batch_seconds(pools):
    """The median time of a random batch of each pool, drawn in turn."""
    streams = [iter(pool.dataset(FLAGS.batch_size)) for pool in pools]
    seconds = [[] for _ in pools]
    for _ in range(FLAGS.batches + 3):
        for stream, times in zip(streams, seconds, strict=True):
            begin = time.perf_counter()
            next(stream)
            times.append(time.perf_counter() - begin)
    return [statistics.median(times[3:]) for times in seconds]


def opened(folder):
    """In a process of its own: opens a pool, draws, and says what it took."""
    import tf_deepinversion as di

    begin = time.perf_counter()
    pool = di.Pool.open(folder)
    seconds = time.perf_counter() - begin
    batch_seconds([pool])
    print(json.dumps({"open_seconds": seconds, "peak": peak_bytes()}))


def open_alone(folder):
    names = ("size", "batch_size", "batches")
    output = subprocess.run(
        [sys.executable, __file__, f"--opened={folder}"]
        + [f"--{name}={FLAGS[name].value}" for name in names],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    ).stdout
    return json.loads(output.splitlines()[-1])


def in_memory(images):
    """The same images without a folder."""
    import tf_deepinversion as di

    pool = di.Pool(images, shape(), CLASSES)
    labels = np.arange(FLAGS.added) % CLASSES
    for number in range(images // FLAGS.added):
        pool.add(images_of(number), labels)
    return pool


def main(_):
    import tf_deepinversion as di

    if FLAGS.opened:
        opened(FLAGS.opened)
        return
    if FLAGS.tiny:
        FLAGS.few, FLAGS.many, FLAGS.size = 40, 120, 8
        FLAGS.added, FLAGS.batch_size, FLAGS.batches = 20, 16, 3
    with tempfile.TemporaryDirectory() as name:
        few, many = pathlib.Path(name, "few"), pathlib.Path(name, "many")
        fill(few, FLAGS.few)
        adds = fill(many, FLAGS.many)
        alone = [open_alone(folder) for folder in (few, many)]
        pools = in_memory(FLAGS.many), di.Pool.open(many)
        memory, disk = batch_seconds(pools)
    ends = max(2, len(adds) // 10)
    first, last = adds[1 : 1 + ends], adds[-ends:]  # the first traces
    print(
        json.dumps(
            {
                "peak_ratio": alone[1]["peak"] / alone[0]["peak"],
                "batch_time_ratio": disk / memory,
                "add_time_ratio": statistics.median(last)
                / statistics.median(first),
                "images": [FLAGS.few, FLAGS.many],
                "shape": shape(),
                "peak_megabytes": alone[1]["peak"] / 1e6,
                "open_seconds": alone[1]["open_seconds"],
                "batch_milliseconds": 1000 * disk,
                "add_milliseconds": 1000 * statistics.median(last),
                **machine(),
            }
        )
    )


if __name__ == "__main__":
    app.run(main)
