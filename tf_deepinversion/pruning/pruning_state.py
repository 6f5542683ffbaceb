"""The state between two rounds of pruning."""

import json

import keras
import numpy as np

from tf_deepinversion.core import run_state
from tf_deepinversion.pruning.channels._shrink import shrink


class PruningState:
    """A network that becomes smaller, in memory and in a file.

    Args:
        teacher: The original network.
        channels: Int, number of the teacher's channels.
        path: Path of the file, or None.
        run: String that identifies the run.

    Attributes:
        path: Path of the file, or None.
        run: String, as given.
        student: The current network.
        keep: Bool array `(channels,)`, the teacher's channels that stay.
        importance: Float array of these channels, or None before any ranking.
        costs: List, the cost after each round as a share of the teacher's.
        history: Dict of lists, the logs of all trainings.

    Raises:
        ValueError: if the file is damaged or belongs to another run.
    """

    def __init__(self, teacher, channels, path, run):
        self.path, self.run = path, run
        self.keep = np.ones(channels, bool)
        self.importance, self.costs, self.history = None, [], {}
        saved = run_state.load(path, run) if path else None
        if saved:
            self.keep, self.importance = saved["keep"], saved["importance"]
            past = json.loads(str(saved["past"]))
            self.costs, self.history = past["costs"], past["history"]
        self.student = shrink(teacher, self.keep)
        if saved:
            for i, variable in enumerate(self.student.variables):
                variable.assign(saved[f"variable_{i}"])

    def smoothed(self, found, momentum) -> np.ndarray:
        """Computes the running mean of rankings, each divided by its mean.

        The mean is of absolute values: a negative divisor would turn the
        ranking around. A channel whose importance was ever infinite stays so.
        """
        finite = np.abs(found[np.isfinite(found)])
        found = found / (finite.mean() if finite.any() else 1.0)
        if self.importance is None:
            return found
        # A product of 0 and infinity would be NaN.
        either = np.isinf(self.importance) | np.isinf(found)
        past, new = np.where(either, 0.0, [self.importance, found])
        return np.where(either, np.inf, momentum * past + (1 - momentum) * new)

    def remove(self, stays, importance, cost):
        """Removes channels from the network.

        Args:
            stays: Bool array, the current channels that stay.
            importance: Float array of the current channels.
            cost: Float, the remaining share of the teacher's cost.
        """
        self.student = shrink(self.student, stays)
        # `stays` numbers the channels of the smaller network, `keep` the
        # teacher's.
        self.keep[np.flatnonzero(self.keep)[~stays]] = False
        self.importance = importance[stays]
        self.costs.append(float(cost))

    def end_round(self, history):
        """Adds the logs of a round's training, and saves the state."""
        for name, values in history.items():
            self.history.setdefault(name, []).extend(values)
        if self.path is None:
            return
        # The architecture is not saved: `keep` and the teacher determine it.
        # Variables are weights, and the states of random generators.
        values = map(keras.ops.convert_to_numpy, self.student.variables)
        past = json.dumps({"costs": self.costs, "history": self.history})
        arrays = {
            **{f"variable_{i}": x for i, x in enumerate(values)},
            "keep": self.keep,
            "importance": self.importance,
            "past": np.array(past),
        }
        run_state.save(self.path, arrays, self.run)
