"""What several tests share with batches_test.py."""

import numpy as np

from tf_deepinversion.inversion import Synthesizer


class Numbered(Synthesizer):
    """Every image of batch b is of the shade b; some batches fail at first."""

    classes, image_shape = 7, (2, 2, 1)

    def __init__(self, fails=(), shade=0):
        self.asked, self.fails, self.shade = [], list(fails), shade

    def make(self, labels, batch_index, steps=None, verbose=0):
        self.asked.append(batch_index)
        if batch_index in self.fails:
            raise FloatingPointError("not finite")
        self.logs = {"loss": float(batch_index)}
        shade = batch_index + self.shade
        return np.full((len(labels), 2, 2, 1), shade, "uint8"), labels

    def settings(self):
        return {"kind": "numbered"}


def shards(folder):
    """The content of each shard by its name."""
    found = sorted(folder.glob("pool-train*"))
    return {path.name: path.read_bytes() for path in found}
