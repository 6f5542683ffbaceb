"""One of many workers that fill a folder with batches of images."""

import contextlib
import functools
import os
import signal
import threading
import time

import keras
import numpy as np
import tensorflow as tf

from tf_deepinversion.core.caller_warnings import warn_if_not_recognized
from tf_deepinversion.core.progress import Progress
from tf_deepinversion.core.progress import tell_done_before
from tf_deepinversion.core.progress import verbosity
from tf_deepinversion.inversion.chain_states import ChainStates
from tf_deepinversion.inversion.deep_inversion import DeepInversion


class Terminated(Exception):
    """The process is asked to end; the state of the batch is kept."""


class _EndOfEpoch(keras.callbacks.Callback):
    """Ends a batch after an epoch, once its state is saved."""

    def __init__(self, worker):
        super().__init__()
        self._worker = worker

    def on_epoch_begin(self, epoch, logs=None):
        self._worker.require_going_on()


class BatchWorker:
    """Makes the batches of a folder that are still missing.

    A unit of work is a batch, or a chain of batches where each goes on with
    the generator of the one before. Worker i of n takes the units i, i + n,
    i + 2 n, ..., and then those that are still missing, from its own place in
    their list.

    Args:
        folder: A `BatchFolder`.
        job: A `BatchesJob`.
        worker: Int, number of the worker, from 0. Defaults to 0.
        workers: Int, number of workers. Defaults to 1.
        raises: Bool, whether the error of a batch ends the work, in place of a
            note in `failed`. Defaults to False.
        after_batch: Function without arguments that is called after each batch
            of this worker, or None.
        verbose: See `core.progress.verbosity`.

    Attributes:
        failed: List of the numbers of batches that failed.
        stopped: Bool, whether the process was asked to end.
    """

    def __init__(
        self,
        folder,
        job,
        *,
        worker=0,
        workers=1,
        raises=False,
        after_batch=None,
        verbose="auto",
    ):
        self._folder, self._job = folder, job
        self._synthesizer, self._chain = job.synthesizer, job.chain
        self._worker, self._workers = worker, workers
        self._raises, self._after_batch = raises, after_batch
        self._verbose = verbose
        self._states = ChainStates(folder, job) if job.chained else None
        self.failed, self.stopped = [], False
        self._tried, self._right = set(), []

    def run(self):
        """Works until nothing is missing that this worker has not tried."""
        job, missing = self._job, self._folder.missing
        first = self._synthesizer.first_takes(
            missing if job.endless else (),
            job.images,
            job.first_steps,
            job.steps,
        )
        self._before, total = len(missing), self._folder.plan["batches"]
        done = len(self._folder.done)
        tell_done_before("Images", done, total, "batches", self._verbose)
        self._progress = Progress(
            "Images", self._before, "batch", self._verbose, first
        )
        with self._until_terminated():
            for unit in range(self._worker, self._units, self._workers):
                self._work_on(unit)
            while (unit := self._next()) is not None:
                self._work_on(unit)
            self._folder.remove_states()
        self._progress.pause()
        if self._synthesizer.means_labels and self._right:
            warn_if_not_recognized(np.mean(self._right))

    def require_going_on(self):
        """Raises `Terminated` where the process is asked to end."""
        if self.stopped:
            raise Terminated

    @property
    def _units(self) -> int:
        return -(-self._folder.plan["batches"] // self._chain)

    def _next(self) -> int | None:
        """Returns a unit that is still missing, from this worker's place."""
        missing = {n // self._chain for n in self._folder.missing}
        units = sorted(missing - self._tried)
        if not units:
            return None
        return units[len(units) * self._worker // self._workers]

    @contextlib.contextmanager
    def _until_terminated(self):
        """Turns SIGTERM, by which schedulers end processes, into `stopped`."""

        def stop(*_):
            self.stopped = True

        before = None
        if threading.current_thread() is threading.main_thread():
            before = signal.signal(signal.SIGTERM, stop)
        try:
            yield
        except Terminated:
            pass
        finally:
            if before is not None:
                signal.signal(signal.SIGTERM, before)

    def _work_on(self, unit):
        self.require_going_on()
        self._tried.add(unit)
        begin = unit * self._chain
        end = min(begin + self._chain, self._folder.plan["batches"])
        missing = set(self._folder.missing) & set(range(begin, end))
        for number in sorted(missing):
            if self._folder.adopt(number):
                missing.remove(number)
                self._advance()
        first, last = begin, max(missing, default=begin - 1)
        if self._states and self._job.given:
            last = end - 1  # it ends as if it had made all batches
        if self._states and last >= begin:
            first = self._states.begin(unit, min(missing, default=end))
        for number in range(first, last + 1):
            if not self._make(number, unit, wanted=number in missing):
                return
        if self._states:
            self._states.end(unit)

    def _make(self, number, unit, wanted) -> bool:
        """Makes a batch; returns whether its chain can go on."""
        self.require_going_on()
        gave_up = not wanted and number not in self._folder.done
        if not gave_up:
            begin, resumed = (
                time.monotonic(),
                self._folder.state(number).exists(),
            )
            try:
                arrays = self._job.checked(number, *self._made(number))
            except (Terminated, OSError, MemoryError):
                raise
            except Exception as error:
                if self._raises:
                    raise
                self._fail(number, error)
                return not self._states
            # What is left of a batch says nothing about the speed.
            seconds = None if resumed else time.monotonic() - begin
            self._publish(number, arrays, seconds)
        if self._states:
            with self._folder.explained():
                self._states.save(unit, number)
        self._folder.state(number).unlink(missing_ok=True)
        return True

    def _made(self, number):
        """Makes the images of a batch, or of what is left of it."""
        job = self._job
        arguments = job.labels(number), number, job.steps_of(number)
        if not isinstance(self._synthesizer, DeepInversion):
            return self._synthesizer.make(*arguments)
        state, end = self._folder.state(number), [_EndOfEpoch(self)]
        kept = state.exists()
        make = functools.partial(
            self._synthesizer.make,
            *arguments,
            checkpoint=state,
            callbacks=end,
        )
        with self._folder.explained():
            try:
                return make()
            except ValueError:
                if not kept:
                    raise
            # Another device has written it, or the disk has damaged it.
            state.unlink(missing_ok=True)
            return make()

    def _fail(self, number, error):
        self._folder.fail(number, error)
        self.failed.append(number)
        if verbosity(self._verbose):
            kind = type(error).__name__
            print(f"Batch {number} failed, {kind}: {error}", flush=True)

    def _publish(self, number, arrays, seconds):
        if len(arrays["image"]) != self._folder.plan["images"]:
            raise ValueError(
                f"Expected {self._folder.plan['images']} images. "
                f"Received: {len(arrays['image'])}"
            )
        self._right.append(np.mean(arrays["label"] == arrays["requested"]))
        logs = {name: float(v) for name, v in self._synthesizer.logs.items()}
        facts = {
            "seconds": seconds,
            "terms": logs,
            "device": device(),
            "worker": self._worker,
            "process": os.getpid(),
        }
        self._folder.publish(number, arrays, facts)
        if self._after_batch:
            self._after_batch()
        self._advance(logs)

    def _advance(self, logs=None):
        """Shows how far all workers together are."""
        missing = len(self._folder.missing)
        if missing < self._before:
            self._progress.advance(logs, self._before - missing)
            self._before = missing


def device() -> str:
    """The name of the device that computes here: of a GPU, or `"CPU"`."""
    for gpu in tf.config.list_physical_devices("GPU"):
        details = tf.config.experimental.get_device_details(gpu)
        return details.get("device_name", "GPU")
    return "CPU"
