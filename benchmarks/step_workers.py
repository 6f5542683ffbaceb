"""The processes of `step_time.py` that compute in TensorFlow.

Do not run this file by hand. Each line of standard input is a request to
measure. Each answer is a line of JSON.
"""

import argparse
import hashlib
import json
import sys
import time

import keras
import numpy as np
import tensorflow as tf
from machine import peak_bytes

from tf_deepinversion import RECIPES
from tf_deepinversion import DeepInversion
from tf_deepinversion import balanced_labels
from tf_deepinversion import load_pretrained
from tf_deepinversion.models import ResNet18

TERMS = ("cross_entropy", "feature_statistics", "total_variation")
MATRIX_SIZES = (1024, 2048, 4096)


def make_resnet18(width, batch, seed):
    """A random ResNet-18 whose moving statistics are those of a batch.

    The batch is coarse noise. The start images are fine noise, so their
    statistics differ from the moving statistics.
    """
    keras.utils.set_random_seed(seed)
    random = np.random.default_rng(seed)
    teacher = ResNet18(width=width)
    for layer in teacher.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
            layer.gamma.assign(random.uniform(0.5, 1.5, layer.gamma.shape))
            layer.beta.assign(random.normal(0, 0.1, layer.beta.shape))
    pixels = random.uniform(0, 255, (batch, 8, 8, 3)).astype("float32")
    teacher(pixels.repeat(4, axis=1).repeat(4, axis=2), training=True)
    return teacher


def make_teacher(args):
    if args.network == "resnet20":
        return load_pretrained("fashion_mnist_resnet20")
    return make_resnet18(args.width, args.batch, args.seed)


def read_teacher(args):
    """Reads the network of `work_first` without the memory to make it."""
    if args.network == "resnet20":
        return load_pretrained("fashion_mnist_resnet20")
    teacher = ResNet18(width=args.width)
    with np.load(args.file) as file:
        for weight in teacher.weights:
            weight.assign(file[weight.path])
    return teacher


def flops_of_step(teacher, batch):
    """Counts the FLOPs of convolutions and the dense layer, in both directions.

    Both take a multiplication and an addition for each weight and place, also
    on the padding.
    """
    multiplications = 0
    for layer in teacher.layers:
        if isinstance(layer, keras.layers.Conv2D):
            _, height, width, _ = layer.output.shape
            multiplications += (
                height * width * layer.kernel.shape.num_elements()
            )
        elif isinstance(layer, keras.layers.Dense):
            multiplications += layer.kernel.shape.num_elements()
    return 2 * 2 * multiplications * batch


def answer(**figures):
    print(json.dumps({**figures, "peak_bytes": peak_bytes()}), flush=True)


def work_first(args):
    """Runs a step without jitter; writes the network and the start images.

    This is a process of its own, so that the memory of `work_ours` is that of
    the steps alone.
    """
    teacher, labels = make_teacher(args), balanced_labels(10, args.batch)
    recipe = RECIPES["cifar10_paper"].replace(transforms=[])
    model = DeepInversion(teacher, recipe=recipe, seed=args.seed)
    arrays = {weight.path: weight.numpy() for weight in teacher.weights}
    weights = b"".join(array.tobytes() for array in arrays.values())
    start = keras.callbacks.LambdaCallback(
        on_train_begin=lambda logs: arrays.update(
            images=model.trainable_variables[0].numpy()
        )
    )
    history = model.fit(labels, steps=1, verbose=0, callbacks=[start]).history
    bounds = zip(("black", "white"), model.preprocessing.bounds(), strict=True)
    for name, z in bounds:
        channels = arrays["images"].shape[-1:]
        arrays[name] = np.broadcast_to(z, channels).astype("float32")
    np.savez(args.file, **arrays, labels=labels.astype("int64"))
    answer(
        terms=[history[name][-1] for name in TERMS],
        flops=flops_of_step(teacher, args.batch),
        teacher_sha256=hashlib.sha256(weights).hexdigest(),
        versions={"tensorflow": tf.__version__, "keras": keras.__version__},
    )


def work_ours(args):
    """Runs steps on request."""
    labels, clock = balanced_labels(10, args.batch), getattr(time, args.clock)
    model = DeepInversion(
        read_teacher(args), recipe="cifar10_paper", seed=args.seed
    )
    model.fit(labels, steps=args.steps, verbose=0)
    answer()
    for _ in sys.stdin:
        start = clock()
        model.fit(labels, steps=args.steps, verbose=0)
        answer(seconds=clock() - start)


def work_product(args):
    """Times products of square matrices in TensorFlow."""
    product, clock = tf.function(tf.matmul), getattr(time, args.clock)
    pairs = [
        tf.random.stateless_normal((2, size, size), (args.seed, size))
        for size in MATRIX_SIZES
    ]
    for a, b in pairs:
        product(a, b)
    answer()
    for _ in sys.stdin:
        rates = []
        for a, b in pairs:
            repeats = 3 * (MATRIX_SIZES[-1] // a.shape[0])
            start = clock()
            for _ in range(repeats):
                result = product(a, b)
            result.numpy()
            seconds = (clock() - start) / repeats
            rates.append(2 * a.shape[0] ** 3 / seconds)
        answer(rates=rates)


WORKS = {"first": work_first, "ours": work_ours, "product": work_product}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", choices=list(WORKS))
    parser.add_argument("file")
    parser.add_argument("--network", required=True)
    parser.add_argument("--clock", required=True)
    for name in ("steps", "batch", "width", "threads", "seed"):
        parser.add_argument(f"--{name}", type=int, required=True)
    args = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(args.threads)
    tf.config.threading.set_inter_op_parallelism_threads(args.threads)
    WORKS[args.work](args)


if __name__ == "__main__":
    main()
