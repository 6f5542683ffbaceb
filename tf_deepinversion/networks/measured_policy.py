"""Chooses the precision of networks by a short trial: `dtype="auto"`."""

import functools
import statistics
import time

import tensorflow as tf

from tf_deepinversion.core import run_state
from tf_deepinversion.core.files import path_of
from tf_deepinversion.networks import replica_checks
from tf_deepinversion.networks.compute_policy import policy_named

CHOICES = ("float32", "mixed_bfloat16")

# Less than this in bfloat16 does not outweigh the exactness of float32.
LEAST_GAIN = 1.1

# (Pixels a side, channels) of the stages of a ResNet-20.
_STAGES = ((28, 16), (14, 32), (7, 64))


def chosen_policy(dtype, folder=None, names=(), part="dtype"):
    """Returns a dtype policy; in place of `"auto"` that of a run or a trial.

    A run that goes on keeps the policy that it began with, on any machine. A
    new run takes `faster_policy`.

    Args:
        dtype: A dtype policy, None or `"auto"`.
        folder: Path of the run's folder, or None.
        names: Names of files in the folder, see `run_state.recorded`; the first
            that tells the policy counts.
        part: String, name of the policy's part of the run's identity.

    Returns:
        `dtype`, or a name in `CHOICES`.

    Raises:
        ValueError: if there is no such policy, or several machines would each
            choose.

    >>> chosen_policy("mixed_bfloat16")
    'mixed_bfloat16'
    """
    if dtype != "auto":
        if dtype is not None:
            policy_named(dtype)
        return dtype
    replica_checks.require_one_machine(
        tf.distribute.get_strategy(),
        'Each of several machines would choose for itself with dtype="auto": '
        'pass dtype="float32" or dtype="mixed_bfloat16".',
    )
    files = [] if folder is None else [path_of(folder) / x for x in names]
    return policy_of_run(files, part) or faster_policy()


def policy_of_run(files, part="dtype"):
    """Returns the one of `CHOICES` that a run on disk began with, or None.

    Args:
        files: List of paths of the run's files.
        part: As for `chosen_policy`.
    """
    # A synthesizer also names the precision of the images.
    values = [x for name in CHOICES for x in (name, ["float32", name])]
    for path in files:
        found = run_state.recorded(path, part, values)
        if found:
            return found if isinstance(found, str) else found[-1]
    return None


@functools.cache
def faster_policy() -> str:
    """Returns the policy in which convolutions take less time here.

    The function measures once in a process, in about a second, and prints what
    it found.
    """
    times = seconds_by_policy()
    chosen = choice(times)
    found = ", ".join(f"{1e3 * times[x]:.1f} ms in {x}" for x in times)
    print(
        f'dtype="auto" chooses {chosen}: a trial of convolutions took {found}.',
        flush=True,
    )
    return chosen


def choice(seconds) -> str:
    """Returns bfloat16 if float32 takes at least 10 % longer, else float32.

    Args:
        seconds: Dict from each of `CHOICES` to the seconds of the same work.

    >>> choice({"float32": 0.3, "mixed_bfloat16": 0.2})
    'mixed_bfloat16'
    >>> choice({"float32": 0.3, "mixed_bfloat16": 0.29})
    'float32'
    """
    exact, half = (seconds[name] for name in CHOICES)
    return CHOICES[exact >= LEAST_GAIN * half]


def seconds_by_policy(rounds=9) -> dict:
    """Measures the same work in each of `CHOICES`, in turns.

    Args:
        rounds: Int, number of turns. Defaults to 9.

    Returns:
        A dict from the names to the medians in seconds, infinite for a
        precision in which the machine cannot compute convolutions.
    """
    works = {name: _work(name.removeprefix("mixed_")) for name in CHOICES}
    times = {name: [] for name in CHOICES}
    for _ in range(1 + rounds):
        for name, work in works.items():
            times[name].append(_seconds(work))
    # The first call traces the graph.
    return {name: statistics.median(t[1:]) for name, t in times.items()}


def _seconds(work) -> float:
    begin = time.perf_counter()
    try:
        work().numpy()
    except tf.errors.OpError:
        return float("inf")
    return time.perf_counter() - begin


def _work(dtype):
    """Returns a function: forward and backward passes of small stages.

    No Keras layer and no global random number is used, so the networks that a
    user makes afterwards have the same names and weights as without.
    """
    # An accelerator needs more work than its calls take.
    images = 2048 if tf.config.list_logical_devices("GPU") else 32
    shapes = [(images, size, size, c) for size, c in _STAGES]
    shapes += [(3, 3, c, c) for _, c in _STAGES]
    given = [tf.random.stateless_normal(x, (0, 0), stddev=0.1) for x in shapes]

    @tf.function(autograph=False)
    def work():
        with tf.GradientTape() as tape:
            tape.watch(given)
            cast = [tf.cast(x, dtype) for x in given]
            pairs = zip(cast[: len(_STAGES)], cast[len(_STAGES) :], strict=True)
            loss = sum(_mean_of_stage(*pair) for pair in pairs)
        gradients = tape.gradient(loss, given)
        return tf.add_n([tf.norm(x) for x in gradients])

    return work


def _mean_of_stage(x, kernel):
    for _ in range(2):
        x = tf.nn.conv2d(x, kernel, 1, "SAME")
        x = tf.nn.relu(0.5 * x + 0.1)  # stands for BatchNormalization
    return tf.reduce_mean(tf.square(tf.cast(x, "float32")))
