"""A callback that saves the state of a training after each epoch."""

import json

import keras
import numpy as np

from tf_deepinversion.core import run_state
from tf_deepinversion.core.files import path_of
from tf_deepinversion.core.files import require_local
from tf_deepinversion.core.row_parts import RowParts


class TrainingState(keras.callbacks.Callback):
    """Saves variables and the history of `fit` after each epoch.

    Unlike `keras.callbacks.BackupAndRestore`, the callback saves any list of
    variables, and writes the file atomically. It must be the last callback.
    Creating the callback restores the state from an existing file.

    Args:
        path: Path of the file.
        variables: List of all `keras.Variable` that the run changes.
        run: String that identifies the run.
        ring: A ring of rows that training changes besides `variables`, or None.
            A folder beside the file, `<name>.rows`, holds its rows, and each
            epoch adds the new rows alone. Defaults to None.

    Attributes:
        others: List of the other callbacks of `fit`. A callback that swaps
            weights with their averages, such as `SwapEMAWeights`, continues
            with the swapped weights.
        epoch: Int, number of finished epochs, the `initial_epoch` of `fit`.
            Equals the number of all epochs if a callback stopped the training.
        history: Dict of lists, the logs of all finished epochs.

    Raises:
        ValueError: if the file is damaged or belongs to another run.

    Example:
        >>> import tempfile
        >>> path = tempfile.mkdtemp() + "/state.npz"
        >>> weight = keras.Variable(1.0)
        >>> state = di.callbacks.TrainingState(path, [weight], run="a")
        >>> state.set_params({"epochs": 2})
        >>> state.on_epoch_end(0, {"loss": 0.5})  # `fit` calls it
        >>> weight.assign(2.0) is None
        False
        >>> resumed = di.callbacks.TrainingState(path, [weight], run="a")
        >>> float(weight), resumed.epoch, resumed.history
        (1.0, 1, {'loss': [0.5]})
    """

    def __init__(self, path, variables, run, ring=None):
        super().__init__()
        self.variables, self.run = list(variables), run
        self.epoch, self.history = 0, {}
        self.others = []
        require_local(path=path)
        self.path = path = path_of(path)
        saved, self._parts = run_state.load(path, run), None
        if ring is not None:
            name = path.name.removesuffix(".npz")
            folder = path.with_name(f"{name}.rows")
            self._parts = RowParts(folder, ring, run)
        if saved is not None:
            past = json.loads(str(saved["past"]))
            self.epoch, self.history = past["epoch"], past["history"]
            places = range(len(self.variables))
            self._require_rows(saved)
            self._require_variables(saved)
            if self._parts:
                self._parts.restore(saved["rows"])
            self._write([saved[f"variable_{i}"] for i in places])

    def _require_variables(self, saved):
        held = [name for name in saved if name.startswith("variable_")]
        shapes = [saved[f"variable_{i}"].shape for i in range(len(held))]
        expected = [tuple(v.shape) for v in self.variables]
        if shapes != expected:
            raise ValueError(
                f"{self.path} has the state of other variables: expected the "
                f"shapes {expected}. Received: {shapes}"
            )

    def _require_rows(self, saved):
        if self._parts and "rows" not in saved:
            raise ValueError(
                f"{self.path} was saved by an earlier version of this library, "
                "which kept the teacher's answers in this file. Delete the "
                "file to start again, or go on with that version."
            )

    def on_train_begin(self, logs=None):
        # Callbacks that swap weights must know that the restored weights are
        # swapped.
        if 0 < self.epoch < self.params["epochs"]:
            run_state.swapped_again(
                self.others, self.epoch - 1, self._read, self._write
            )

    def on_epoch_end(self, epoch, logs=None):
        # A stopped training counts as finished: resuming must not continue it.
        ended = getattr(self.model, "stop_training", False)
        self.epoch = self.params["epochs"] if ended else epoch + 1
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(float(value))
        self._save()

    def on_train_end(self, logs=None):
        if self.epoch:  # other callbacks may have restored the best weights
            run_state.settle_averages(self.model.optimizer)
            self._save()

    def _read(self):
        return [keras.ops.convert_to_numpy(v) for v in self.variables]

    def _write(self, values):
        for variable, value in zip(self.variables, values, strict=True):
            variable.assign(value)

    def _save(self):
        past = json.dumps({"epoch": self.epoch, "history": self.history})
        arrays = {f"variable_{i}": v for i, v in enumerate(self._read())}
        arrays["past"] = np.array(past)
        if self._parts:  # first the rows, then the state that lists them
            arrays["rows"] = self._parts.save()
        run_state.save(self.path, arrays, self.run)
        if self._parts:
            self._parts.clean()
