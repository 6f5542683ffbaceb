"""New images for a student before its rounds of training."""

import json
import pathlib
import time

import keras
import numpy as np

from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.core.files import write_atomically
from tf_deepinversion.inversion.synthesizer import require_synthesizer


class RefreshPool(keras.callbacks.Callback):
    """Adds synthesized images to a pool before epochs of a student.

    `distill(refresh=RefreshPool(...))` says by it how many images there are
    and when they are made. With `pool` and `synthesizer` it serves any `fit`,
    such as `Distillation.fit(pool.dataset(...), steps_per_epoch=N)`: every N
    steps there are new images, made with the student as it then is.
    An epoch of `fit` is a round of `distill`.

    Args:
        images: Int, how many labels a batch has, see `Pool.fill`. The
            synthesizer gives `images_per_label` images of each label.
        steps: Int, or a list of one a stage, the synthesizer's steps for each
            batch; None for its recipe's.
        first_steps: The same for the very first batch, in which a generator
            learns most; None for `steps`.
        when: `"start"`: all batches before the first epoch. `"every_round"`:
            before each epoch. None: `"every_round"` if the synthesizer has a
            student, for its images then depend on how far that has come, and
            else `"start"`.
        batches: Int. `"every_round"`: batches before each epoch; None for 1.
            `"start"`: batches in all; None for as many as there are epochs, or
            as the pool holds.
        pool: A `Pool`; None where `distill` makes one.
        synthesizer: A `Synthesizer`; None where `distill` has one.

    Attributes:
        seconds: Float, spent on synthesis so far.
        next_batch: Int, the number of the batch that is made next.

    Raises:
        TypeError: if the synthesizer is none.
        ValueError: if an argument is out of range.
    """

    def __init__(
        self,
        images=256,
        steps=None,
        first_steps=None,
        when=None,
        batches=None,
        *,
        pool=None,
        synthesizer=None,
    ):
        super().__init__()
        require_whole(images=images)
        if batches is not None:
            require_whole(batches=batches)
        for name, value in (("steps", steps), ("first_steps", first_steps)):
            for count in [] if value is None else np.ravel(value):
                require_whole(**{name: count})
        if when not in (None, "start", "every_round"):
            raise ValueError(
                '`when` must be "start", "every_round" or None. '
                f"Received: when={when!r}"
            )
        self.images, self.steps, self.first_steps = images, steps, first_steps
        self.when, self.batches = when, batches
        self.pool = self.synthesizer = None
        if synthesizer is not None:
            self.bind(pool, synthesizer)

    def bind(self, pool, synthesizer, next_batch=0, path=None):
        """Says what makes the images and where they go; counts anew.

        Args:
            pool: A `Pool`.
            synthesizer: A `Synthesizer`.
            next_batch: Int, how many batches are made already.
            path: Path of a file that keeps `synthesis`, or None.
        """
        require_synthesizer(synthesizer)
        self.pool, self.synthesizer = pool, synthesizer
        self.next_batch, self.seconds = next_batch, 0.0
        self._path, self._terms = path and pathlib.Path(path), {}
        if self._path and self._path.exists() and pool.batches:
            found = json.loads(self._path.read_text())
            self._terms = {int(number): logs for number, logs in found.items()}

    def settings(self) -> dict:
        """What the images depend on, apart from pool and synthesizer."""
        names = "images", "steps", "first_steps", "when", "batches"
        return {name: getattr(self, name) for name in names}

    def batches_by(self, epoch, epochs, synthesizer, capacity) -> int:
        """How many batches there are once an epoch begins.

        Args:
            epoch: Int, its number, from 0.
            epochs: Int, how many there are.
            synthesizer: A `Synthesizer`.
            capacity: Int, of the pool.
        """
        competes = synthesizer.student is not None
        if (self.when or "every_round" * competes) == "every_round":
            return (epoch + 1) * (self.batches or 1)
        added = self.images * synthesizer.images_per_label
        return self.batches or min(epochs, max(1, capacity // added))

    @property
    def synthesis(self) -> dict:
        """The terms of the synthesis: lists of one length, an item a batch.

        `batch` is the batch's number, `loss` and the terms by their names are
        of its last step. Empty where the synthesizer has no `logs`.
        """
        rows = [
            {"batch": number, **self._terms[number]}
            for number in sorted(self._terms)
            if self._terms[number]
        ]
        names = rows[0] if rows else ()
        return {name: [row[name] for row in rows] for name in names}

    def on_epoch_begin(self, epoch, logs=None):
        if self.synthesizer is None:
            raise ValueError(
                "RefreshPool has no synthesizer: pass `pool=` and "
                "`synthesizer=`, or give it to `distill(refresh=...)`."
            )
        begin = time.monotonic()
        if not self.synthesizer.state_variables:
            # What an interrupted run has left in the pool need not be made.
            self.next_batch = max(self.next_batch, self.pool.batches)
        wanted = self.batches_by(
            epoch, self.params["epochs"], self.synthesizer, self.pool.capacity
        )
        if self.next_batch < wanted:
            self.pool.fill(
                self.synthesizer,
                batches=wanted,
                images=self.images,
                steps=self.steps,
                first_steps=self.first_steps,
                made=self.next_batch,
                after_batch=self._keep,
                verbose=self.params["verbose"],
            )
        self.seconds += time.monotonic() - begin

    def _keep(self, number):
        """Keeps the terms of a batch; made once more, it has them once."""
        self.next_batch = number + 1
        self._terms[number] = dict(self.synthesizer.logs)
        if self._path:
            content = json.dumps(self._terms).encode()
            write_atomically(self._path, lambda file: file.write(content))
