"""Pruning in rounds: rank, remove, recover; a smaller network each round."""

import pathlib

import keras
import numpy as np

from tf_deepinversion.core import run_state
from tf_deepinversion.core.checks import require_positive
from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.networks.copies import copy_of
from tf_deepinversion.networks.preprocessing import Preprocessing
from tf_deepinversion.pruning.channels import importance
from tf_deepinversion.pruning.channels._shrink import shrink
from tf_deepinversion.pruning.channels.cost import COSTS
from tf_deepinversion.pruning.channels.cost import savings
from tf_deepinversion.pruning.channels.graph import ChannelGraph
from tf_deepinversion.pruning.channels.graph import functional
from tf_deepinversion.pruning.channels.importance import GateImportance
from tf_deepinversion.pruning.channels.selection import select
from tf_deepinversion.pruning.channels.selection import with_cost
from tf_deepinversion.pruning.recovery import recover
from tf_deepinversion.pruning.recovery import recovery_optimizer
from tf_deepinversion.pruning.recovery import require_stream

CRITERIA = ("taylor", "fisher", "bn_scale", "filter_norm", "random")


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
    batches=30,
    momentum=0.9,
    multiple_of=1,
    eta=0.0,
    learning_rate=0.02,
    preprocessing=None,
    temperature=4.0,
    folder=None,
    run="",
    seed=0,
    verbose=0,
    **kwargs,
):
    """Makes a smaller network that answers as its teacher, in rounds.

    Each round ranks the channels of the network as it then is, removes the
    least important ones and trains what is left for some steps. The cost falls
    from round to round by the same factor.

    Args:
        teacher: A functional or sequential `keras.Model` classifier. One that
            takes images of any size is pruned at the size of `images`.
        images: Function from a step to a `tf.data.Dataset` of batches of
            `(image, label)` in pixels, such as `lambda step:
            pool.dataset(128, 0, step)`: synthesised, real or noise. The labels
            are not looked at.
        target: Float in (0, 1), the share of the cost that is to go.
        cost: `"flops"`, `"parameters"`, or a `LatencyTable`.
        criterion: `"taylor"` (of second order in the first round, then of
            first), `"fisher"` (always of second), `"bn_scale"`,
            `"filter_norm"` or `"random"`.
        rounds: Int.
        steps_per_round: Int, of training after each round but the last.
        final_steps: Int, of training after the last; 0 for none.
        batches: Int, by which channels are ranked.
        momentum: Float in [0, 1), how much of the former rounds' ranking stays.
        multiple_of: Int, of the channels that are left in each group; 8 suits
            most hardware.
        eta: Float, the weight of the hardware-aware term, see `with_cost`.
        learning_rate: Float, the peak.
        preprocessing: The teacher's `Preprocessing`; None if known by name.
        temperature: Float, of the distillation.
        folder: Path for the state, or None. The same call goes on from there,
            after any interruption, to the same network.
        run: String that tells the images, where there is a folder.
        seed: Int.
        verbose: As in Keras.
        **kwargs: Of `recover`.

    Returns:
        A pair: the smaller network, and a dict: `keep`, which of the teacher's
        channels stayed; `costs`, the share of the cost after each round; and
        `loss`, of the recovery.

    Raises:
        FloatingPointError: as for `recover`.
        TypeError: if the model is subclassed, or `images` no function.
        ValueError: if an argument is out of range, or as for `shrink`.
    """
    _check(target, criterion, rounds, batches, momentum, eta, multiple_of)
    require_whole(0, steps_per_round=steps_per_round, final_steps=final_steps)
    require_positive(learning_rate=learning_rate)
    require_stream(images)
    preprocessing = Preprocessing.of(teacher, preprocessing)
    count = COSTS.get(cost) if isinstance(cost, str) else cost
    if not callable(count):
        raise ValueError(
            f"`cost` must be one of {sorted(COSTS)} or a LatencyTable. "
            f"Received: cost={cost!r}"
        )
    given = functional(teacher).inputs[0].shape
    if None in given[1:]:
        spec = keras.tree.flatten(images(0).element_spec)[0]
        size = (None, *spec.shape[1:])
        teacher = _of_shape(teacher, given, size)
    whole = ChannelGraph(teacher)
    whole.check_size()
    identity = run_state.fingerprint(
        {
            "numbers": [target, rounds, steps_per_round, final_steps, batches],
            "ranking": [criterion, momentum, multiple_of, eta, seed, run],
            "cost": cost if isinstance(cost, str) else cost.entries,
            "training": [learning_rate, temperature],
            "preprocessing": preprocessing,
            "recovery": {k: v for k, v in kwargs.items() if k != "callbacks"},
            "teacher": teacher,
        }
    )
    folder = folder and pathlib.Path(folder)
    state = _State(teacher, whole, folder and folder / "prune.npz", identity)
    step = len(state.costs) * (batches + steps_per_round)
    full = count(whole)
    for number in range(len(state.costs), rounds):
        graph = ChannelGraph(state.student)
        found = _rank(
            graph,
            criterion if number or criterion != "taylor" else "fisher",
            lambda g=graph: GateImportance(
                g, teacher, preprocessing, temperature
            ),
            images(step).take(batches),
            seed=seed * rounds + number,
        )
        smoothed = scores = state.smooth(found, momentum)
        if eta:
            saved = savings(graph, count, step=multiple_of)
            scores = with_cost(smoothed, saved, eta)
        limit = full * (1 - target) ** ((number + 1) / rounds)
        stays = select(graph, scores, count, limit, multiple_of=multiple_of)
        state.remove(stays, smoothed, count(graph, stays) / full)
        last = number == rounds - 1
        steps = final_steps if last else steps_per_round
        step += batches
        if steps:
            history = recover(
                teacher,
                state.student,
                images,
                steps=steps,
                first_step=step,
                optimizer=recovery_optimizer(steps, learning_rate),
                path=folder and folder / f"recover_{number}.npz",
                run=identity,
                verbose=verbose,
                preprocessing=preprocessing,
                temperature=temperature,
                seed=seed * rounds + number,
                **kwargs,
            )
            state.losses += history["loss"]
        step += steps
        state.save()
    student = state.student
    if None in given[1:]:
        student = _of_shape(student, size, given)
    return student, {
        "keep": state.keep,
        "costs": state.costs,
        "loss": state.losses,
    }


def _of_shape(model, old, new):
    """A copy for images of another shape, in models within the model too."""
    return copy_of(
        model, input_shape=lambda x: new if x.shape == old else x.shape
    )


def _check(target, criterion, rounds, batches, momentum, eta, multiple_of):
    if not 0 < target < 1:
        raise ValueError(
            "`target` is the share of the cost that is to go, between 0 and "
            f"1: 0.5 halves it. Received: target={target}"
        )
    if criterion not in CRITERIA:
        raise ValueError(
            f"`criterion` must be one of {CRITERIA}. "
            f"Received: criterion={criterion!r}"
        )
    require_whole(rounds=rounds, batches=batches, multiple_of=multiple_of)
    if not 0 <= momentum < 1:
        raise ValueError(
            f"`momentum` must lie in [0, 1). Received: momentum={momentum}"
        )
    if not eta >= 0:
        raise ValueError(f"`eta` must be 0 or more. Received: eta={eta}")


def _rank(graph, criterion, gates, batches, seed):
    """The importance of each channel of the network as it now is."""
    if criterion == "random":
        return importance.random_importance(graph, seed)
    if criterion == "filter_norm":
        return importance.filter_norm(graph)
    if criterion == "bn_scale":
        return importance.batch_norm_scale(graph)
    if criterion == "fisher":
        return gates().second_order(batches, seed)
    return gates().first_order(batches)


class _State:
    """The network between two rounds, and how it came to be; kept in a file.

    Args:
        teacher: The network as it was.
        graph: Its `ChannelGraph`.
        path: Path, or None.
        run: String that tells this run from others.
    """

    def __init__(self, teacher, graph, path, run):
        self._teacher, self._path, self._run = teacher, path, run
        self.keep = np.ones(graph.count, bool)
        self.importance, self.costs, self.losses = None, [], []
        saved = run_state.load(path, run) if path else None
        if saved:
            self.keep, self.importance = saved["keep"], saved["importance"]
            self.costs = saved["costs"].tolist()
            self.losses = saved["losses"].tolist()
        self.student = shrink(teacher, self.keep)
        if saved:
            self.student.set_weights(
                [saved[f"weight_{i}"] for i in range(len(teacher.weights))]
            )

    def smooth(self, found, momentum):
        """The running mean of rankings, each divided by its own mean."""
        finite = found[np.isfinite(found)]
        found = found / (finite.mean() if finite.any() else 1.0)
        if self.importance is None:
            return found
        return momentum * self.importance + (1 - momentum) * found

    def remove(self, stays, importance, cost):
        self.student = shrink(self.student, stays)
        self.keep[np.flatnonzero(self.keep)[~stays]] = False
        self.importance = importance[stays]
        self.costs.append(cost)

    def save(self):
        if self._path:
            weights = self.student.get_weights()
            arrays = {f"weight_{i}": w for i, w in enumerate(weights)}
            run_state.save(
                self._path,
                {
                    **arrays,
                    "keep": self.keep,
                    "importance": self.importance,
                    "costs": np.array(self.costs),
                    "losses": np.array(self.losses),
                },
                self._run,
            )
