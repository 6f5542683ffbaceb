r"""Compares the time of an inversion step with the same step in PyTorch.

This package does not require PyTorch. Install PyTorch into its own environment,
and pass the Python of this environment:

    python -m venv /tmp/torch
    /tmp/torch/bin/pip install torch==2.13.0 numpy
    python benchmarks/step_time.py --torch_python=/tmp/torch/bin/python

Setting: a random ResNet-18 for small images, 32 images of 32x32x3 pixels; or,
by `--network=resnet20 --batch=256`, the ResNet-20 that ships and 256 images of
28x28x1; the objective, optimizer and jitter of the recipe `cifar10_paper`; as
many threads as cores.

Our side is the whole `DeepInversion.fit`. The other side is our own loop of the
same equations in PyTorch, `torch_inversion.py`, in four forms: contiguous,
channels_last, compiled, compiled channels_last. The fastest form counts. Each
form runs with the gradients of the teacher's weights, which the published code
computes, and without. All start from the same network and images. The terms of
the objective at step 0, without jitter, must agree to 1e-3. Each side is a
process. The processes take turns. The figures are medians.

Other work on the machine slows PyTorch's threads down more than ours, because
these wait for each other. There, `--threads=1 --clock=process_time` compares
the processor's time. `--form=compile_channels_last` leaves out the other forms,
which take minutes to compile.

A tiny run, to see that everything works: add `--rounds=1 --steps=1 --width=8`.

Result of one thread (AVX-512) on a busy machine, with `--rounds=5 --steps=4
--threads=1 --clock=process_time --form=compile_channels_last`: our step has
1.65 times the speed of the published form, and 1.01 times the speed of the form
without weight gradients. The medians are 732 ms (ours, between 705 and 826),
1205 and 741 ms. Our step runs at 89 % of the rate of the matrix product, and
takes 1.28 and 1.44 times the memory. The ResNet-20 that ships, with 256 images
(`--rounds=4`): 1.42 and 1.00 times the speed, 69 % of the rate, 1.31 times the
memory. Most of a step is convolutions, which oneDNN computes for both sides.
docs/results/inversion.md says where the rest goes.
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

from absl import app
from absl import flags
from machine import machine
from side import Side

FORMS = ("contiguous", "channels_last", "compile", "compile_channels_last")

FLAGS = flags.FLAGS
flags.DEFINE_string(
    "torch_python", sys.executable, "A Python that can import torch."
)
flags.DEFINE_enum(
    "network",
    "resnet18",
    ["resnet18", "resnet20"],
    "A random ResNet-18 for 32x32x3, or the ResNet-20 that ships.",
)
flags.DEFINE_multi_enum("form", FORMS, FORMS, "Forms of the other side.")
flags.DEFINE_integer("rounds", 5, "Turns of each side.")
flags.DEFINE_integer("steps", 10, "Steps in a turn.")
flags.DEFINE_integer("batch", 32, "Images in a batch.")
flags.DEFINE_integer("width", 64, "Channels of ResNet-18's first stage.")
flags.DEFINE_integer("threads", os.cpu_count(), "Threads of each side.")
flags.DEFINE_enum(
    "clock",
    "perf_counter",
    ["perf_counter", "process_time"],
    "process_time counts the processor's time: for --threads=1 under load.",
)
flags.DEFINE_integer("seed", 0, "Of the weights and the start images.")

TERMS = ("cross_entropy", "feature_statistics", "total_variation")
TOLERANCE = 1e-3


def check_torch():
    """Raises SystemExit if the other Python cannot import torch."""
    try:
        found = subprocess.run(
            [FLAGS.torch_python, "-c", "import torch"],
            capture_output=True,
            text=True,
        )
        error = (
            found.stderr.strip().splitlines()[-1] if found.returncode else ""
        )
    except OSError as e:
        error = str(e)
    if error:
        raise SystemExit(
            "Expected a Python that can import PyTorch. Install PyTorch into "
            "its own environment and pass the path of its Python as "
            "--torch_python. Received: "
            f"--torch_python={FLAGS.torch_python} ({error})"
        )


def own_worker(name, file):
    flags = "network", "steps", "batch", "width", "threads", "clock", "seed"
    command = [
        sys.executable,
        str(pathlib.Path(__file__).with_name("step_workers.py")),
        name,
        str(file),
        *(f"--{flag}={FLAGS[flag].value}" for flag in flags),
    ]
    return Side(name, command, FLAGS.steps)


def torch_worker(form, weight_gradients, file):
    command = [
        FLAGS.torch_python,
        str(pathlib.Path(__file__).with_name("torch_inversion.py")),
        str(file),
        f"--form={form}",
        f"--threads={FLAGS.threads}",
        f"--clock={FLAGS.clock}",
        f"--seed={FLAGS.seed}",
    ]
    name = f"torch {form}"
    if weight_gradients:
        name += " with weight gradients"
        command.append("--weight_gradients")
    return Side(name, command, FLAGS.steps)


def difference(first, theirs):
    """Returns the largest relative difference of the terms at step 0.

    Raises:
        SystemExit: if the difference is above the tolerance.
    """
    gaps = {
        name: abs(a - b) / max(abs(a), abs(b))
        for name, a, b in zip(
            TERMS, first["terms"], theirs.first["terms"], strict=True
        )
    }
    if not max(gaps.values()) <= TOLERANCE:
        raise SystemExit(
            f"The terms at step 0 of ours and {theirs.name} differ by more "
            f"than {TOLERANCE}, relatively: {gaps}. Nothing was timed."
        )
    return max(gaps.values())


def measure(sides, product):
    for turn in range(FLAGS.rounds):
        for side in [*sides, product]:
            side.measure()
        steps = ", ".join(
            f"{s.name} {1e3 * s.answers[-1]['seconds'] / FLAGS.steps:.0f}"
            for s in sides
        )
        best = max(product.answers[-1]["rates"]) / 1e9
        print(
            f"Round {turn + 1} of {FLAGS.rounds}: {steps} ms; "
            f"matrix product {best:.0f} GFLOP/s",
            file=sys.stderr,
        )


def best_rate(product):
    """Returns the rates for the matrix size with the highest median."""
    rates = zip(*(a["rates"] for a in product.answers), strict=True)
    return max(statistics.median(r) for r in rates)


def figures(ours, published, lean, product, flops):
    fastest, fastest_lean = (
        min(sides, key=lambda side: side.milliseconds)
        for sides in (published, lean)
    )
    rate = flops / ours.milliseconds * 1e3
    peak = best_rate(product)
    sides = [ours, *published, *lean]
    return {
        "speedup_vs_published_form": fastest.milliseconds / ours.milliseconds,
        "speedup_vs_no_weight_gradients": (
            fastest_lean.milliseconds / ours.milliseconds
        ),
        "share_of_matmul_rate": rate / peak,
        "peak_memory_ratio": ours.megabytes / fastest.megabytes,
        "peak_memory_ratio_no_weight_gradients": (
            ours.megabytes / fastest_lean.megabytes
        ),
        "gflops": rate / 1e9,
        "matmul_gflops": peak / 1e9,
        "milliseconds": {s.name: s.milliseconds for s in sides},
        "megabytes": {s.name: s.megabytes for s in sides},
    }


def compare():
    check_torch()
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "network.npz"
        start = own_worker("first", file)
        start.close()
        first, ours = start.first, own_worker("ours", file)
        product = own_worker("product", file)
        published, lean = (
            [torch_worker(form, gradients, file) for form in FLAGS.form]
            for gradients in (True, False)
        )
    for side in published + lean:
        if "error" in side.first:
            print(
                f"Without {side.name}: {side.first['error']}", file=sys.stderr
            )
    published, lean = (
        [side for side in sides if "error" not in side.first]
        for sides in (published, lean)
    )
    loss_difference = max(difference(first, s) for s in published + lean)
    measure([ours, *published, *lean], product)
    for side in [ours, *published, *lean, product]:
        side.close()
    results = figures(ours, published, lean, product, first["flops"])
    return {
        **results,
        "loss_difference_at_step_0": loss_difference,
        "machine": machine(
            threads=FLAGS.threads,
            torch=lean[0].first["version"],
            **first["versions"],
        ),
        "seed": FLAGS.seed,
        "teacher_sha256": first["teacher_sha256"],
        "network": FLAGS.network,
        "clock": FLAGS.clock,
        "images": FLAGS.batch,
    }


def main(_):
    print(json.dumps(compare()))


if __name__ == "__main__":
    app.run(main)
