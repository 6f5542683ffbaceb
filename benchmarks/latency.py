r"""Prunes a network to a latency on LiteRT: a knapsack against a ranking.

    python benchmarks/latency.py --pool=output/student/pool \
        --idx_dir=/usr/share/datasets/fashion-mnist

For each share of the teacher's latency (`--shares`), `knapsack` chooses the
widths in steps of eight channels by a measured table. `ranking` removes the
least important channels wherever they are, as pruning by FLOPs alone does,
until the whole network is as fast as that of the knapsack. `ranking_8` rounds
its widths to multiples of eight. The importance is the same, `fisher` of the
teacher. The networks recover on the images of --pool.

A row has the measured latency of the whole network, one image a call on one
thread, as a share of the teacher's; the share of the teacher's importance that
stays; and the accuracy of the file on real test images. The folder holds the
table, the channels and the states of the recoveries: repeating the same command
goes on with them. The last line printed is JSON.

A tiny run: `--shares=0.8 --steps=2 --ranking_batches=1 --levels=2`.
"""

import json
import os
import pathlib
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from absl import app
from absl import flags
from machine import machine
from run_folder import claim

import tf_deepinversion as di
from tf_deepinversion import pruning
from tf_deepinversion import quantization
from tf_deepinversion.core.files import write_atomically
from tf_deepinversion.datasets.real_images import load_test_data
from tf_deepinversion.datasets.streams import as_stream
from tf_deepinversion.models.pretrained import PRETRAINED
from tf_deepinversion.models.pretrained import load_network
from tf_deepinversion.pruning.channels import cost
from tf_deepinversion.pruning.channels.criteria import scores_of
from tf_deepinversion.pruning.channels.knapsack import knapsack
from tf_deepinversion.pruning.channels.selection import select
from tf_deepinversion.quantization.litert import interpreter_of

FLAGS = flags.FLAGS
SELECTIONS = ["knapsack", "ranking", "ranking_8"]
flags.DEFINE_string("teacher", "fashion_mnist_resnet20", "Or a .keras file.")
flags.DEFINE_string("pool", None, "Folder of the images.", required=True)
flags.DEFINE_string("idx_dir", None, "Folder of real images in idx files.")
flags.DEFINE_string("test_data", None, "An .npz of images and labels.")
flags.DEFINE_enum("scheme", "float32", ["float32", "int8"], "Of the files.")
flags.DEFINE_multi_float("shares", [0.7, 0.5, 0.35], "Of the latency.")
flags.DEFINE_list("selections", SELECTIONS, "Of those.")
flags.DEFINE_integer("levels", 8, "Widths of an axis in the table.", 1)
flags.DEFINE_integer("ranking_batches", 30, "Of 128 images.", 1)
flags.DEFINE_integer("steps", 600, "Of the recovery.", 0)
flags.DEFINE_integer("seed", 0, "Of the recovery.", 0)
flags.DEFINE_string("output", "output/latency", "Folder.")


def timer(call, windows=5, seconds=0.05, pause=0.3) -> float:
    """Returns the processor's seconds of a call of one thread.

    Other work on the machine slows a core by half, for half a second at a time.
    The least of several windows, each with its tenth percentile, hardly changes
    with other work.
    """
    found = []
    for _ in range(windows):
        took, end = [], time.perf_counter() + seconds
        while len(took) < 20 or time.perf_counter() < end:
            begin = time.thread_time()
            call()
            took.append(time.thread_time() - begin)
        found.append(np.percentile(took, 10))
        time.sleep(pause)
    return float(min(found))


def file_of(network, images) -> bytes:
    """Converts a network for one image a call."""
    if FLAGS.scheme == "int8":
        return quantization.quantize(network, images, verbose=0, batch_size=1)
    return quantization.to_litert(network, batch_size=1)


def seconds_of(network, images) -> float:
    interpreter = interpreter_of(file_of(network, images), threads=1)
    interpreter.allocate_tensors()
    return timer(interpreter.invoke)


def table_of(graph, folder):
    path = folder / "table.json"
    if not path.exists():
        scheme = None if FLAGS.scheme == "float32" else FLAGS.scheme
        pruning.LatencyTable.measure(
            graph,
            levels=FLAGS.levels,
            step=8,
            timer=timer,
            run=quantization.on_litert(scheme),
        ).save(path)
    return pruning.LatencyTable.load(path)


def as_fast(graph, scores, table, multiple_of, goal, seconds, limit):
    """Ranks until the whole network is as fast as `goal`, within 1 %.

    The first try has the price `limit` by the table, which is above the time of
    the whole network.
    """
    tried = []
    for _ in range(7):
        try:
            keep = select(graph, scores, table, limit, multiple_of=multiple_of)
        except ValueError:  # fewer channels than the least
            if tried:
                break
            raise
        tried.append((seconds(keep), table(graph, keep), keep))
        if abs(tried[-1][0] / goal - 1) < 0.01:
            break
        fast = [by_table for took, by_table, _ in tried if took < goal]
        slow = [by_table for took, by_table, _ in tried if took >= goal]
        if fast and slow:
            limit = (max(fast) + min(slow)) / 2
        else:
            limit = tried[-1][1] * goal / tried[-1][0]
    took, _, keep = min(tried, key=lambda found: abs(found[0] - goal))
    return took, keep


def chosen(teacher, graph, scores, table, images, share, path) -> dict:
    """Returns for each selection its latency, and the channels that stay.

    The file `path` keeps them: another measurement would change the run.
    """

    def seconds(keep):
        return seconds_of(pruning.shrink(teacher, keep), images)

    found = {}
    if path.exists():
        with np.load(path) as file:
            found = {k: (file[k][0], file[k][1:] > 0) for k in file.files}
    # The others' goal comes first.
    wanted = dict.fromkeys(("knapsack", *FLAGS.selections))
    missing = [name for name in wanted if name not in found]
    whole = seconds_of(teacher, images) if missing else None
    for name in missing:
        if name == "knapsack":
            limit = share * table(graph)
            keep = knapsack(graph, scores, table, limit, multiple_of=8)
            took = seconds(keep)
        else:
            multiple_of = 8 if name == "ranking_8" else 1
            goal = found["knapsack"][0] * whole
            price = table(graph, found["knapsack"][1])
            took, keep = as_fast(
                graph, scores, table, multiple_of, goal, seconds, price
            )
        found[name] = took / whole, keep
        arrays = {k: np.append(*v) for k, v in found.items()}
        write_atomically(
            path, lambda file, arrays=arrays: np.savez(file, **arrays)
        )
    return found


def recovered(teacher, keep, pool, test, folder) -> dict:
    """Trains what stays, and returns the accuracy of its file."""
    student = pruning.shrink(teacher, keep)
    pruning.recover(
        teacher,
        student,
        pool,
        steps=FLAGS.steps,
        dtype="mixed_bfloat16",
        transforms=di.augmentations(1.0),
        folder=folder,
        seed=FLAGS.seed,
        verbose=0,
    )
    content = file_of(student, pool.images[:100])
    return {
        "accuracy": quantization.LiteRT(content).accuracy(*test),
        "bytes": len(content),
    }


def main(_):
    teacher = load_network(FLAGS.teacher)
    pool, graph = di.Pool.open(FLAGS.pool), pruning.ChannelGraph(teacher)
    test = load_test_data(
        teacher.input_shape[1:],
        FLAGS.test_data,
        FLAGS.idx_dir,
        shipped=FLAGS.teacher in PRETRAINED,
    )
    if test is None:
        raise app.UsageError(
            "No test images for this teacher ship: pass --test_data."
        )
    folder = claim(pathlib.Path(FLAGS.output) / FLAGS.scheme)
    fed = di.Preprocessing.of(teacher, None)
    batches = as_stream(pool, 128, 0)(0).take(FLAGS.ranking_batches)
    scores = scores_of(graph, "fisher", batches, 0, teacher, fed, 4.0)
    table, rows = table_of(graph, folder), []
    images = pool.images[:100]
    for share in FLAGS.shares:
        path = folder / f"channels_{share}.npz"
        found = chosen(teacher, graph, scores, table, images, share, path)
        for name in FLAGS.selections:
            latency, keep = found[name]
            row = folder / f"{name}_{share}_{FLAGS.seed}"
            rows.append(
                {
                    "selection": name,
                    "share": share,
                    "latency": float(latency),
                    "flops": cost.flops(graph, keep) / cost.flops(graph),
                    "importance": scores[keep].sum() / scores.sum(),
                    "widths": np.bincount(graph.groups[keep]).tolist(),
                    **recovered(teacher, keep, pool, test, row),
                }
            )
            print(rows[-1], flush=True)
    print(json.dumps(machine(rows=rows)))


if __name__ == "__main__":
    app.run(main)
