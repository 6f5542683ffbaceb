"""Kills an inversion again and again, and checks that the images stay the same.

The benchmark kills a run of `DeepInversion.fit` with a checkpoint (SIGKILL) at
random moments. Every second kill hits the run while it writes the checkpoint.
The benchmark repeats the same command until the run ends. The images must equal
the images of an undisturbed run, to the bit.

    python benchmarks/faults.py
"""

import hashlib
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time

import numpy as np
from absl import app
from absl import flags

FLAGS = flags.FLAGS
flags.DEFINE_string("teacher", "fashion_mnist_resnet20", "A shipped network.")
flags.DEFINE_integer("kills", 20, "Number of kills.")
flags.DEFINE_integer("images", 20, "Number of images.")
flags.DEFINE_integer("steps", 400, "Number of steps.")
flags.DEFINE_integer("steps_per_epoch", 4, "Steps between two checkpoints.")
flags.DEFINE_integer("seed", 0, "Of the images and of the times of kills.")
flags.DEFINE_string("run", None, "Used by the benchmark itself: a folder.")


def invert(folder):
    """Runs the inversion to kill; prints a line when an epoch begins."""
    import keras

    import tf_deepinversion as di

    told = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: print(epoch, flush=True)
    )
    model = di.DeepInversion(di.load_pretrained(FLAGS.teacher), seed=FLAGS.seed)
    model.fit(
        di.balanced_labels(10, FLAGS.images),
        FLAGS.steps,
        steps_per_epoch=FLAGS.steps_per_epoch,
        checkpoint=folder / "state.npz",
        callbacks=[told],
        verbose=0,
    )
    np.save(folder / "images.npy", model.images)


def start(folder):
    names = ("teacher", "images", "steps", "steps_per_epoch", "seed")
    return subprocess.Popen(
        [sys.executable, __file__, f"--run={folder}"]
        + [f"--{name}={FLAGS[name].value}" for name in names],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def kill(process, folder, while_writing, chance):
    """Kills the process.

    Returns:
        Bool, whether the kill left a half-written checkpoint; None if the
        process ended before the kill.
    """
    if not process.stdout.readline():
        return None
    time.sleep(chance.uniform(0, 3))
    parts = []
    while while_writing and not parts and process.poll() is None:
        parts = list(folder.glob(".state.npz.*.part"))
    process.kill()
    process.communicate()
    if process.returncode == 0:
        return None
    left = list(folder.glob(".state.npz.*.part"))
    for part in left:
        part.unlink()
    return bool(left)


def main(_):
    if FLAGS.run:
        invert(pathlib.Path(FLAGS.run))
        return
    chance = random.Random(FLAGS.seed)
    with tempfile.TemporaryDirectory() as name:
        whole, killed = (
            pathlib.Path(name, "whole"),
            pathlib.Path(name, "killed"),
        )
        whole.mkdir()
        killed.mkdir()
        start(whole).communicate()
        kills = during = 0
        while kills < FLAGS.kills:
            found = kill(start(killed), killed, kills % 2 == 0, chance)
            if found is None:
                raise SystemExit(
                    f"The run ended after {kills} kills: give more --steps."
                )
            kills, during = kills + 1, during + found
            print(
                f"{kills} kills, {during} of them while it wrote",
                file=sys.stderr,
            )
        start(killed).communicate()
        images = np.load(whole / "images.npy")
        equal = bool(np.array_equal(images, np.load(killed / "images.npy")))
    figures = {
        "kills": kills,
        "kills_during_write": during,
        "equal_to_undisturbed": equal,
        "images": len(images),
        "images_sha256": hashlib.sha256(images.tobytes()).hexdigest(),
        "seed": FLAGS.seed,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    app.run(main)
