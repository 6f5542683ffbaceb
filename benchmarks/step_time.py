r"""Compares the time of an inversion step with the same step in PyTorch.

This package does not require PyTorch. Install PyTorch into its own environment,
and pass the Python of this environment:

    python -m venv /tmp/torch
    /tmp/torch/bin/pip install torch==2.13.0 numpy
    python benchmarks/step_time.py --torch_python=/tmp/torch/bin/python

Setting: a ResNet-18 for small images; 32 images of 32x32 pixels; the objective,
optimizer and jitter of the recipe `cifar10_paper`; as many threads as cores.

Our side is the whole `DeepInversion.fit`. The other side is our own loop of the
same equations in PyTorch, `torch_inversion.py`, in four forms: contiguous,
channels_last, compiled, compiled channels_last. The fastest form counts. Each
form runs with the gradients of the teacher's weights, which the published code
computes, and without. All start from the same network and images. The terms of
the objective at step 0, without jitter, must agree to 1e-3. Each side is a
process. The processes take turns. The figures are medians.

A tiny run, to see that everything works: add `--rounds=1 --steps=1 --width=8`.

Result on two cores (AVX-512) with `--rounds=5 --steps=4`, in four minutes: our
step has 1.62 times the speed of the published form, and 1.03 times the speed of
the best form without weight gradients. The medians are 339 ms (ours, between
331 and 379), 548 and 349 ms. Our step runs at 96 % of the rate of the matrix
product, and takes 1.55 and 1.7 times the memory. Most of a step is
convolutions, which oneDNN computes for both sides.
"""

import hashlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from absl import app
from absl import flags
from machine import machine
from machine import peak_bytes
from side import Side

FLAGS = flags.FLAGS
flags.DEFINE_string(
    "torch_python", sys.executable, "A Python that can import torch."
)
flags.DEFINE_integer("rounds", 5, "Turns of each side.")
flags.DEFINE_integer("steps", 10, "Steps in a turn.")
flags.DEFINE_integer("batch", 32, "Images in a batch.")
flags.DEFINE_integer("width", 64, "Channels of the first stage.")
flags.DEFINE_integer("threads", os.cpu_count(), "Threads of each side.")
flags.DEFINE_integer("seed", 0, "Of the weights and the start images.")
flags.DEFINE_enum(
    "worker", None, ["ours", "product"], "Used by the benchmark itself."
)
flags.DEFINE_string("network", None, "Used by the benchmark itself.")

FORMS = ("contiguous", "channels_last", "compile", "compile_channels_last")
TERMS = ("cross_entropy", "feature_statistics", "total_variation")
TOLERANCE = 1e-3
MATRIX_SIZES = (1024, 2048, 4096)


def make_teacher():
    """A random ResNet-18 whose moving statistics are those of a batch.

    The batch is coarse noise. The start images are fine noise, so their
    statistics differ from the moving statistics.
    """
    import keras
    import numpy as np

    from tf_deepinversion.models import ResNet18

    keras.utils.set_random_seed(FLAGS.seed)
    random = np.random.default_rng(FLAGS.seed)
    teacher = ResNet18(width=FLAGS.width)
    for layer in teacher.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
            layer.gamma.assign(random.uniform(0.5, 1.5, layer.gamma.shape))
            layer.beta.assign(random.normal(0, 0.1, layer.beta.shape))
    pixels = random.uniform(0, 255, (FLAGS.batch, 8, 8, 3)).astype("float32")
    teacher(pixels.repeat(4, axis=1).repeat(4, axis=2), training=True)
    return teacher


def flops_of_step(teacher):
    """Counts the FLOPs of convolutions and the dense layer, in both directions.

    Both take a multiplication and an addition for each weight and place, also
    on the padding.
    """
    import keras

    multiplications = 0
    for layer in teacher.layers:
        if isinstance(layer, keras.layers.Conv2D):
            _, height, width, _ = layer.output.shape
            multiplications += (
                height * width * layer.kernel.shape.num_elements()
            )
        elif isinstance(layer, keras.layers.Dense):
            multiplications += layer.kernel.shape.num_elements()
    return 2 * 2 * multiplications * FLAGS.batch


def answer(**figures):
    print(json.dumps({**figures, "peak_bytes": peak_bytes()}), flush=True)


def set_threads():
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(FLAGS.threads)
    tf.config.threading.set_inter_op_parallelism_threads(FLAGS.threads)


def work_ours():
    """Writes network and start images, then runs steps on request."""
    import keras
    import numpy as np
    import tensorflow as tf

    from tf_deepinversion import RECIPES
    from tf_deepinversion import DeepInversion
    from tf_deepinversion import balanced_labels

    set_threads()
    teacher = make_teacher()
    labels = balanced_labels(10, FLAGS.batch)
    recipe = RECIPES["cifar10_paper"].replace(transforms=[])
    model = DeepInversion(teacher, recipe=recipe, seed=FLAGS.seed)
    arrays = {weight.path: weight.numpy() for weight in teacher.weights}
    start = keras.callbacks.LambdaCallback(
        on_train_begin=lambda logs: arrays.update(
            images=model.trainable_variables[0].numpy()
        )
    )
    history = model.fit(labels, steps=1, verbose=0, callbacks=[start]).history
    sha256 = hashlib.sha256(b"".join(w.tobytes() for w in arrays.values()))
    black, white = model.preprocessing.bounds()
    arrays["labels"] = labels.astype("int64")
    arrays["black"] = np.broadcast_to(black, (3,)).astype("float32")
    arrays["white"] = np.broadcast_to(white, (3,)).astype("float32")
    np.savez(FLAGS.network, **arrays)
    model.compile()
    model.fit(labels, steps=FLAGS.steps, verbose=0)
    answer(
        terms=[history[name][-1] for name in TERMS],
        flops=flops_of_step(teacher),
        teacher_sha256=sha256.hexdigest(),
        versions={"tensorflow": tf.__version__, "keras": keras.__version__},
    )
    for _ in sys.stdin:
        start = time.perf_counter()
        model.fit(labels, steps=FLAGS.steps, verbose=0)
        answer(seconds=time.perf_counter() - start)


def work_product():
    """Times products of square matrices in TensorFlow."""
    import tensorflow as tf

    set_threads()
    product = tf.function(tf.matmul)
    pairs = [
        tf.random.stateless_normal((2, size, size), (FLAGS.seed, size))
        for size in MATRIX_SIZES
    ]
    for a, b in pairs:
        product(a, b)
    answer()
    for _ in sys.stdin:
        rates = []
        for a, b in pairs:
            repeats = 3 * (MATRIX_SIZES[-1] // a.shape[0])
            start = time.perf_counter()
            for _ in range(repeats):
                result = product(a, b)
            result.numpy()
            seconds = (time.perf_counter() - start) / repeats
            rates.append(2 * a.shape[0] ** 3 / seconds)
        answer(rates=rates)


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


def own_worker(name, network):
    return Side(
        name,
        [
            sys.executable,
            __file__,
            f"--worker={name}",
            f"--network={network}",
            *(
                f"--{flag}={FLAGS[flag].value}"
                for flag in ("steps", "batch", "width", "threads", "seed")
            ),
        ],
        FLAGS.steps,
    )


def torch_worker(form, weight_gradients, network):
    command = [
        FLAGS.torch_python,
        str(pathlib.Path(__file__).with_name("torch_inversion.py")),
        str(network),
        f"--form={form}",
        f"--threads={FLAGS.threads}",
        f"--seed={FLAGS.seed}",
    ]
    name = f"torch {form}"
    if weight_gradients:
        name += " with weight gradients"
        command.append("--weight_gradients")
    return Side(name, command, FLAGS.steps)


def difference(ours, theirs):
    """Returns the largest relative difference of the terms at step 0.

    Raises:
        SystemExit: if the difference is above the tolerance.
    """
    gaps = {
        name: abs(a - b) / max(abs(a), abs(b))
        for name, a, b in zip(
            TERMS, ours.first["terms"], theirs.first["terms"], strict=True
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


def figures(ours, published, lean, product, loss_difference):
    fastest, fastest_lean = (
        min(sides, key=lambda side: side.milliseconds)
        for sides in (published, lean)
    )
    rate = ours.first["flops"] / ours.milliseconds * 1e3
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
        "loss_difference_at_step_0": loss_difference,
    }


def compare():
    check_torch()
    with tempfile.TemporaryDirectory() as folder:
        network = pathlib.Path(folder) / "network.npz"
        ours = own_worker("ours", network)
        product = own_worker("product", network)
        published, lean = (
            [torch_worker(form, gradients, network) for form in FORMS]
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
    loss_difference = max(difference(ours, s) for s in published + lean)
    measure([ours, *published, *lean], product)
    for side in [ours, *published, *lean, product]:
        side.close()
    results = figures(ours, published, lean, product, loss_difference)
    return {
        **results,
        "machine": machine(
            threads=FLAGS.threads,
            torch=lean[0].first["version"],
            **ours.first["versions"],
        ),
        "seed": FLAGS.seed,
        "teacher_sha256": ours.first["teacher_sha256"],
        "images": FLAGS.batch,
    }


def main(_):
    if FLAGS.worker == "ours":
        work_ours()
    elif FLAGS.worker == "product":
        work_product()
    else:
        print(json.dumps(compare()))


if __name__ == "__main__":
    app.run(main)
