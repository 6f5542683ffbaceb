"""The states of chains: batches of which each goes on from the one before."""

import keras
import numpy as np

from tf_deepinversion.core import run_state
from tf_deepinversion.core.checks import SEEDS
from tf_deepinversion.models.generator import Generator


class ChainStates:
    """Where the chains of a run are, in the `state` of its folder.

    Args:
        folder: A `BatchFolder`.
        job: A `BatchesJob` of a synthesizer with a state.
    """

    def __init__(self, folder, job):
        self._folder, self._job = folder, job
        self._variables = job.synthesizer.state_variables
        self._first = [np.array(value) for value in self._values()]

    def begin(self, unit, missing) -> int:
        """Puts the synthesizer where a chain is.

        Args:
            unit: Int, number of the chain.
            missing: Int, number of the first batch that is to be made.

        Returns:
            The number of the chain's next batch.
        """
        begin, saved = unit * self._job.chain, self._load(unit)
        made = begin + int(saved["batches"]) if saved else begin
        if begin < made <= missing:
            places = range(len(self._variables))
            self._assign([saved[f"variable_{i}"] for i in places])
            return made
        # There is no state, or a batch before it has been removed since.
        self._assign(self._first)
        if unit:
            synthesizer = self._job.synthesizer
            fresh = Generator(
                synthesizer.image_shape,
                synthesizer.classes,
                width=synthesizer.recipe.generator.width,
                seed=(self._job.seed + unit) % SEEDS,
                dtype=synthesizer.variable_dtype,
            )
            synthesizer.generator.set_weights(fresh.get_weights())
        return begin

    def _load(self, unit) -> dict | None:
        path = self._path(unit)
        try:
            return run_state.load(path, self._folder.plan["run"])
        except ValueError:
            # The disk has damaged it: the chain begins again.
            path.unlink(missing_ok=True)
            return None

    def save(self, unit, number):
        """Saves the state of a chain after batch `number`."""
        values = enumerate(self._values())
        arrays = {f"variable_{i}": value for i, value in values}
        arrays["batches"] = np.array(number - unit * self._job.chain + 1)
        run_state.save(self._path(unit), arrays, self._folder.plan["run"])

    def end(self, unit):
        """Removes the state of a chain, unless batches may be added to it."""
        if not self._job.endless:
            self._path(unit).unlink(missing_ok=True)

    def _path(self, unit):
        return self._folder.state(unit).with_name(f"chain-{unit:05d}.npz")

    def _values(self):
        return [keras.ops.convert_to_numpy(v) for v in self._variables]

    def _assign(self, values):
        for variable, value in zip(self._variables, values, strict=True):
            variable.assign(value)
