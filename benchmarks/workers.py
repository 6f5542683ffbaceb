"""Kills the workers of one pool again and again, and asks for the same bytes.

Three processes make the batches of one folder. A random one of them is killed
(SIGKILL) at random moments and started again, until all batches are done. The
bytes of all shards must be those of one process that nobody disturbed. Then one
worker, and two side by side, are timed with one thread each. Where Ray is
installed, two of its actors make the batches, and one of them is killed.

    python benchmarks/workers.py

TensorFlow is imported once, and first computes in the forked workers.
"""

import hashlib
import importlib.util
import json
import os
import pathlib
import random
import signal
import sys
import tempfile
import threading
import time

from absl import app
from absl import flags
from machine import machine

FLAGS = flags.FLAGS
flags.DEFINE_string("teacher", "fashion_mnist_resnet20", "A shipped network.")
flags.DEFINE_integer("kills", 20, "How often a worker is killed.")
flags.DEFINE_integer("workers", 3, "Processes that share the folder.")
flags.DEFINE_integer("batches", 24, "Batches of the pool.")
flags.DEFINE_integer("timed", 6, "Batches that each timed worker makes.")
flags.DEFINE_integer("images", 10, "Images of a batch.")
flags.DEFINE_integer("steps", 40, "Steps of a batch.")
flags.DEFINE_float("patience", 8.0, "Most seconds between two kills.")
flags.DEFINE_integer("seed", 0, "Of the images and of the moments of death.")
flags.DEFINE_bool("tiny", False, "Few kills and steps, to see that it runs.")


def teacher():
    """The network that the images are of; a small one with `tiny`."""
    import keras

    import tf_deepinversion as di

    if not FLAGS.tiny:
        return di.load_pretrained(FLAGS.teacher)
    keras.utils.set_random_seed(0)
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Rescaling(1 / 64, -2, name="normalize"),
            layers.Conv2D(4, 3),
            layers.BatchNormalization(),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3),
        ]
    )


def arguments(batches) -> dict:
    """What all workers have in common."""
    return {
        "batches": batches,
        "images": FLAGS.images,
        "steps": FLAGS.steps,
        "seed": FLAGS.seed,
        "recipe": "ours",
        "verbose": 0,
    }


def work(folder, worker, workers, batches):
    """Makes batches, and ends the process."""
    code = 1
    try:
        import tensorflow as tf

        import tf_deepinversion as di

        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        status = di.synthesize_batches(
            teacher(),
            folder,
            worker=worker,
            workers=workers,
            **arguments(batches),
        )
        code = len(status.failed)
    finally:
        os._exit(code)


def start(folder, worker, workers, batches):
    """Starts a worker; returns the number of its process."""
    sys.stdout.flush()
    process = os.fork()
    if not process:
        work(folder, worker, workers, batches)
    return process


def ended(process) -> bool:
    """Whether a worker has ended by itself, without an error."""
    found, status = os.waitpid(process, os.WNOHANG)
    if found and status:
        raise SystemExit(f"A worker ended with the status {status}.")
    return bool(found)


def disturbed(folder):
    """Runs all workers, and kills one after another.

    Returns:
        How many were killed.
    """
    chance, kills = random.Random(FLAGS.seed), 0
    arguments = FLAGS.workers, FLAGS.batches
    running = {
        worker: start(folder, worker, *arguments)
        for worker in range(FLAGS.workers)
    }
    while running:
        time.sleep(chance.uniform(0.2, FLAGS.patience))
        for worker, process in list(running.items()):
            if ended(process):
                del running[worker]
        if running and kills < FLAGS.kills:
            worker = chance.choice(sorted(running))
            os.kill(running[worker], signal.SIGKILL)
            os.waitpid(running[worker], 0)
            running[worker] = start(folder, worker, *arguments)
            kills += 1
            print(f"{kills} kills, {done(folder)} batches", file=sys.stderr)
    return kills


def done(folder) -> int:
    return len(list(folder.glob("done/*.json")))


def shards(folder) -> dict:
    """The SHA-256 of each shard by its name."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.glob("pool-train*"))
    }


def images_a_second(folder, workers) -> float:
    """The images a second of workers side by side.

    The first batch of each is left out, in which its graphs are traced.
    """
    batches = workers * FLAGS.timed
    processes = [
        start(folder, worker, workers, batches) for worker in range(workers)
    ]
    for process in processes:
        _, status = os.waitpid(process, 0)
        if status:
            raise SystemExit(f"A worker ended with the status {status}.")
    speed = 0.0
    for worker in range(workers):
        numbers = range(worker, batches, workers)
        seconds = sorted(
            json.loads((folder / f"done/{n:05d}.json").read_text())["seconds"]
            for n in numbers
        )[:-1]
        speed += FLAGS.images * len(seconds) / sum(seconds)
    return speed


def equal_on_ray(folder, whole):
    """Whether two actors of Ray, one of them killed, make the same bytes.

    Returns:
        A bool, or None if Ray is not installed.
    """
    if importlib.util.find_spec("ray") is None:
        return None
    from tf_deepinversion.inversion import synthesize_on_ray

    os.environ["TF_NUM_INTRAOP_THREADS"] = "1"  # of the actors
    os.environ["TF_NUM_INTEROP_THREADS"] = "1"
    threading.Thread(target=kill_first, args=[folder], daemon=True).start()
    synthesize_on_ray(
        teacher(),
        folder,
        workers=2,
        resources={"num_cpus": 1},
        **arguments(FLAGS.batches),
    )
    return shards(folder) == shards(whole)


def kill_first(folder):
    """Kills the first worker that has made a batch."""
    while not done(folder):
        time.sleep(0.1)
    marker = next(folder.glob("done/*.json"))
    os.kill(json.loads(marker.read_text())["process"], signal.SIGKILL)


def main(_):
    # Here, so that no worker imports it again; nothing is computed with it.
    import tf_deepinversion  # noqa: F401

    if FLAGS.tiny:
        FLAGS.kills, FLAGS.workers, FLAGS.batches = 1, 2, 3
        FLAGS.images, FLAGS.steps, FLAGS.timed = 10, 1, 2
        FLAGS.patience = 3.0
    with tempfile.TemporaryDirectory() as name:
        whole, killed, one, two = (
            pathlib.Path(name, part) for part in ("whole", "killed", "1", "2")
        )
        os.waitpid(start(whole, 0, 1, FLAGS.batches), 0)
        kills = disturbed(killed)
        speeds = [images_a_second(one, 1), images_a_second(two, 2)]
        equal = shards(killed) == shards(whole)
        count = len(shards(killed))
        ray_equal = equal_on_ray(pathlib.Path(name, "ray"), whole)
    print(
        json.dumps(
            {
                "kills": kills,
                "equal_to_undisturbed": equal and count == FLAGS.batches,
                "speedup_2_workers": speeds[1] / speeds[0],
                "ray_equal": ray_equal,
                "batches": count,
                "workers": FLAGS.workers,
                "images_a_second": speeds,
                **machine(),
            }
        )
    )


if __name__ == "__main__":
    app.run(main)
