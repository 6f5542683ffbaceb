"""The seconds of a run."""

import json
import pathlib
import time

import keras

from tf_deepinversion.core.files import write_atomically


class Stopwatch(keras.callbacks.Callback):
    """Seconds of a run and of its training alone, interruptions left out.

    What was being done when the run was interrupted, an epoch or what comes
    before it, is not counted.

    Args:
        path: Path of a file in which they are kept as each epoch begins and
            ends, and from which they are counted on; None for none.
        begin: Float, of `time.monotonic`, when the run began; None: now.

    Attributes:
        total: Float, from `begin` to the last beginning or end of an epoch.
        training: Float, within epochs. As the first of the callbacks it
            counts what later ones do as each epoch begins, as the last not.
    """

    def __init__(self, path=None, begin=None):
        super().__init__()
        self.path = path and pathlib.Path(path)
        self.total = self.training = 0.0
        if self.path and self.path.exists():
            self.total, self.training = json.loads(self.path.read_text())
        begin = time.monotonic() if begin is None else begin
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
            content = json.dumps([self.total, self.training]).encode()
            write_atomically(self.path, lambda file: file.write(content))
