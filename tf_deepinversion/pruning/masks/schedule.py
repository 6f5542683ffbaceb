"""How sparse a tensor is to be at which step."""

from tf_deepinversion.core.checks import require_whole


class _Schedule:
    """When masks are made: every `frequency` steps of a span of steps."""

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
        """The last step up to `step` at which masks are made, or None."""
        last = step if self.end_step == -1 else min(step, self.end_step)
        if last < self.begin_step:
            return None
        return last - (last - self.begin_step) % self.frequency

    def __call__(self, step) -> tuple[bool, float]:
        """Whether masks are made at a step, and the sparsity they are to have.

        Args:
            step: Int, how many steps the optimizer has made.
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
    """The last step at which a schedule makes masks, or -1 for no end."""
    return getattr(schedule, "end_step", -1)


def trained_and_last(schedule, steps) -> tuple[float, float]:
    """The sparsity of the last of so many steps, and the schedule's last one.

    >>> trained_and_last(PolynomialDecay(0.0, 0.8, 0, 200), steps=200)
    (0.7, 0.8)
    """
    made, end = schedule.last_update(steps - 1), end_of(schedule)
    trained = 0.0 if made is None else schedule.sparsity(made)
    return trained, schedule.sparsity(steps if end == -1 else end)


def _check_sparsity(**given):
    for name, value in given.items():
        if not 0 <= value < 1:
            raise ValueError(
                f"`{name}` must lie in [0, 1): 0.8 makes four of five weights "
                f"zero. Received: {name}={value}"
            )


class ConstantSparsity(_Schedule):
    """The same sparsity at all times.

    Args:
        target_sparsity: Float in [0, 1), the share of weights that are zero.
        begin_step: Int, the first step at which masks are made.
        end_step: Int, the last step, or -1 for no end.
        frequency: Int, steps between two makings. Defaults to 100.

    Raises:
        ValueError: if an argument is out of range.

    >>> ConstantSparsity(0.5, begin_step=10, frequency=5)(15)
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
    """s_t = s_f + (s_i - s_f) (1 - p)^power, p the share of the span done.

    Args:
        initial_sparsity: Float in [0, 1), s_i.
        final_sparsity: Float in [0, 1), s_f.
        begin_step: Int, the first step at which masks are made.
        end_step: Int, the last one, whatever the frequency; the sparsity has
            then its final value.
        power: Float, positive. Defaults to 3.
        frequency: Int, steps between two makings. Defaults to 100.

    Raises:
        ValueError: if an argument is out of range.

    Reference:
        - Zhu and Gupta, To prune, or not to prune, arXiv:1710.01878

    >>> PolynomialDecay(0.0, 0.8, begin_step=0, end_step=200)(100)
    (True, 0.7)
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
                "A decay needs a span: `end_step` after `begin_step`. "
                f"Received: begin_step={begin_step}, end_step={end_step}"
            )
        if not power > 0:
            raise ValueError(f"`power` must be positive. Received: {power}")
        self.initial_sparsity = float(initial_sparsity)
        self.final_sparsity = float(final_sparsity)
        self.power = power

    def last_update(self, step) -> int | None:
        """As of any schedule, and at `end_step`: there it is the final one."""
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
