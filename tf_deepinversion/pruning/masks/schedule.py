"""Schedules of sparsity over training steps."""

from tf_deepinversion.core.checks import is_within
from tf_deepinversion.core.checks import require_whole


class _Schedule:
    """Updates masks every `frequency` steps within a span of steps."""

    def __init__(self, begin_step, end_step, frequency):
        require_whole(0, begin_step=begin_step)
        require_whole(-1, end_step=end_step)
        require_whole(frequency=frequency)
        if begin_step > end_step != -1:
            raise ValueError(
                "Pruning must end after it begins. Received: "
                f"begin_step={begin_step}, end_step={end_step}"
            )
        self.begin_step, self.end_step = int(begin_step), int(end_step)
        self.frequency = int(frequency)

    def last_update(self, step) -> int | None:
        """Returns the last update of masks up to `step`, or None."""
        last = step if self.end_step == -1 else min(step, self.end_step)
        if last < self.begin_step:
            return None
        # Updates fall on begin_step, begin_step + frequency, and so on.
        return last - (last - self.begin_step) % self.frequency

    def __call__(self, step) -> tuple[bool, float]:
        """Tells whether masks change at a step, and their sparsity.

        Args:
            step: Int, number of the optimizer's steps so far.
        """
        return self.last_update(step) == step, self.sparsity(step)

    def get_config(self) -> dict:
        return {
            "begin_step": self.begin_step,
            "end_step": self.end_step,
            "frequency": self.frequency,
        }

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def end_of(schedule) -> int:
    """Returns the last step at which a schedule updates masks, or -1."""
    return getattr(schedule, "end_step", -1)


def trained_and_last(schedule, steps) -> tuple[float, float]:
    """Returns the sparsity of the last training step, and the schedule's last.

    >>> trained_and_last(PolynomialDecay(0.0, 0.8, 0, 200), steps=200)
    (0.7, 0.8)
    """
    made, end = schedule.last_update(steps - 1), end_of(schedule)
    trained = 0.0 if made is None else schedule.sparsity(made)
    return trained, schedule.sparsity(steps if end == -1 else end)


def _check_sparsity(**given):
    for name, value in given.items():
        if not is_within(value, "[0, 1)"):
            raise ValueError(
                f"`{name}` must lie in [0, 1): 0.8 makes 80% of the weights "
                f"zero. Received: {name}={value}"
            )


class ConstantSparsity(_Schedule):
    """A schedule with the same sparsity at all steps.

    Args:
        target_sparsity: Float in [0, 1), the share of weights that are zero.
        begin_step: Int, the first step with masks. Defaults to 0.
        end_step: Int, the last step at which masks change, or -1 for no end.
            Defaults to -1.
        frequency: Int, number of steps between updates. Defaults to 100.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> schedule = di.pruning.ConstantSparsity(0.5, 10, frequency=5)
        >>> schedule(15)  # update the masks? to which sparsity?
        (True, 0.5)
    """

    def __init__(
        self, target_sparsity, begin_step=0, end_step=-1, frequency=100
    ):
        super().__init__(begin_step, end_step, frequency)
        _check_sparsity(target_sparsity=target_sparsity)
        self.target_sparsity = float(target_sparsity)

    def sparsity(self, step) -> float:
        return self.target_sparsity

    def get_config(self):
        return {**super().get_config(), "target_sparsity": self.target_sparsity}


class PolynomialDecay(_Schedule):
    """A schedule whose sparsity rises as a polynomial of the step.

    s_t = s_f + (s_i - s_f) (1 - p)^power, where p is the share of the span
    between `begin_step` and `end_step` that has passed.

    Args:
        initial_sparsity: Float in [0, 1), s_i.
        final_sparsity: Float in [0, 1), s_f.
        begin_step: Int, the first step with masks.
        end_step: Int, the last step at which masks change, regardless of
            `frequency`. The sparsity then has its final value.
        power: Float, positive. Defaults to 3.
        frequency: Int, number of steps between updates. Defaults to 100.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> schedule = di.pruning.PolynomialDecay(0.0, 0.8, 0, end_step=200)
        >>> schedule(100)  # update the masks? to which sparsity?
        (True, 0.7)

    Reference:
        - Zhu and Gupta, To prune, or not to prune, arXiv:1710.01878
    """

    def __init__(
        self,
        initial_sparsity,
        final_sparsity,
        begin_step,
        end_step,
        power=3,
        frequency=100,
    ):
        super().__init__(begin_step, end_step, frequency)
        _check_sparsity(
            initial_sparsity=initial_sparsity, final_sparsity=final_sparsity
        )
        if begin_step >= end_step:
            raise ValueError(
                "`end_step` must be greater than `begin_step`. "
                f"Received: begin_step={begin_step}, end_step={end_step}"
            )
        if not power > 0:
            raise ValueError(f"`power` must be positive. Received: {power}")
        self.initial_sparsity = float(initial_sparsity)
        self.final_sparsity = float(final_sparsity)
        self.power = power

    def last_update(self, step) -> int | None:
        """Works like other schedules; at `end_step` the last update is due."""
        if step >= self.end_step:
            return self.end_step
        return super().last_update(step)

    def sparsity(self, step) -> float:
        p = (step - self.begin_step) / (self.end_step - self.begin_step)
        p = min(1.0, max(0.0, p))
        gap = self.initial_sparsity - self.final_sparsity
        return self.final_sparsity + gap * (1 - p) ** self.power

    def get_config(self):
        return {
            **super().get_config(),
            "initial_sparsity": self.initial_sparsity,
            "final_sparsity": self.final_sparsity,
            "power": self.power,
        }
