"""New images for a student before each epoch."""

import time

import keras

from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.core.labels import balanced_labels
from tf_deepinversion.inversion.synthesizer import add_made
from tf_deepinversion.inversion.synthesizer import require_drawing


class RefreshPool(keras.callbacks.Callback):
    """Adds synthesised images to a pool before each epoch of a student.

    Made for `Distillation.fit(pool.dataset(...), steps_per_epoch=N)`: every N
    steps there are new images, made with the student as it then is. `logs`
    get the terms of their synthesis at its last step, `synthesis_{term}`. The
    labels of images are what the synthesizer's teacher takes them for, what
    they were made for is `Pool.requested`.
    Batches that an interrupted run left in the pool are not made again, where
    the synthesizer brings nothing from one to the next: only the last that an
    epoch asks for is, to know its terms.

    Args:
        pool: A `Pool`.
        synthesizer: A `DeepInversion` or `FastInversion`; with `student=` the
            one in training, it looks for images on which that still differs.
        images: Int, how many a batch, of balanced classes; of fewer than
            there are classes each batch goes on with those that the one before
            stopped at. What the recipe keeps of them on the way, its
            `snapshots`, is added, too.
        steps: Int, of the synthesizer for each batch; None for its recipe's.
        batches: Int, how many batches before each epoch but the first; 0:
            none.
        first: Int, how many batches before the first epoch.
        first_steps: Int, the steps of the very first batch, in which a
            generator learns most.
        draws: Int; where it is not 0, what is added is not the batch that the
            steps were made on but as many times `images` new ones that the
            generator draws then, see `FastInversion.draw`.

    Attributes:
        seconds: Float, spent on synthesis so far.

    Raises:
        ValueError: if a number is not whole or too small.
    """

    def __init__(
        self,
        pool,
        synthesizer,
        images=256,
        steps=None,
        batches=1,
        first=1,
        first_steps=None,
        draws=0,
    ):
        super().__init__()
        require_whole(images=images, first=first)
        for name, value in (("steps", steps), ("first_steps", first_steps)):
            if value is not None:
                require_whole(**{name: value})
        require_whole(0, batches=batches, draws=draws)
        require_drawing(synthesizer, draws)
        self.pool, self.synthesizer = pool, synthesizer
        self.images, self.steps = images, steps
        self.batches, self.first = batches, first
        self.first_steps, self.draws = first_steps or steps, draws
        self.seconds = 0.0
        self.next_batch = 0
        self._terms = {}

    def batches_before(self, epoch) -> int:
        """How many batches the first `epoch` epochs have asked for."""
        return self.first + (epoch - 1) * self.batches if epoch else 0

    def on_epoch_begin(self, epoch, logs=None):
        begin = time.monotonic()
        self._terms = {}
        wanted = self.batches_before(epoch + 1)
        if not self.synthesizer.carried:
            there = min(self.pool.batches, wanted - 1)
            self.next_batch = max(self.next_batch, there)
        while self.next_batch < wanted:
            batch_index = self.next_batch
            labels = balanced_labels(
                self.synthesizer.classes, self.images, batch_index
            )
            history = self.synthesizer.fit(
                labels,
                self.first_steps if batch_index == 0 else self.steps,
                batch_index=batch_index,
                verbose=0,
            )
            terms = history.history if history else {}
            self._terms = {
                f"synthesis_{name}": values[-1]
                for name, values in terms.items()
            }
            add_made(
                self.pool, self.synthesizer, labels, batch_index, self.draws
            )
            self.next_batch += 1
        self.seconds += time.monotonic() - begin

    def on_epoch_end(self, epoch, logs=None):
        logs.update(self._terms)
