"""The inversion step of `step_time.py` in PyTorch, from the paper's equations.

Do not run this file by hand: `step_time.py` runs it in an environment with
PyTorch, and passes the file of a network. Each line of standard input is a
number of steps to run. Each answer is a line of JSON.

The network is the ResNet of `tf_deepinversion.models`. TensorFlow pads a 3x3
convolution with stride 2 asymmetrically, so the code pads explicitly. This copy
takes about 1 % of a step.
"""

import argparse
import itertools
import json
import resource
import sys
import time

import numpy as np
import torch
from torch.nn import functional

JITTER = 2


class Network:
    """A ResNet for small images, in inference mode, and its statistics.

    Args:
        arrays: Dictionary of the Keras model's weights by their paths.
        memory_format: A `torch.memory_format` for kernels and images.
        weight_gradients: Bool, whether to compute gradients of the weights.
    """

    def __init__(self, arrays, memory_format, weight_gradients):
        self.weights = {}
        for path, array in arrays.items():
            tensor = torch.from_numpy(array)
            if array.ndim == 4:
                tensor = tensor.permute(3, 2, 0, 1).contiguous(
                    memory_format=memory_format
                )
            if not path.endswith(("moving_mean", "moving_variance")):
                tensor.requires_grad_(weight_gradients)
            self.weights[path] = tensor

    def __call__(self, x):
        """Returns logits and the summed distances of BatchNormalizations."""
        x, distance = self._conv_bn(x, "stem", 1)
        x = functional.relu(x, inplace=True)
        for stage, block in itertools.product(range(4), range(3)):
            name = f"stage{stage}_block{block}"
            if f"{name}_a_conv/kernel" not in self.weights:
                continue
            strides = 2 if stage > 0 and block == 0 else 1
            shortcut = x
            if f"{name}_shortcut_conv/kernel" in self.weights:
                shortcut, d = self._conv_bn(x, f"{name}_shortcut", strides)
                distance = distance + d
            x, d = self._conv_bn(x, f"{name}_a", strides)
            distance = distance + d
            x = functional.relu(x, inplace=True)
            x, d = self._conv_bn(x, f"{name}_b", 1)
            distance = distance + d
            x = functional.relu(x + shortcut, inplace=True)
        head = self.weights["logits/kernel"], self.weights["logits/bias"]
        return x.mean((2, 3)) @ head[0] + head[1], distance

    def _conv_bn(self, x, name, strides):
        kernel = self.weights[f"{name}_conv/kernel"]
        padding = kernel.shape[-1] // 2
        if strides == 2 and padding:
            x, padding = functional.pad(x, (0, 1, 0, 1)), 0
        x = functional.conv2d(x, kernel, None, strides, padding)
        mean, variance, gamma, beta = (
            self.weights[f"{name}_bn/{part}"]
            for part in ("moving_mean", "moving_variance", "gamma", "beta")
        )
        # This is several times faster here than torch.var_mean.
        batch_mean = x.mean((0, 2, 3))
        batch_variance = (x * x).mean((0, 2, 3)) - batch_mean * batch_mean
        distance = (batch_mean - mean).norm() + (
            batch_variance - variance
        ).norm()
        x = functional.batch_norm(x, mean, variance, gamma, beta, eps=1e-5)
        return x, distance


def total_variation(images):
    """The norms of the four differences of neighbors, of the whole batch."""
    return (
        (images[..., :-1] - images[..., 1:]).norm()
        + (images[..., :-1, :] - images[..., 1:, :]).norm()
        + (images[..., :-1, :-1] - images[..., 1:, 1:]).norm()
        + (images[..., :-1, 1:] - images[..., 1:, :-1]).norm()
    )


def make_step(arrays, form, weight_gradients):
    """Builds a function that runs one step and returns the terms."""
    memory_format = torch.contiguous_format
    if form.endswith("channels_last"):
        memory_format = torch.channels_last
    images, labels, black, white = (
        torch.from_numpy(arrays.pop(name))
        for name in ("images", "labels", "black", "white")
    )
    images = images.permute(0, 3, 1, 2).contiguous(memory_format=memory_format)
    images.requires_grad_(True)
    black, white = black[:, None, None], white[:, None, None]
    network = Network(arrays, memory_format, weight_gradients)
    optimizer = torch.optim.Adam([images], lr=0.05)

    def objective(images):
        logits, distance = network(images)
        return (
            functional.cross_entropy(logits, labels),
            10 * distance,
            2.5e-5 * total_variation(images),
        )

    if form.startswith("compile"):
        objective = torch.compile(objective)

    def step(shift):
        optimizer.zero_grad(set_to_none=True)
        for weight in network.weights.values():
            weight.grad = None
        terms = objective(torch.roll(images, shift, (2, 3)))
        sum(terms).backward()
        optimizer.step()
        with torch.no_grad():
            images.clamp_(black, white)
        return [term.detach() for term in terms]

    return step


def answer(**figures):
    print(json.dumps(figures), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network")
    parser.add_argument("--form", required=True)
    parser.add_argument("--weight_gradients", action="store_true")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--clock", default="perf_counter")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    clock = getattr(time, arguments.clock)
    random = np.random.default_rng(arguments.seed)
    with np.load(arguments.network) as file:
        # Nothing else holds the arrays, of which the network copies kernels.
        step = make_step(dict(file), arguments.form, arguments.weight_gradients)
    try:
        terms = step((0, 0))
    except Exception as error:
        if not arguments.form.startswith("compile"):
            raise
        # Without a C++ compiler this form cannot compile and is left out.
        answer(error=f"{type(error).__name__}: {error}"[:300])
        return
    # A rolled image may have other strides: PyTorch then compiles once more.
    for shift in ((1, 2), (0, 1), (1, 0), (-2, -1)):
        step(shift)
    answer(terms=[float(term) for term in terms], version=torch.__version__)
    for line in sys.stdin:
        shifts = random.integers(-JITTER, JITTER + 1, (int(line), 2)).tolist()
        start = clock()
        for shift in shifts:
            terms = step(tuple(shift))
        float(sum(terms))
        seconds = clock() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        answer(
            seconds=seconds,
            peak_bytes=peak * (1 if sys.platform == "darwin" else 1024),
        )


if __name__ == "__main__":
    main()
