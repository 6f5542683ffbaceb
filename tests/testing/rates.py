"""The learning rates of a training, and a closed form of them."""

import keras
import numpy as np


class Rates(keras.callbacks.Callback):
    """Records the learning rate of each step."""

    def __init__(self):
        super().__init__()
        self.found = []

    def on_train_batch_begin(self, batch, logs=None):
        self.found.append(float(self.model.optimizer.learning_rate))


def cosine(peak, steps):
    """The half cosine of a training of few steps, which has no rise."""
    return peak / 2 * (1 + np.cos(np.pi * np.arange(steps) / steps))
