"""A callback that adds synthesized images while a student trains."""

import contextlib
import json
import time

import keras
import numpy as np

from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.core.files import path_of
from tf_deepinversion.core.files import read_json
from tf_deepinversion.core.files import require_local
from tf_deepinversion.core.files import write_content
from tf_deepinversion.core.progress import verbosity
from tf_deepinversion.inversion.synthesizer import require_synthesizer

# The name of a batch in a `JobProgress`.
BATCH = "batch of images"


class RefreshPool(keras.callbacks.Callback):
    """Adds synthesized images to a pool before the epochs of a student.

    `distill(refresh=RefreshPool(...))` takes the number of images and their
    times from the callback. With `pool` and `synthesizer` the callback works
    with any `fit`, such as `Distillation.fit(pool.dataset(...),
    steps_per_epoch=N)`: every N steps the callback adds images, synthesized
    with the current student. An epoch of `fit` is a round of `distill`. Numbers
    of batches are those of the pool in all: batches that it has count, and a
    second `fit` adds more only with an `initial_epoch` after the first one's.

    Args:
        images: Int, number of labels of a batch, see `Pool.fill`. The
            synthesizer makes `images_per_label` images of each label. Defaults
            to 256.
        steps: Int, or a list with one int per stage, number of the
            synthesizer's steps for each batch. Defaults to its recipe's, also
            for a `FastInversion`, where `synthesize` takes 300 for the first
            batch and 30 for each other batch.
        first_steps: Like `steps`, for the very first batch, in which a
            generator learns most. Defaults to `steps`.
        when: `"start"` makes all batches before the first epoch.
            `"every_round"` makes batches before each epoch. The default is
            `"every_round"` if the synthesizer has a student, because its images
            then depend on the student's progress, and `"start"` otherwise.
        batches: Int. With `"every_round"`, number of batches before each
            epoch; defaults to 1. With `"start"`, number of batches in all;
            defaults to one batch per epoch, or fewer if the pool is full
            earlier.
        pool: A `Pool`, or None inside `distill`. Defaults to None.
        synthesizer: A `Synthesizer`, or None inside `distill`. Defaults to
            None.

    Attributes:
        seconds: Float, time spent on synthesis so far, in seconds.
        next_batch: Int, number of the batch that is made next.

    Raises:
        TypeError: if `synthesizer` is not a `Synthesizer`.
        ValueError: if an argument is out of range.

    Example:
        >>> noise = di.inversion.GivenImages((8, 8, 1), classes=4)
        >>> pool = di.Pool(8, (8, 8, 1), classes=4)
        >>> refresh = di.RefreshPool(4, pool=pool, synthesizer=noise)
        >>> refresh.set_params({"epochs": 2, "verbose": 0})
        >>> refresh.on_epoch_begin(0)  # `fit` calls it
        >>> len(pool), refresh.next_batch
        (8, 2)
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
        if (pool is None) != (synthesizer is None):
            raise ValueError(
                "`pool` and `synthesizer` belong together: pass both, or none "
                "for `distill`, which has its own. "
                f"Received: pool={pool}, synthesizer={synthesizer}"
            )
        self.images, self.steps, self.first_steps = images, steps, first_steps
        self.when, self.batches = when, batches
        self.pool = self.synthesizer = None
        if synthesizer is not None:
            self.bind(pool, synthesizer)

    def bind(self, pool, synthesizer, next_batch=0, path=None, job=None):
        """Sets the synthesizer and the pool, and restarts the counts.

        Args:
            pool: A `Pool`.
            synthesizer: A `Synthesizer`.
            next_batch: Int, number of batches that exist already. Defaults
                to 0.
            path: Path of a file that stores `synthesis`, or None. Defaults to
                None.
            job: `JobProgress` with the part `BATCH`, in place of a bar of the
                images alone; or None. Defaults to None.
        """
        require_local(path=path)
        require_synthesizer(synthesizer)
        self.pool, self.synthesizer = pool, synthesizer
        self.next_batch, self.seconds = next_batch, 0.0
        self._path, self._terms = path and path_of(path), {}
        self._job = job
        if self._path and self._path.exists() and pool.batches:
            # JSON turned the numbers into strings.
            self._terms = read_json(
                self._path,
                lambda found: {int(k): dict(logs) for k, logs in found.items()},
                "delete it, and the losses of earlier batches are forgotten.",
            )

    def settings(self) -> dict:
        """Returns the settings on which the images depend, as a dict."""
        names = "images", "steps", "first_steps", "when", "batches"
        return {name: getattr(self, name) for name in names}

    def batches_by(self, epoch, epochs, synthesizer, capacity) -> int:
        """Returns the number of batches that exist when an epoch begins.

        Args:
            epoch: Int, number of the epoch, from 0.
            epochs: Int, number of all epochs.
            synthesizer: A `Synthesizer`.
            capacity: Int, the pool's capacity.
        """
        when = self.when
        if when is None and synthesizer.student is not None:
            when = "every_round"
        if when == "every_round":
            return (epoch + 1) * (self.batches or 1)
        added = self.images * synthesizer.images_per_label
        return self.batches or min(epochs, max(1, capacity // added))

    def titles(self, epochs, synthesizer, capacity) -> tuple:
        """Returns the names of two bars: of the images and of the training.

        If all images come before the first epoch, each bar is a part of the
        whole job. The arguments are those of `batches_by`.
        """
        first, last = (
            self.batches_by(epoch, epochs, synthesizer, capacity)
            for epoch in (0, epochs - 1)
        )
        if first == last:
            return "Images (part 1 of 2)", "Training (part 2 of 2)"
        return "Images", "Training"

    def every_round(self, synthesizer) -> "RefreshPool":
        """Returns a copy that makes a batch before each round.

        All rounds then do the same work, so that a trial can time them.

        Raises:
            ValueError: if `batches` is the number of all batches.
        """
        # Without `every_round` all batches would come before the first round.
        once = synthesizer.student is None and self.when != "every_round"
        if once and self.batches:
            raise ValueError(
                "With `minutes` the time decides the number of batches: leave "
                "`batches` of the RefreshPool out. "
                f"Received: batches={self.batches}"
            )
        return RefreshPool(
            self.images,
            self.steps,
            self.first_steps,
            "every_round",
            self.batches,
        )

    @property
    def synthesis(self) -> dict:
        """The loss terms of the synthesis: lists with one item per batch.

        `batch` lists the batches' numbers. `loss` and the terms' names list the
        values at the last step of each batch. The dict is empty if the
        synthesizer has no `logs`.
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
            # A synthesizer without state makes every batch independently, so
            # batches that an interrupted run left in the pool need not be
            # made again.
            self.next_batch = max(self.next_batch, self._complete())
        if self._job is not None:
            self._job.skip(BATCH, self.next_batch)
        job = self.params["epochs"], self.synthesizer, self.pool.capacity
        wanted = self.batches_by(epoch, *job)
        if self.next_batch < wanted:
            with self._shares_told():
                self.pool.fill(
                    self.synthesizer,
                    batches=wanted,
                    images=self.images,
                    steps=self.steps,
                    first_steps=self.first_steps,
                    made=self.next_batch,
                    after_batch=self._keep,
                    verbose=self._verbose(epoch, wanted),
                    title=self.titles(*job)[0],
                )
        self.seconds += time.monotonic() - begin

    def _verbose(self, epoch, wanted):
        """Returns `verbose` of a bar of these batches alone."""
        if self._job is not None:
            return 0
        verbose = verbosity(self.params["verbose"])
        if epoch and verbose == 1 and wanted == self.next_batch + 1:
            return 0  # the bar of the rounds stays open
        return verbose

    @contextlib.contextmanager
    def _shares_told(self):
        """Within the context, the job is told of each part of a batch."""
        if self._job is None:
            yield
            return
        before = self.synthesizer.on_share
        self.synthesizer.on_share = self._tell
        try:
            yield
        finally:
            self.synthesizer.on_share = before

    def _tell(self, share):
        self._job.advance(BATCH, self.next_batch + share, line=False)

    def _complete(self):
        """Returns the number of batches in the pool whose terms are saved."""
        batches = self.pool.batches
        # A run may be killed after a batch is added and before its terms are
        # saved. That batch is made once more, for its terms.
        return batches - bool(self._path and batches - 1 not in self._terms)

    def _keep(self, number):
        """Stores the terms of a batch; a repeated batch replaces its terms."""
        self.next_batch = number + 1
        self._terms[number] = logs = dict(self.synthesizer.logs)
        if self._job is not None:
            # A bar shows the student's values, which have the same names.
            self._job.advance(BATCH, number + 1, logs, shown=False)
        if self._path:
            write_content(self._path, json.dumps(self._terms))
