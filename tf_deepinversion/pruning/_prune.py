"""Removal of channels in rounds: rank, remove, recover."""

import dataclasses
from typing import NamedTuple

import keras
import numpy as np

from tf_deepinversion.core.checks import require_finite_weights
from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.core.files import require_local
from tf_deepinversion.core.progress import TrainingProgress
from tf_deepinversion.core.progress import tell_done_before
from tf_deepinversion.datasets.streams import stream_for
from tf_deepinversion.distillation.retraining import Recovery
from tf_deepinversion.distillation.retraining import recovery_optimizer
from tf_deepinversion.distillation.retraining import state_file
from tf_deepinversion.networks.copies import of_shape
from tf_deepinversion.networks.measured_policy import chosen_policy
from tf_deepinversion.networks.preprocessing import Preprocessing
from tf_deepinversion.pruning.channels.cost import COSTS
from tf_deepinversion.pruning.channels.functional import functional
from tf_deepinversion.pruning.channels.graph import ChannelGraph
from tf_deepinversion.pruning.frozen_weights import check_frozen
from tf_deepinversion.pruning.pruning_state import PruningState
from tf_deepinversion.pruning.rounds import Rounds
from tf_deepinversion.pruning.rounds import require_reachable
from tf_deepinversion.pruning.rounds import rounds_to
from tf_deepinversion.transforms.augmentations import augmentations


class Pruned(NamedTuple):
    """The result of `prune`.

    Attributes:
        student: The smaller `keras.Model`.
        history: Dict of lists, the logs of all epochs of all trainings.
        keep: Bool array, the channels of `ChannelGraph(teacher)` that stayed.
        costs: List of floats, the cost after each round as a share of the
            teacher's cost.

    Example:
        >>> pruned = di.prune(
        ...     teacher,
        ...     (images, labels),
        ...     target=0.5,
        ...     rounds=1,
        ...     final_steps=0,
        ...     criterion="filter_norm",
        ...     ranking_batches=1,
        ...     batch_size=4,
        ... )
        >>> pruned.keep.tolist().count(True), len(pruned.costs)
        (2, 1)
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
    rounds=None,
    steps_per_round=300,
    final_steps=3000,
    ranking_batches=30,
    momentum=0.9,
    multiple_of=1,
    selection="ranking",
    batch_size=128,
    learning_rate=0.06,
    steps_per_epoch=100,
    keep_statistics=False,
    temperature=4.0,
    class_maps=1.0,
    transforms=None,
    preprocessing=None,
    dtype=None,
    folder=None,
    run="",
    seed=0,
    callbacks=None,
    verbose="auto",
) -> Pruned:
    """Removes channels of a teacher in rounds, and trains what remains.

    Each round ranks the channels of the current network, removes the least
    important channels, and trains the network for some steps with the teacher's
    outputs as targets. The cost falls by the same factor in each round.

    Args:
        teacher: A functional or sequential `keras.Model` classifier. A teacher
            without a fixed image size is pruned at the size of `images`. Its
            frozen layers lose channels too, and do not recover: `prune` warns
            of them.
        images: Synthesized, real or noise images of any kind, see
            `datasets.as_stream`. Their labels are not used.
        target: Float in (0, 1), the share of the cost to remove.
        cost: `"flops"` (of convolutions and dense layers, not of the products
            within an attention), `"parameters"`, a `LatencyTable`, or a
            function from a `ChannelGraph` and the remaining channels to a
            float. Defaults to `"flops"`.
        criterion: `"taylor"` (second order in the first round, first order
            later), `"fisher"` (always second order), `"bn_scale"`,
            `"filter_norm"` or `"random"`; or a function from (a `ChannelGraph`
            of the current network, a `tf.data.Dataset` of the round's
            `ranking_batches` batches of pixels and labels, an int seed) to a
            float array, the importance of each channel, infinite if it must
            stay. Defaults to `"taylor"`.
        rounds: Int. Defaults to the fewest of which none removes more than
            15% of the cost that the round before left: 5 for a target of 0.5,
            9 for 0.75.
        steps_per_round: Int, training steps after each round but the last,
            rounded up to whole epochs. Defaults to 300.
        final_steps: Int, training steps after the last round, rounded up to
            whole epochs; 0 for none. Defaults to 3000.
        ranking_batches: Int, number of batches that rank the channels in each
            round. Defaults to 30.
        momentum: Float in [0, 1), the weight of earlier rounds in the ranking.
            Defaults to 0.9.
        multiple_of: Int. Each group of channels keeps a multiple of it; 8 suits
            most hardware. Defaults to 1.
        selection: `"ranking"`: the least important channels of the network go,
            whatever they cost. `"knapsack"`: the channels stay whose sum of
            importances is about the largest that the cost allows, for a
            `LatencyTable` best with `multiple_of=8`. Defaults to `"ranking"`.
        batch_size: Int, see `recover`. Defaults to 128.
        learning_rate: Float, see `recover`. Defaults to 0.06.
        steps_per_epoch: Int, see `recover`. Defaults to 100.
        keep_statistics: Bool, see `recover`. Defaults to False.
        temperature: Float, see `recover`. Defaults to 4.
        class_maps: Float, see `recover`. Defaults to 1.
        transforms: List of transforms of the images for both networks, drawn
            anew every step. Defaults to `augmentations()`.
        preprocessing: The teacher's `Preprocessing`, or None if the teacher is
            known by its name. Defaults to None.
        dtype: A dtype policy, see `Distillation`. Defaults to the networks' own
            policies.
        folder: Path for the state, or None. With a folder, repeating the same
            call resumes after an interruption and gives the same network.
            Defaults to None.
        run: String, a name of the images, required with `folder` if the images
            do not identify themselves. Defaults to `""`.
        seed: Int in [0, 2**31). Defaults to 0.
        callbacks: List of `keras.callbacks.Callback` for every training.
            Defaults to None.
        verbose: As in `keras.Model.fit`. Defaults to `"auto"`.

    Returns:
        A `Pruned`.

    Raises:
        FloatingPointError: if a value of the network is no longer finite.
        TypeError: if the model is subclassed, or as for `as_stream`.
        ValueError: if an argument is out of range, if the teacher is frozen, or
            as for `shrink`.

    Reference:
        - Shen et al., Hardware-Aware Latency Pruning, arXiv:2110.10811

    Example:
        ```python
        pruned = di.prune(teacher, pool, target=0.5)
        pruned.student.save("smaller.keras")
        ```
    """
    require_local(folder=folder)
    plan = Rounds(
        target=target,
        cost=_cost_function(cost),
        criterion=criterion,
        rounds=rounds_to(target) if rounds is None else rounds,
        steps_per_round=steps_per_round,
        final_steps=final_steps,
        ranking_batches=ranking_batches,
        momentum=momentum,
        multiple_of=multiple_of,
        selection=selection,
        learning_rate=learning_rate,
        seed=seed,
    )
    stream = stream_for(teacher, images, batch_size, seed)
    recovery = Recovery(
        steps_per_epoch=steps_per_epoch,
        keep_statistics=keep_statistics,
        temperature=temperature,
        class_maps=class_maps,
        transforms=augmentations() if transforms is None else transforms,
        preprocessing=Preprocessing.of(teacher, preprocessing),
        dtype=chosen_policy(dtype, folder, ("prune.npz", "recover_0.npz")),
        seed=seed,
    )
    plan = plan.in_epochs_of(recovery)
    # Costs and channels need a fixed image size; the result is open again.
    sized = _of_one_size(teacher, stream)
    parts = {**vars(plan), **vars(recovery), "batch_size": batch_size}
    parts["teacher"] = sized
    file = state_file(folder, "prune.npz", run, stream, parts)
    state = _start(sized, plan, *file)
    _run_rounds(plan, state, recovery, sized, stream, callbacks, verbose)
    student = _of_size_of(teacher, sized, state.student)
    return Pruned(student, state.history, state.keep, state.costs)


def check_removal(teacher, target, cost, rounds, trains=True):
    """Checks what `prune` is to remove, before images are made for it.

    Args:
        teacher: See `prune`. A teacher of open size is not asked whether it
            can be that small.
        target: See `prune`.
        cost: See `prune`.
        rounds: See `prune`.
        trains: Bool, whether any round has steps. Defaults to True.

    Raises:
        ValueError: as `prune`.
    """
    require_whole(rounds=rounds_to(target) if rounds is None else rounds)
    cost = _cost_function(cost)
    if None not in functional(teacher).inputs[0].shape[1:]:
        graph = ChannelGraph(teacher)
        graph.check_channels()
        require_finite_weights(teacher)
        require_reachable(graph, target, cost)
        if trains:
            check_frozen(teacher, _cut_weights(graph))


def _cost_function(cost):
    """Returns the cost function that a name or a function stands for."""
    found = COSTS.get(cost) if isinstance(cost, str) else cost
    if not callable(found):
        raise ValueError(
            f"`cost` must be one of {sorted(COSTS)}, a LatencyTable, or a "
            "function of a `ChannelGraph` and the remaining channels. "
            f"Received: cost={cost!r}"
        )
    return found


def _start(teacher, plan, path, run) -> PruningState:
    graph = ChannelGraph(teacher)
    graph.check_size()
    graph.check_channels()
    require_finite_weights(teacher)
    require_reachable(graph, plan.target, plan.cost, plan.multiple_of)
    if any(map(plan.steps, range(plan.rounds))):
        check_frozen(teacher, _cut_weights(graph))
    return PruningState(teacher, graph.count, path, run)


def _cut_weights(graph) -> list:
    """Lists the weights that training changes and that may lose channels."""
    weights = [
        getattr(axis.layer, axis.name)
        for axis in graph.axes
        if (axis.channels >= 0).any() and not axis.name.startswith("moving_")
    ]
    return list({id(weight): weight for weight in weights}.values())


def _run_rounds(plan, state, recovery, teacher, stream, callbacks, verbose):
    """Runs the remaining rounds and stores their results in `state`."""
    # A finished round has left its cost in the state.
    numbers = range(len(state.costs), plan.rounds)
    progress = TrainingProgress("Pruning", sum(map(plan.steps, numbers)))
    done = numbers.start
    tell_done_before("Pruning", done, plan.rounds, "rounds", verbose)
    for number in numbers:
        plan.remove(number, state, teacher, stream, recovery)
        # Each round draws other random numbers.
        of_round = dataclasses.replace(recovery, seed=plan.seed_of(number))
        steps = plan.steps(number)
        state_of_round = state.path and state.path.with_name(
            f"recover_{number}.npz"
        )
        history = of_round.train(
            teacher,
            state.student,
            stream,
            steps=steps,
            optimizer=recovery_optimizer(steps, plan.learning_rate),
            first_step=plan.first_step(number),
            path=state_of_round,
            run=state.run,
            callbacks=[progress, *(callbacks or [])],
            verbose=verbose,
        )
        state.end_round(history)
        # The state of the rounds has what the round's training saved.
        if state.path:
            state_of_round.unlink(missing_ok=True)


def _of_one_size(teacher, stream):
    """Returns the network, or a copy at the images' size if it is open."""
    if None not in functional(teacher).inputs[0].shape[1:]:
        return teacher
    images, _ = stream(0).element_spec[:2]
    return of_shape(teacher, tuple(images.shape[1:]))


def _of_size_of(teacher, sized, student):
    """Returns the network, with an open image size if its teacher has one."""
    given, size = (functional(x).inputs[0].shape for x in (teacher, sized))
    return student if given == size else of_shape(student, tuple(given[1:]))
