"""One progress bar of a job that has several kinds of work."""

import time

import keras
import numpy as np

from tf_deepinversion.core.progress import line_of
from tf_deepinversion.core.progress import verbosity


class _Part:
    """One kind of work of a job, and the time that it has taken."""

    def __init__(self, work):
        self._work, self.total = np.asarray(work, float), len(work)
        self._done = self.seconds = self.timed = 0.0
        self.first = None

    def skip(self, done):
        """Sets how many units are done, without time."""
        self._done = max(done, self._done)

    def finish(self, done, seconds):
        """Sets how many units are done after more seconds of work."""
        before = self.left
        self._done = done
        if self.first is None:
            # The first seconds trace a graph, and measure no work.
            self.first = seconds
            return
        self.seconds += seconds
        self.timed += before - self.left

    @property
    def left(self) -> float:
        """The work that is left."""
        whole = int(self._done)
        begun = (self._done - whole) * self._work[whole : whole + 1].sum()
        return self._work[whole:].sum() - begun


class JobProgress:
    """Shows a job of several kinds of work as one bar, or as lines.

    The time left is the time left for the whole job. A kind of work that has
    begun takes its own time per work; any other is expected to take the time of
    those that have, and as long for its start. The bar shows the percentage of
    the job's time.

    Args:
        title: String, name of the job.
        parts: Dict from names of units, such as `"batch"`, to lists: the work
            of each unit of this name, a positive float. One measure serves all
            names.
        verbose: See `verbosity`.

    Example:
        >>> job = JobProgress("Job", {"image": [1, 1], "step": [3]}, verbose=2)
        >>> job.advance("image", 1)
        Job: image 1/2
        >>> job.advance("step", 0.5, line=False)
    """

    def __init__(self, title, parts, verbose="auto"):
        self._title, self._verbose = title, verbosity(verbose)
        self._parts = {unit: _Part(work) for unit, work in parts.items()}
        self._begin = self._latest = time.monotonic()
        self._open = self._verbose == 1
        if self._open:
            print(f"{title}:")
            # All values are shown as they are: none is an average.
            self._bar = keras.utils.Progbar(
                100, unit_name="percent", stateless_metrics=set()
            )
            self._bar.update(0)

    def skip(self, unit, done):
        """Sets the number of units that an earlier run has finished."""
        self._parts[unit].skip(done)

    def advance(self, unit, done, logs=None, line=True, shown=True):
        """Sets how much is done.

        Args:
            unit: String, the name of the units.
            done: Float, number of these units that are done in all.
            logs: Dict from names to floats, shown in a line and on the bar.
            line: Bool, False in the middle of a unit: no line is then written.
            shown: Bool, whether the bar shows `logs`.
        """
        now = time.monotonic()
        self._parts[unit].finish(done, now - self._latest)
        self._latest = now
        logs, left = logs or {}, self._left()
        if self._verbose == 1:
            self._move(left, logs if shown else {}, line)
        elif self._verbose and line:
            count = f"{unit} {int(done)}/{self._parts[unit].total}"
            print(line_of(self._title, count, logs, left), flush=True)

    def close(self):
        """Ends the line of an unfinished bar."""
        if self._open:
            print()
            self._open = False

    def _left(self):
        """Returns the seconds that are left, or None if they are unknown."""
        parts = self._parts.values()
        timed = [x for x in parts if x.timed]
        if not timed:
            return None
        typical = sum(x.seconds for x in timed) / sum(x.timed for x in timed)
        left = sum(
            x.left * (x.seconds / x.timed if x.timed else typical)
            for x in parts
        )
        # Each kind of work that is to come will have a graph traced, too.
        firsts = [x.first for x in parts if x.first is not None]
        coming = sum(x.first is None and x.left > 0 for x in parts)
        return left + coming * sum(firsts) / len(firsts)

    def _move(self, left, logs, line):
        if left is None:
            return
        # The bar divides the time so far by its position. At this position it
        # arrives at `left`.
        spent = self._latest - self._begin
        done = line and not left
        self._open = not done
        share = 1 if done else spent / (spent + left) if spent + left else 0
        self._bar.update(100 * share, list(logs.items()), finalize=done)
