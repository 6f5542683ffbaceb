"""The state of a training, saved after each epoch."""

import json

import keras
import numpy as np

from tf_deepinversion.core import run_state


class TrainingState(keras.callbacks.Callback):
    """Saves variables and the history of `fit` after each epoch, atomically.

    Unlike `keras.callbacks.BackupAndRestore` it saves what else the run
    depends on, and the file appears whole or not at all. It must come last.

    Args:
        path: Path of the file.
        variables: List of `keras.Variable`, all that the run changes.
        run: String that tells this run from others.

    Attributes:
        others: List of the other callbacks of `fit`: those that swap weights
            for their averages go on with what they have swapped.
        epoch: Int, how many epochs are done: `fit`'s `initial_epoch`. All of
            them, where a callback has ended the training.
        history: Dict of lists, the logs of all epochs that are done.

    Raises:
        ValueError: if the file is damaged or another run's.
    """

    def __init__(self, path, variables, run):
        super().__init__()
        self.path, self.variables, self.run = path, list(variables), run
        self.epoch, self.history = 0, {}
        self.others = []
        saved = run_state.load(path, run)
        if saved is not None:
            past = json.loads(str(saved["past"]))
            self.epoch, self.history = past["epoch"], past["history"]
            places = range(len(self.variables))
            self._write([saved[f"variable_{i}"] for i in places])

    def on_train_begin(self, logs=None):
        if 0 < self.epoch < self.params["epochs"]:
            run_state.swapped_again(
                self.others, self.epoch - 1, self._read, self._write
            )

    def on_epoch_end(self, epoch, logs=None):
        ended = getattr(self.model, "stop_training", False)
        self.epoch = self.params["epochs"] if ended else epoch + 1
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(float(value))
        self._save()

    def on_train_end(self, logs=None):
        if self.epoch:  # other callbacks may have put the best weights back
            self._save()

    def _read(self):
        return [keras.ops.convert_to_numpy(v) for v in self.variables]

    def _write(self, values):
        for variable, value in zip(self.variables, values, strict=True):
            variable.assign(value)

    def _save(self):
        past = json.dumps({"epoch": self.epoch, "history": self.history})
        arrays = {f"variable_{i}": v for i, v in enumerate(self._read())}
        run_state.save(self.path, {**arrays, "past": np.array(past)}, self.run)
