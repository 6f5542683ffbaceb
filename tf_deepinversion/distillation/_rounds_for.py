"""How many rounds of a distillation fit into some minutes."""

import json
import pathlib
import time

import keras

from tf_deepinversion.core.checks import require_positive
from tf_deepinversion.core.files import write_atomically


def rounds_for(minutes, trial, path=None, begin=None) -> int:
    """How many rounds fit into some minutes, by a trial of three.

    Rounds must be alike, so the trial makes a batch of images before each. The
    first round, in which graphs are traced, takes longer and is counted apart.

    Args:
        minutes: Float, positive, for all rounds from `begin` on, the trial
            among them.
        trial: Function of a number of rounds and a list of callbacks that runs
            such rounds.
        path: Path of a file in which the number is kept, so that a run which
            goes on keeps to it; None for none.
        begin: Float, of `time.monotonic`, when the minutes begin; None: now.

    Returns:
        An int, at least 1.

    Raises:
        ValueError: if the minutes are not positive, or the file is of others.
    """
    require_positive(minutes=minutes)
    begin = time.monotonic() if begin is None else begin
    path = path and pathlib.Path(path)
    if path and path.exists():
        return _planned(path, minutes)
    start, ends = time.monotonic(), []
    clock = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda *_: ends.append(time.monotonic())
    )
    trial(3, [clock])
    each = (ends[-1] - ends[0]) / 2
    left = 60 * minutes - (time.monotonic() - begin) - (ends[0] - start)
    rounds = max(1, int(left / each))
    if path:
        plan = {"minutes": minutes, "rounds": rounds, "seconds_a_round": each}
        content = json.dumps(plan).encode()
        write_atomically(path, lambda file: file.write(content))
    return rounds


def _planned(path, minutes):
    plan = json.loads(path.read_text())
    if plan.get("minutes") != minutes:
        raise ValueError(
            f"{path} was planned for minutes={plan.get('minutes')}: take "
            f"another folder, or delete it. Received: minutes={minutes}"
        )
    return plan["rounds"]
