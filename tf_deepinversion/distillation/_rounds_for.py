"""Plans the number of rounds of a distillation for a time limit."""

import json
import pathlib
import time

import keras

from tf_deepinversion.core.checks import require_positive
from tf_deepinversion.core.files import read_json
from tf_deepinversion.core.files import require_local
from tf_deepinversion.core.files import write_content


def rounds_for(minutes, trial, path=None, begin=None, **settings) -> int:
    """Estimates how many rounds fit into a number of minutes, by three rounds.

    All rounds must do the same work, so the trial makes a batch of images
    before each round. The first round, which traces the graphs, takes longer
    and counts separately.

    Args:
        minutes: Float, positive, for all rounds since `begin`, including the
            trial.
        trial: Function of a number of rounds and a list of callbacks that runs
            such rounds.
        path: Path of a file that stores the number for a resumed run, or None.
        begin: Float, value of `time.monotonic` at the start. Defaults to now.
        **settings: Settings of JSON on which the time of a round depends.

    Returns:
        An int, at least 1.

    Raises:
        ValueError: if `minutes` is not positive, or the file belongs to another
            number of minutes or to other settings.

    Example:
        >>> def trial(rounds, callbacks):  # stands for a call of `distill`
        ...     for i in range(rounds):
        ...         callbacks[0].on_epoch_end(i)
        >>> rounds_for(0.1, trial) > 1
        True
    """
    require_positive(minutes=minutes)
    minutes = float(minutes)  # JSON takes no number of NumPy
    require_local(path=path)
    begin = time.monotonic() if begin is None else begin
    path = path and pathlib.Path(path)
    # A resumed run keeps its number of rounds, however long it takes.
    if path and path.exists():
        return _planned(path, {"minutes": minutes, **settings})
    start, ends = time.monotonic(), []
    clock = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda *_: ends.append(time.monotonic())
    )
    trial(3, [clock])
    # The first round traces the graphs, and the real run traces them once more.
    each = (ends[-1] - ends[0]) / 2
    left = 60 * minutes - (time.monotonic() - begin) - (ends[0] - start)
    rounds = max(1, int(left / each))
    if path:
        plan = {"minutes": minutes, **settings}
        plan |= {"rounds": rounds, "seconds_a_round": each}
        write_content(path, json.dumps(plan))
    return rounds


def _planned(path, settings):
    plan = read_json(
        path,
        lambda plan: plan | {"rounds": int(plan["rounds"])},
        "delete it, and the next call times a trial again. A run that has "
        "begun takes the same `rounds` only.",
    )
    for name, value in settings.items():
        if plan.get(name) != value:
            raise ValueError(
                f"{path} was planned for {name}={plan.get(name)}: use another "
                f"folder, or delete the file. Received: {name}={value}"
            )
    return plan["rounds"]
