"""A callback that measures the duration of a run."""

import json
import time

import keras

from tf_deepinversion.core.files import path_of
from tf_deepinversion.core.files import read_json
from tf_deepinversion.core.files import require_local
from tf_deepinversion.core.files import write_content


class Stopwatch(keras.callbacks.Callback):
    """Measures the seconds of a run and of its epochs, without interruptions.

    The epoch during which a run was interrupted does not count, nor does
    synthesis before that epoch.

    Args:
        path: Path of a file that stores the seconds at the beginning and end
            of each epoch, and from which a resumed run continues. Defaults to
            None, no file.
        begin: Float, value of `time.monotonic` at the start of the run.
            Defaults to now.

    Attributes:
        total: Float, seconds from `begin` to the latest beginning or end of an
            epoch.
        training: Float, seconds within epochs. As the first callback the
            stopwatch includes the other callbacks' work at the beginning of an
            epoch; as the last callback it does not.

    Example:
        >>> watch = di.callbacks.Stopwatch()
        >>> watch.on_epoch_begin(0)  # `fit` calls it
        >>> watch.on_epoch_end(0)
        >>> 0 <= watch.training <= watch.total
        True
    """

    def __init__(self, path=None, begin=None):
        super().__init__()
        require_local(path=path)
        self.path = path and path_of(path)
        self.total = self.training = 0.0
        if self.path and self.path.exists():
            self.total, self.training = read_json(
                self.path,
                lambda pair: (float(pair[0]), float(pair[1])),
                "delete it, and the time of this run counts from now.",
            )
        begin = time.monotonic() if begin is None else begin
        # As if a resumed run had begun earlier by its past.
        self._begin = begin - self.total

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = time.monotonic()
        self._keep(self._epoch)

    def on_epoch_end(self, epoch, logs=None):
        now = time.monotonic()
        self.training += now - self._epoch
        self._keep(now)

    def _keep(self, now):
        self.total = now - self._begin
        if self.path:
            write_content(
                self.path, json.dumps([self.total, self.training]).encode()
            )
