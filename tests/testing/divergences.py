"""What several tests share with distillation_test.py."""

import numpy as np
from tiny import SHAPE

RANDOM = np.random.default_rng(0)


PIXELS = RANDOM.integers(0, 256, (6, *SHAPE), "uint8")


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def kl(t, s, temperature):
    p, q = softmax(t / temperature), softmax(s / temperature)
    return temperature**2 * np.sum(p * np.log(p / q), -1)
