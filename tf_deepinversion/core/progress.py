"""Progress bars of whole jobs, with the time left."""

import sys
import time

import keras


def verbosity(verbose) -> int:
    """Converts `verbose` to 0 for nothing, 1 for a bar, or 2 for lines.

    `"auto"` is a bar in a terminal and in a notebook. In a file `"auto"` is
    lines, because a bar cannot overwrite itself there.

    >>> verbosity(1), verbosity(0)
    (1, 0)
    """
    if verbose != "auto":
        return int(verbose)
    shown = sys.stdout.isatty() or "ipykernel" in sys.modules
    return 1 if shown else 2


def duration(seconds) -> str:
    """Formats seconds like a clock.

    >>> duration(9.7), duration(75), duration(7265)
    ('9s', '1:15', '2:01:05')
    """
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02}:{seconds:02}"
    return f"{minutes}:{seconds:02}" if minutes else f"{seconds}s"


def line_of(title, count, logs, seconds) -> str:
    """Formats a line about a job.

    Args:
        title: String, name of the job.
        count: String, what is done.
        logs: Dict from names to floats.
        seconds: Float, the time left, or None. Less than ten seconds are left
            out.

    >>> line_of("Images", "batch 1/2", {"loss": 0.25}, 75)
    'Images: batch 1/2 - loss: 0.25 - 1:15 left'
    """
    terms = "".join(f" - {name}: {value:.4g}" for name, value in logs.items())
    long = seconds is not None and seconds >= 10
    left = f" - {duration(seconds)} left" if long else ""
    return f"{title}: {count}{terms}{left}"


def tell_done_before(title, done, total, unit, verbose):
    """Prints how much of a job an earlier run has done, if any.

    A `Progress` counts only what is left.

    Args:
        title: String, name of the job.
        done: Int, number of units that are done.
        total: Int, number of units of the job.
        unit: String, name of several units.
        verbose: See `verbosity`.

    >>> tell_done_before("Training", 2, 5, "epochs", verbose=2)
    Training: 2 of 5 epochs done before
    """
    if done and verbosity(verbose):
        print(f"{title}: {done} of {total} {unit} done before", flush=True)


class Progress:
    """Shows how much of a job is done, as a bar or as lines.

    The time left is the time left for the whole job. Lines show it if it is ten
    seconds or more.

    Args:
        title: String, name of the job, such as `"Images"`.
        total: Int, number of units of the job.
        unit: String, name of a unit, such as `"batch"`.
        verbose: See `verbosity`.
        first: Float, how many times as long as another unit the first takes.
    """

    def __init__(self, title, total, unit, verbose="auto", first=1.0):
        self._title, self._total, self._unit = title, total, unit
        self._first = first
        self._done, self._begin = 0, time.monotonic()
        self._verbose = verbosity(verbose) if total else 0
        if self._verbose == 1:
            print(f"{title}:")
            self._bar = keras.utils.Progbar(
                total, unit_name=unit, stateless_metrics=set()
            )

    def advance(self, logs=None, units=1, line=True):
        """Counts finished units.

        Args:
            logs: Dict from names to floats, shown beside the count.
            units: Int, number of units that were finished.
            line: Bool, False in the middle of a part of the job, such as an
                epoch. No line is then written, and the bar stays open.
        """
        self._done += units
        logs = logs or {}
        if self._verbose == 1:
            # A finished bar ends its line, so it must not end before its last
            # log.
            end = line and self._done >= self._total
            self._bar.update(self._done, list(logs.items()), finalize=end)
        elif self._verbose and line:
            count = f"{self._unit} {self._done}/{self._total}"
            line = line_of(self._title, count, logs, self._left())
            print(line, flush=True)

    def pause(self):
        """Ends the line of an unfinished bar, so that others may print."""
        if self._verbose == 1 and self._done < self._total:
            print()

    def _left(self):
        taken = time.monotonic() - self._begin
        each = taken / (self._first + self._done - 1)
        return each * (self._total - self._done)


class TrainingProgress(keras.callbacks.ProgbarLogger):
    """Shows one bar for all epochs of a training, not one per epoch.

    Without a bar, the callback writes a line after each epoch. The class
    extends `ProgbarLogger` because Keras then adds no bar of its own.

    Args:
        title: String, name of the job.
        total: Int, number of steps of all trainings that share this callback;
            None for the steps of one `fit`.
    """

    def __init__(self, title="Training", total=None):
        super().__init__()
        self._title, self._total = title, total
        self._progress, self._seen = None, 0

    def skip(self, steps):
        """Counts steps that an earlier run has finished."""
        if self._progress is None:
            self._total -= steps

    def on_epoch_begin(self, epoch, logs=None):
        self._seen = 0
        if self._progress is not None:
            return
        if self._total is None:
            self._left = (self.epochs - epoch) * self.target
        else:
            self._left = self._total - epoch * self.target

    def on_train_batch_begin(self, batch, logs=None):
        # Not earlier: other work at the beginning of an epoch has its own bars.
        if self._progress is None:
            self._progress = Progress(
                self._title, self._left, "step", self.verbose
            )

    def on_train_batch_end(self, batch, logs=None):
        self._progress.advance(logs, batch + 1 - self._seen, line=False)
        self._seen = batch + 1

    def on_epoch_end(self, epoch, logs=None):
        if self._progress is not None:
            self._progress.advance(logs, 0)

    def on_train_end(self, logs=None):
        if self._progress is not None:
            self._progress.pause()
        if self._total is None:
            self._progress = None
