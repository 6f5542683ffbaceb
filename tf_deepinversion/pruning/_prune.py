"""Pruning in rounds: rank, remove, recover; a smaller network each round."""

import dataclasses
from typing import NamedTuple

import keras
import numpy as np

from tf_deepinversion.datasets.streams import as_stream
from tf_deepinversion.networks.copies import copy_of
from tf_deepinversion.networks.preprocessing import Preprocessing
from tf_deepinversion.pruning.channels.cost import COSTS
from tf_deepinversion.pruning.channels.graph import ChannelGraph
from tf_deepinversion.pruning.channels.graph import functional
from tf_deepinversion.pruning.pruning_state import PruningState
from tf_deepinversion.pruning.recovery import Recovery
from tf_deepinversion.pruning.recovery import recovery_optimizer
from tf_deepinversion.pruning.recovery import state_file
from tf_deepinversion.pruning.rounds import Rounds


class Pruned(NamedTuple):
    """What `prune` gives.

    Attributes:
        student: The smaller `keras.Model`.
        history: Dict of lists, the logs of all epochs of all recoveries.
        keep: Bool array, which channels of `ChannelGraph(teacher)` stayed.
        costs: List of floats, the share of the cost after each round.
    """

    student: keras.Model
    history: dict
    keep: np.ndarray
    costs: list


def prune(
    teacher,
    images,
    *,
    target,
    cost="flops",
    criterion="taylor",
    rounds=5,
    steps_per_round=100,
    final_steps=500,
    ranking_batches=30,
    momentum=0.9,
    multiple_of=1,
    eta=0.0,
    batch_size=128,
    learning_rate=0.02,
    steps_per_epoch=100,
    keep_statistics=False,
    temperature=4.0,
    transforms=None,
    preprocessing=None,
    dtype=None,
    folder=None,
    run="",
    seed=0,
    callbacks=None,
    verbose="auto",
) -> Pruned:
    """Makes a smaller network that answers as its teacher, in rounds.

    Each round ranks the channels of the network as it then is, removes the
    least important ones and trains what is left for some steps. The cost falls
    from round to round by the same factor.

    Args:
        teacher: A functional or sequential `keras.Model` classifier. One that
            takes images of any size is pruned at the size of `images`.
        images: Images of any kind, see `datasets.as_stream`: synthesized,
            real or noise. Their labels are not looked at.
        target: Float in (0, 1), the share of the cost that is to go.
        cost: `"flops"`, `"parameters"`, a `LatencyTable`, or a function of a
            `ChannelGraph` and the channels that stay to a float.
        criterion: `"taylor"` (of second order in the first round, then of
            first), `"fisher"` (always of second), `"bn_scale"`,
            `"filter_norm"` or `"random"`; or a function of (a `ChannelGraph`
            of the network as it then is, a `tf.data.Dataset` of the round's
            `ranking_batches` of pixels and labels, an int seed) to a float
            array, the importance of each channel.
        rounds: Int.
        steps_per_round: Int, of training after each round but the last.
        final_steps: Int, of training after the last; 0 for none.
        ranking_batches: Int, by which channels are ranked in each round.
        momentum: Float in [0, 1), how much of the former rounds' ranking stays.
        multiple_of: Int, of the channels that are left in each group; 8 suits
            most hardware.
        eta: Float, the weight of the hardware-aware term, see `with_cost`.
        batch_size: As for `recover`, and so are all that follow.
        learning_rate: Float.
        steps_per_epoch: Int.
        keep_statistics: Bool.
        temperature: Float.
        transforms: List of transforms.
        preprocessing: The teacher's `Preprocessing`; None if known by name.
        dtype: A dtype policy.
        folder: Path for the state, or None. The same call goes on from there,
            after any interruption, to the same network.
        run: String, the name of the images, where there is a folder.
        seed: Int.
        callbacks: List of `keras.callbacks.Callback`, of every training.
        verbose: As in Keras.

    Returns:
        A `Pruned`.

    Raises:
        FloatingPointError: as for `recover`.
        TypeError: if the model is subclassed, or as for `as_stream`.
        ValueError: if an argument is out of range, or as for `shrink`.
    """
    plan = Rounds(
        target,
        _cost_function(cost),
        criterion,
        rounds,
        steps_per_round,
        final_steps,
        ranking_batches,
        momentum,
        multiple_of,
        eta,
        learning_rate,
        seed,
    )
    stream = as_stream(images, batch_size, seed)
    recovery = Recovery(
        steps_per_epoch,
        keep_statistics,
        temperature,
        transforms,
        Preprocessing.of(teacher, preprocessing),
        dtype,
        seed,
    )
    sized = _of_one_size(teacher, stream)
    parts = {**vars(plan), **vars(recovery), "batch_size": batch_size}
    parts["teacher"] = sized
    state = _start(sized, *state_file(folder, "prune.npz", run, stream, parts))
    _run_rounds(plan, state, recovery, sized, stream, callbacks, verbose)
    student = _of_size_of(teacher, sized, state.student)
    return Pruned(student, state.history, state.keep, state.costs)


def _cost_function(cost):
    """A cost that may be given by its name."""
    found = COSTS.get(cost) if isinstance(cost, str) else cost
    if not callable(found):
        raise ValueError(
            f"`cost` must be one of {sorted(COSTS)}, a LatencyTable, or a "
            "function of a `ChannelGraph` and the channels that stay. "
            f"Received: cost={cost!r}"
        )
    return found


def _start(teacher, path, run) -> PruningState:
    graph = ChannelGraph(teacher)
    graph.check_size()
    return PruningState(teacher, graph.count, path, run)


def _run_rounds(plan, state, recovery, teacher, stream, callbacks, verbose):
    """Goes through the rounds that are left; `state` has what comes of them."""
    for number in range(len(state.costs), plan.rounds):
        plan.remove(number, state, teacher, stream, recovery)
        of_round = dataclasses.replace(recovery, seed=plan.seed_of(number))
        steps = plan.steps(number)
        history = of_round.train(
            teacher,
            state.student,
            stream,
            steps=steps,
            optimizer=recovery_optimizer(steps, plan.learning_rate),
            first_step=plan.first_step(number),
            path=state.path and state.path.with_name(f"recover_{number}.npz"),
            run=state.run,
            callbacks=callbacks,
            verbose=verbose,
        )
        state.end_round(history)


def _of_one_size(teacher, stream):
    """The network, or where it takes any size a copy for that of the images."""
    given = functional(teacher).inputs[0].shape
    if None not in given[1:]:
        return teacher
    images, _ = stream(0).element_spec[:2]
    return _of_shape(teacher, given, (None, *images.shape[1:]))


def _of_size_of(teacher, sized, student):
    """The network for images of any size, if its teacher takes them."""
    given, size = (functional(x).inputs[0].shape for x in (teacher, sized))
    return student if given == size else _of_shape(student, size, given)


def _of_shape(model, old, new):
    """A copy for images of another shape, in models within the model too."""
    return copy_of(
        model, input_shape=lambda x: new if x.shape == old else x.shape
    )
