"""The arguments of a call of `distill`, and what several machines may pass."""

import typing

from tf_deepinversion.callbacks.refresh_pool import RefreshPool
from tf_deepinversion.datasets.pool import Pool
from tf_deepinversion.distillation._distillation import Distillation
from tf_deepinversion.networks import replica_checks


class Plan(typing.NamedTuple):
    """The arguments of a call of `distill`."""

    model: Distillation
    images: object
    rounds: int | None
    steps_per_round: int
    batch_size: int
    refresh: RefreshPool | None
    fixed_images: Pool | None
    fixed_share: float
    optimizer: object
    capacity: int
    folder: str | None
    run: str
    seed: int
    callbacks: list | None
    verbose: object
    validation_data: object

    def settings(self) -> dict:
        """Returns the settings of the run, without the model and the images."""
        fixed = self.fixed_images
        return {
            "rounds": self.rounds,
            "steps_per_round": self.steps_per_round,
            "batch_size": self.batch_size,
            "seed": self.seed,
            "fixed_share": self.fixed_share if fixed else None,
            "fixed_images": fixed.identity if fixed else None,
        }


def require_shared(plan, minutes):
    """Refuses what several machines would do each in its own way."""
    strategy = plan.model.distribute_strategy
    if plan.folder is not None:
        replica_checks.require_one_machine(
            strategy,
            "Each of several machines would write images and state into "
            "`folder`: leave it out.",
        )
    if minutes is not None:
        replica_checks.require_one_machine(
            strategy,
            "Each of several machines would find another number of rounds "
            "for `minutes`: pass `rounds`.",
        )
