"""The rounds of `prune`: each ranks the channels and removes some."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from tf_deepinversion.core.checks import SEEDS
from tf_deepinversion.core.checks import is_within
from tf_deepinversion.core.checks import require_positive
from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.pruning.channels.cost import COSTS
from tf_deepinversion.pruning.channels.criteria import require_criterion
from tf_deepinversion.pruning.channels.criteria import scores_of
from tf_deepinversion.pruning.channels.graph import ChannelGraph
from tf_deepinversion.pruning.channels.knapsack import knapsack
from tf_deepinversion.pruning.channels.selection import narrowest
from tf_deepinversion.pruning.channels.selection import select

SELECTIONS = {"ranking": select, "knapsack": knapsack}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rounds:
    """The settings by which rounds remove channels, see `prune`.

    Raises:
        ValueError: if a field is out of range.
    """

    target: float
    cost: Callable
    criterion: str | Callable
    rounds: int
    steps_per_round: int
    final_steps: int
    ranking_batches: int
    momentum: float
    multiple_of: int
    selection: str
    learning_rate: float
    seed: int

    def __post_init__(self):
        _require_target(self.target)
        require_criterion(self.criterion)
        require_whole(
            rounds=self.rounds,
            ranking_batches=self.ranking_batches,
            multiple_of=self.multiple_of,
        )
        require_whole(
            0,
            steps_per_round=self.steps_per_round,
            final_steps=self.final_steps,
        )
        if not is_within(self.momentum, "[0, 1)"):
            raise ValueError(
                "`momentum` must lie in [0, 1). "
                f"Received: momentum={self.momentum}"
            )
        if self.selection not in SELECTIONS:
            raise ValueError(
                f"`selection` must be one of {list(SELECTIONS)}. "
                f"Received: selection={self.selection!r}"
            )
        require_positive(learning_rate=self.learning_rate)

    def in_epochs_of(self, recovery) -> "Rounds":
        """Returns a copy whose steps are whole epochs of a `Recovery`."""
        return dataclasses.replace(
            self,
            steps_per_round=recovery.whole_epochs(self.steps_per_round),
            final_steps=recovery.whole_epochs(self.final_steps),
        )

    def first_batch(self, number) -> int:
        """Returns the number of the first batch that a round reads."""
        return number * (self.ranking_batches + self.steps_per_round)

    def first_step(self, number) -> int:
        """Returns the first batch for training, after those for the ranking."""
        return self.first_batch(number) + self.ranking_batches

    def steps(self, number) -> int:
        """Returns the number of a round's training steps."""
        last = number == self.rounds - 1
        return self.final_steps if last else self.steps_per_round

    def seed_of(self, number) -> int:
        """Returns the seed of a round."""
        return (self.seed * self.rounds + number) % SEEDS

    def share_left(self, number) -> float:
        """Returns the share of the whole cost that a round may leave."""
        # Each round leaves the same share of what the round before left.
        return (1 - self.target) ** ((number + 1) / self.rounds)

    def remove(self, number, state, teacher, stream, recovery):
        """Ranks the channels of a network, and removes the least important.

        Args:
            number: Int, of the round.
            state: A `PruningState`.
            teacher: The `keras.Model` as it was.
            stream: A `Stream`.
            recovery: A `Recovery`, with the preprocessing of both networks.
        """
        graph = ChannelGraph(state.student)
        found = scores_of(
            graph,
            self._criterion_of(number),
            stream(self.first_batch(number)).take(self.ranking_batches),
            self.seed_of(number),
            teacher,
            recovery.preprocessing,
            recovery.temperature,
        )
        smoothed = state.smoothed(found, self.momentum)
        # Shares refer to the cost of the teacher, not of the network as it is
        # now.
        before = ChannelGraph(teacher)
        whole = self.cost(before, np.ones(before.count, bool))
        limit = whole * self.share_left(number)
        stays = SELECTIONS[self.selection](
            graph, smoothed, self.cost, limit, multiple_of=self.multiple_of
        )
        left = self.cost(graph, stays)
        _require_cost(left)
        state.remove(stays, smoothed, left / whole)

    def _criterion_of(self, number):
        # Before any channel is removed, the gradient of first order is 0.
        if self.criterion == "taylor" and number == 0:
            return "fisher"
        return self.criterion


def rounds_to(target) -> int:
    """Returns the fewest rounds of which none removes over 15% of the cost.

    The share counts from what the round before left. A network that loses more
    at once recovers less.

    Args:
        target: Float in (0, 1), the share of the whole cost to remove.

    Raises:
        ValueError: if the target is out of range.

    >>> rounds_to(0.15), rounds_to(0.5), rounds_to(0.75)
    (1, 5, 9)
    """
    _require_target(target)
    # Rounding of floats must not add a round.
    rounds = math.ceil(math.log(1 - target) / math.log(0.85) - 1e-9)
    return max(1, rounds)


def require_reachable(graph, target, cost, multiple_of=1):
    """Checks that the narrowest network costs as little as the target asks.

    The check is for the costs by name. By another cost, a wider network may be
    cheaper than the narrowest.

    Args:
        graph: The `ChannelGraph` of the teacher.
        target: Float in (0, 1), the share of the cost to remove.
        cost: Function of a `ChannelGraph` and the remaining channels.
        multiple_of: Int, see `prune`.

    Raises:
        ValueError: if the cost is not positive, or the narrowest network costs
            more than the target allows.
    """
    whole = cost(graph, np.ones(graph.count, bool))
    _require_cost(whole)
    if cost not in COSTS.values():
        return
    least = cost(graph, narrowest(graph, multiple_of))
    if least > whole * (1 - target):
        raise ValueError(
            "The target cannot be reached: each group of channels keeps at "
            f"least {multiple_of}, which costs {least / whole:.1%} of "
            f"the network. Choose a target of at most {_most(least / whole)}. "
            f"Received: target={target}"
        )


def _most(least):
    """Returns the largest target that leaves a share, of two digits."""
    return math.floor(100 * (1 - least)) / 100


def _require_cost(value):
    if not is_within(value, "(0, inf)"):
        raise ValueError(
            "`cost` must return a positive, finite number for a network and "
            f"the channels that stay. Received: {value!r}"
        )


def _require_target(target):
    if not is_within(target, "(0, 1)"):
        raise ValueError(
            "`target` is the share of the cost to remove, between 0 and 1: "
            f"0.5 halves the cost. Received: target={target}"
        )
