"""Compares several replicas and workers with a single device.

A case is either replicas on logical devices of one process (MirroredStrategy),
or workers: processes that communicate over the loopback
(MultiWorkerMirroredStrategy). The benchmark compares, with and without XLA:

- the gradient of the images at points of the single device's trajectory, as the
  largest difference divided by the largest component (float32);
- the losses of a free run (float32, relative difference) and its images z
  (float64, absolute difference), with the recipe's own optimizer. Each step
  amplifies rounding errors, most with large learning rates, so float32 images
  would tell little;
- the bytes that every replica contributes to the sums of a step, and the bytes
  of the images.

Each case has its own process or processes, because TensorFlow mixes up the
collectives of two strategies in one process.

    python benchmarks/strategies.py
    python benchmarks/strategies.py --cases=2x1 --network=tiny
"""

import json
import os
import socket
import subprocess
import sys

from absl import app
from absl import flags
from machine import machine

FLAGS = flags.FLAGS
flags.DEFINE_list(
    "cases", ["2x1", "4x1", "1x2"], "Pairs: replicas of a worker x workers."
)
flags.DEFINE_enum(
    "network", "fashion_mnist_resnet20", ["fashion_mnist_resnet20", "tiny"], ""
)
flags.DEFINE_list("jit", ["false", "true"], "Without XLA, with it.")
flags.DEFINE_string("recipe", "cifar10_paper", "A name in RECIPES.")
flags.DEFINE_integer("steps", 50, "Steps of the free runs.")
flags.DEFINE_integer("points", 5, "Points of the trajectory.")
flags.DEFINE_integer("images", 8, "Images of all replicas.")
flags.DEFINE_integer("seed", 0, "Random seed.")
flags.DEFINE_string("case", None, "Used by the benchmark itself.")

PROCESS_SECONDS = 1800


def make_teacher(dtype):
    """Builds the network with weights in float32 or float64."""
    import keras

    from tf_deepinversion import load_pretrained
    from tf_deepinversion.networks import copies

    if FLAGS.network != "tiny":
        model = load_pretrained(FLAGS.network)
        if dtype == "float32":
            return model
        twin = copies.copy_of(
            model, lambda layer: copies.twin_of(layer, dtype=dtype)
        )
        twin.set_weights(model.get_weights())
        return twin
    keras.utils.set_random_seed(FLAGS.seed)
    inputs = keras.Input((8, 8, 1), dtype=dtype)
    x = inputs
    for filters in (4, 6):
        x = keras.layers.Conv2D(filters, 3, padding="same", dtype=dtype)(x)
        x = keras.layers.BatchNormalization(dtype=dtype)(x)
        x = keras.layers.Activation("softplus", dtype=dtype)(x)
    x = keras.layers.GlobalAveragePooling2D(dtype=dtype)(x)
    x = keras.layers.Dense(10, dtype=dtype)(x)
    return keras.Model(inputs, x)


class Run:
    """An inversion of the same images, on one device or on several."""

    def __init__(self, dtype, jit, strategy):
        import keras

        import tf_deepinversion as di

        keras.config.set_floatx(dtype)
        teacher = make_teacher(dtype)
        known = None
        if FLAGS.network == "tiny":
            known = di.Preprocessing(127.5, 50.0, "normalized")
        self.labels = di.balanced_labels(10, FLAGS.images)
        self.strategy = strategy
        with strategy.scope():
            self.model = di.DeepInversion(
                teacher,
                known,
                recipe=FLAGS.recipe,
                seed=FLAGS.seed,
                dtype=dtype,
            )
            self.model.compile(jit_compile=jit)

    def fit(self, steps):
        history = self.model.fit(
            self.labels, steps, verbose=0, steps_per_epoch=1
        )
        step = self.model.step
        return history.history["loss"], step.rows.gather(step.images)

    def gradient_function(self):
        """Builds a function from z and a step's number to all gradients."""
        import tensorflow as tf

        step, strategy = self.model.step, self.strategy
        labels = tf.constant(self.labels)

        @tf.function(autograph=False)
        def gradients(number):
            draws = step.draws(tf.constant([0, 0]), number)

            def replica():
                return step.gradient(
                    tf.identity(step.images.value),
                    step.rows.own(labels),
                    tf.nest.map_structure(step.rows.own, draws),
                )[1]

            return strategy.run(replica)

        def gradient(z, number):
            step.rows.scatter(step.images, z)
            with self.model.networks.open():
                rows = gradients(tf.constant(number))
            if step.rows.replicas == 1:
                return rows.numpy()
            return strategy.gather(rows, axis=0).numpy()

        return gradient


def bytes_reduced(run):
    """Counts the bytes that a replica contributes to sums in one step."""
    import tensorflow as tf

    given, original = [], tf.distribute.ReplicaContext.all_reduce

    def counting(self, op, value, options=None):
        sizes = [
            t.shape.num_elements() * t.dtype.size
            for t in tf.nest.flatten(value)
        ]
        given.append(sum(sizes))
        return original(self, op, value, options)

    tf.distribute.ReplicaContext.all_reduce = counting
    try:
        run.model.compile(jit_compile=run.model.jit_compile)
        run.fit(1)
    finally:
        tf.distribute.ReplicaContext.all_reduce = original
    local = len(run.strategy.extended.worker_devices)
    return sum(given) // local


def measure_case(replicas, workers):
    """Compares one case with the single device, as one of its processes."""
    import keras
    import numpy as np
    import tensorflow as tf

    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0],
        [tf.config.LogicalDeviceConfiguration()] * replicas,
    )
    if workers > 1:
        several = tf.distribute.MultiWorkerMirroredStrategy()
    else:
        devices = [f"CPU:{i}" for i in range(replicas)]
        several = tf.distribute.MirroredStrategy(devices)
    alone = tf.distribute.get_strategy()
    one = Run("float32", False, alone)
    losses, _ = one.fit(FLAGS.steps)
    exact = Run("float64", False, alone)
    _, images = exact.fit(FLAGS.steps)
    results = []
    for jit in (text == "true" for text in FLAGS.jit):
        run = Run("float32", jit, several)
        found, _ = run.fit(FLAGS.steps)
        twin = Run("float64", jit, several)
        _, z = twin.fit(FLAGS.steps)
        keras.config.set_floatx("float32")
        difference = 0.0
        ours, theirs = run.gradient_function(), one.gradient_function()
        point = one.model.start(0)
        for number in range(FLAGS.points):
            g, h = theirs(point, number), ours(point, number)
            difference = max(difference, np.abs(g - h).max() / np.abs(g).max())
            point = point - 10 * FLAGS.images * g
        gap = np.abs(np.divide(found, losses) - 1).max()
        results.append(
            {
                "replicas": several.num_replicas_in_sync,
                "workers": workers,
                "jit": jit,
                "max_gradient_difference": float(difference),
                "max_image_difference_float64": float(np.abs(z - images).max()),
                "max_loss_difference": float(gap),
                "bytes_reduced_per_step": bytes_reduced(run),
                "bytes_of_images": point.nbytes,
            }
        )
    return results


def free_ports(count):
    sockets = [socket.create_server(("localhost", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def start_case(case):
    """Starts the processes of a case and returns the first one's results."""
    _, workers = (int(number) for number in case.split("x"))
    command = [
        sys.executable,
        __file__,
        f"--case={case}",
        f"--jit={','.join(FLAGS.jit)}",
        *(
            f"--{name}={FLAGS[name].value}"
            for name in (
                "network",
                "recipe",
                "steps",
                "points",
                "images",
                "seed",
            )
        ),
    ]
    addresses = [f"localhost:{port}" for port in free_ports(workers)]
    processes = []
    for index in range(workers):
        env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
        if workers > 1:
            env["TF_CONFIG"] = json.dumps(
                {
                    "cluster": {"worker": addresses},
                    "task": {"type": "worker", "index": index},
                }
            )
        processes.append(
            subprocess.Popen(
                command,
                env=env,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    try:
        outputs = [p.communicate(timeout=PROCESS_SECONDS) for p in processes]
    finally:
        for process in processes:
            process.kill()
    for process, (_, error) in zip(processes, outputs, strict=True):
        if process.returncode:
            raise SystemExit(f"The case {case} failed:\n{error}")
    return json.loads(outputs[0][0].splitlines()[-1])


def main(_):
    if FLAGS.case:
        replicas, workers = (int(number) for number in FLAGS.case.split("x"))
        print(json.dumps(measure_case(replicas, workers)))
        return
    results = []
    for case in FLAGS.cases:
        for result in start_case(case):
            print(result, file=sys.stderr)
            results.append(result)
    largest = {
        name: max(result[name] for result in results)
        for name in (
            "replicas",
            "workers",
            "max_gradient_difference",
            "max_image_difference_float64",
            "max_loss_difference",
            "bytes_reduced_per_step",
            "bytes_of_images",
        )
    }
    figures = {
        **largest,
        "jit": sorted({result["jit"] for result in results}),
        "cases": results,
        "network": FLAGS.network,
        "recipe": FLAGS.recipe,
        "images": FLAGS.images,
        "seed": FLAGS.seed,
        "machine": machine(),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    app.run(main)
