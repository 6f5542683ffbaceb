"""Pruning in rounds: the target is reached, and a kill changes nothing."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from eager import as_plain_python
from pruned import NORMALIZED
from pruned import POOL
from pruned import Killed
from pruned import images
from pruned import require_augmentations
from tiny import CLASSES
from tiny import SHAPE
from tiny import learned_teacher

from tf_deepinversion import Pool
from tf_deepinversion.models import ResNet14
from tf_deepinversion.networks.copies import copy_of
from tf_deepinversion.pruning import ChannelGraph
from tf_deepinversion.pruning import ConstantSparsity
from tf_deepinversion.pruning import LatencyTable
from tf_deepinversion.pruning import UpdatePruningStep
from tf_deepinversion.pruning import narrow
from tf_deepinversion.pruning import prune
from tf_deepinversion.pruning import prune_low_magnitude
from tf_deepinversion.pruning import recover
from tf_deepinversion.pruning import shrink
from tf_deepinversion.pruning.channels import cost
from tf_deepinversion.pruning.pruning_state import PruningState


def run(teacher=None, **kwargs):
    arguments = {
        "target": 0.5,
        "rounds": 2,
        "steps_per_round": 2,
        "final_steps": 4,
        "ranking_batches": 2,
        "preprocessing": NORMALIZED,
        "run": "pool",
        "verbose": 0,
        **kwargs,
    }
    return prune(teacher or learned_teacher(), images, **arguments)


@pytest.mark.parametrize(
    "criterion", ["taylor", "fisher", "bn_scale", "filter_norm", "random"]
)
def test_every_criterion_reaches_the_target(criterion):
    teacher = learned_teacher()
    before = teacher.get_weights()
    student, history, keep, costs = run(
        teacher, criterion=criterion, final_steps=0
    )
    graph = ChannelGraph(teacher)
    assert costs[0] <= 0.5**0.5 and costs[1] <= 0.5
    found = cost.flops(ChannelGraph(student)) / cost.flops(graph)
    assert found == costs[1]
    kept = cost.flops(graph, keep)
    assert kept == pytest.approx(found * cost.flops(graph))
    for a, b in zip(before, teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_criterion_of_one_s_own_ranks():
    given = []

    def smallest_first(graph, batches, seed):
        """Keeps all of the first layer, as far as that goes."""
        given.append((seed, len(list(batches))))
        return np.where(np.arange(graph.count) < 4, np.inf, 1.0)

    teacher = learned_teacher()
    arguments = {"target": 0.3, "final_steps": 0, "seed": 3}
    keep = run(teacher, criterion=smallest_first, **arguments).keep
    assert keep[:4].all() and not keep[4:].all()
    assert given == [(6, 2), (7, 2)]


@pytest.mark.parametrize("selection", ["ranking", "knapsack"])
@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_channels_of_infinite_importance_stay_in_all_rounds(
    selection, momentum
):
    def the_first_stay(graph, batches, seed):
        return np.r_[np.inf, np.inf, np.arange(2.0, graph.count)]

    keep = run(
        criterion=the_first_stay,
        momentum=momentum,
        selection=selection,
        rounds=3,
        steps_per_round=0,
        final_steps=0,
    ).keep
    assert keep[:2].all() and not keep.all()


def smoothed(momentum, *rankings):
    """As `prune`, round after round, without removing a channel."""
    state = PruningState(learned_teacher(), 10, path=None, run="")
    for found in rankings:
        state.importance = state.smoothed(np.array(found), momentum)
    return state.importance.tolist()


def test_rankings_are_smoothed_by_hand():
    inf = np.inf
    first, second = [1.0, 3, inf, inf], [6.0, 2, 4, inf]
    # Divided by their means, 2 and 4, over the finite numbers.
    expected = [0.25 * 0.5 + 0.75 * 1.5, 0.25 * 1.5 + 0.75 * 0.5, inf, inf]
    assert smoothed(0.25, first, second) == expected
    assert smoothed(0.0, first, second) == [1.5, 0.5, inf, inf]
    assert smoothed(0.0, second, first) == [0.5, 1.5, inf, inf]


def test_rankings_without_a_positive_mean_keep_their_order():
    inf = np.inf
    assert smoothed(0.0, [0.0, 0.0, inf]) == [0, 0, inf]
    assert smoothed(0.0, [-3.0, -1.0, inf]) == [-1.5, -0.5, inf]
    assert smoothed(0.0, [-1.0, 1.0, inf]) == [-1, 1, inf]


@pytest.mark.slow
def test_any_kind_of_images_will_do(tmp_path):
    """A pool as a function that draws from it; arrays tell what they hold."""
    arguments = {"rounds": 1, "preprocessing": NORMALIZED, "verbose": 0}
    arguments |= {"target": 0.5, "final_steps": 2, "ranking_batches": 2}
    expected = run(rounds=1, final_steps=2, batch_size=64).student
    found = prune(learned_teacher(), POOL, batch_size=8, **arguments).student
    for a, b in zip(expected.get_weights(), found.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)

    def with_arrays(pixels):
        arrays = pixels, POOL.labels
        return prune(
            learned_teacher(),
            arrays,
            batch_size=8,
            folder=tmp_path,
            **arguments,
        )

    with_arrays(POOL.images)
    with pytest.raises(ValueError, match="differs in: images, run"):
        with_arrays(POOL.images[::-1])
    with pytest.raises(ValueError, match="a run must not.*pass `run`"):
        run(folder=tmp_path, run="")


@pytest.mark.slow
def test_a_recovery_goes_on_with_the_same_images_alone(tmp_path):
    teacher = learned_teacher()

    def start(steps, pixels=POOL.images, **kwargs):
        student = shrink(teacher, np.ones(ChannelGraph(teacher).count, bool))
        student.layers[-1].kernel.assign(student.layers[-1].kernel * 0.5)
        recover(
            teacher,
            student,
            (pixels, POOL.labels),
            steps=steps,
            steps_per_epoch=1,
            batch_size=8,
            preprocessing=NORMALIZED,
            verbose=0,
            **kwargs,
        )
        return student.get_weights()

    class Kill(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise Killed

    whole = start(4)
    with pytest.raises(Killed):
        start(4, folder=tmp_path, callbacks=[Kill()])
    for a, b in zip(whole, start(4, folder=tmp_path), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="differs in: images, run"):
        start(4, POOL.images[::-1], folder=tmp_path)
    with pytest.raises(ValueError, match="differs in: steps"):
        start(5, folder=tmp_path)


def recovered(student, folder, **kwargs):
    """The weights of a student after two steps in a folder."""
    recover(
        learned_teacher(),
        student,
        images,
        steps=2,
        steps_per_epoch=1,
        preprocessing=NORMALIZED,
        run="pool",
        folder=folder,
        verbose=0,
        **kwargs,
    )
    return student.get_weights()


@pytest.mark.parametrize(
    ("others", "pattern"), [((0.8, 0), {}), ((0.5, 0), {"block_size": (2, 1)})]
)
def test_a_recovery_of_other_masks_is_another_run(
    tmp_path, eagerly, others, pattern
):
    def start(schedule, **kwargs):
        student = learned_teacher()
        prune_low_magnitude(student, ConstantSparsity(*schedule), **kwargs)
        updates = [UpdatePruningStep(student)]
        return recovered(student, tmp_path, callbacks=updates)

    first = start((0.5, 0))
    for a, b in zip(first, start((0.5, 0)), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="differs in: masks"):
        start(others, **pattern)


def test_an_optimizer_may_come_again(tmp_path, eagerly):
    teacher, optimizer = learned_teacher(), keras.optimizers.SGD(0.01)

    def start(folder):
        student = shrink(teacher, np.ones(ChannelGraph(teacher).count, bool))
        return recovered(student, folder, optimizer=optimizer)

    optimizer.build(learned_teacher(1).trainable_variables)
    first = start(tmp_path / "a")
    for folder in "ab":
        for x, y in zip(first, start(tmp_path / folder), strict=True):
            np.testing.assert_array_equal(x, y)


def test_a_cost_of_one_s_own_takes_a_graph_and_channels():
    counted = []

    def channels(graph, keep):
        counted.append(int(keep.sum()))
        return float(keep.sum())

    graph = ChannelGraph(learned_teacher())
    result = run(
        cost=channels, rounds=1, final_steps=0, criterion="filter_norm"
    )
    assert counted[0] == graph.count
    assert result.keep.sum() <= 0.5 * graph.count
    assert result.costs[-1] == result.keep.sum() / graph.count


def test_networks_of_open_size_and_with_a_base_within_are_pruned():
    inner = learned_teacher()
    inputs = keras.Input((None, None, 1))
    base = keras.Model(
        inputs,
        inner.layers[3](inner.layers[2](inner.layers[1](inputs))),
        name="base",
    )
    x = keras.layers.GlobalAveragePooling2D()(base(inputs, training=False))
    teacher = keras.Model(inputs, keras.layers.Dense(CLASSES)(x))
    student, history, keep, costs = run(teacher, rounds=1, final_steps=1)
    assert student.input_shape == (None, None, None, 1)
    assert costs[0] <= 0.5
    assert student.get_layer("base").layers[1].filters < 4
    assert student(POOL.images[:2, :6].astype("float32")).shape == (2, CLASSES)


def not_ranked(graph, batches, seed):
    raise AssertionError("Ranked before the network was refused.")


def test_a_frozen_teacher_is_refused_at_once():
    teacher = learned_teacher()
    teacher.trainable = False
    kwargs = {"rounds": 1, "criterion": not_ranked}
    with pytest.raises(ValueError, match="`model.trainable = True`.*Received"):
        run(teacher, **kwargs)
    kwargs["criterion"] = "filter_norm"
    assert run(teacher, final_steps=0, **kwargs).costs[0] <= 0.5


def test_frozen_weights_that_lose_channels_are_warned_of():
    teacher = learned_teacher()
    teacher.get_layer("bn0").trainable = False
    teacher.layers[1].trainable = False
    kwargs = {"rounds": 2, "steps_per_round": 1, "final_steps": 1}
    kwargs |= {"criterion": "filter_norm"}
    with pytest.warns(UserWarning) as warned:
        run(teacher, **kwargs)
    (found,) = [x for x in warned if "that pruning changes" in str(x.message)]
    # Of each convolution the kernel, bias, gamma and beta; the head's kernel.
    assert "4 of the 9 weights" in str(found.message)
    assert "bn0/gamma" in str(found.message) and found.filename == __file__


def test_without_recovery_it_is_the_shrunken_teacher():
    teacher = learned_teacher()
    student, history, keep, costs = run(teacher, rounds=1, final_steps=0)
    twin = shrink(teacher, keep)
    z = NORMALIZED.normalize(POOL.images)
    np.testing.assert_array_equal(student(z), twin(z))
    assert history == {}


def test_no_round_of_the_default_removes_too_much(tmp_path, capsys):
    kwargs = {"criterion": "filter_norm", "steps_per_round": 0}
    kwargs |= {"rounds": None, "final_steps": 0, "folder": tmp_path}
    costs = run(target=0.5, **kwargs).costs
    # Each leaves what the sixth, at 85 % a round, would not.
    limits = 0.5 ** (np.arange(1, 6) / 5)
    assert len(costs) == 5 and (np.asarray(costs) <= limits).all()
    # An earlier run has done all of it.
    assert run(target=0.5, **kwargs, verbose=2).costs == costs
    told = capsys.readouterr().out
    assert told == "Pruning: 5 of 5 rounds done before\n"


def test_recovery_brings_the_answers_nearer():
    teacher = learned_teacher()
    student, history, keep, costs = run(teacher, rounds=1, final_steps=0)
    loss = recover(
        teacher,
        student,
        images,
        steps=60,
        steps_per_epoch=20,
        learning_rate=0.05,
        preprocessing=NORMALIZED,
    )["loss"]
    assert len(loss) == 3 and loss[-1] < 0.7 * loss[0]


def test_statistics_can_be_kept():
    teacher = learned_teacher()
    student = shrink(teacher, np.ones(ChannelGraph(teacher).count, bool))
    bn = student.get_layer("bn0")
    before = [w.numpy() for w in bn.weights]
    kernel = student.layers[1].kernel.numpy()
    kwargs = {"steps": 2, "preprocessing": NORMALIZED}
    optimizer = keras.optimizers.SGD(0.1)
    student.layers[-1].kernel.assign(student.layers[-1].kernel * 0.5)
    recover(
        teacher,
        student,
        images,
        keep_statistics=True,
        optimizer=optimizer,
        **kwargs,
    )
    for a, b in zip(before, bn.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    assert (student.layers[1].kernel.numpy() != kernel).any()
    assert bn.trainable
    recover(teacher, student, images, **kwargs)
    assert (before[2] != bn.moving_mean.numpy()).all()


@pytest.mark.slow
def test_a_latency_table_is_a_cost(eagerly):
    teacher = learned_teacher()
    graph = ChannelGraph(teacher)
    table = LatencyTable.measure(graph, timer=lambda call: float(call().size))
    student, history, keep, costs = run(teacher, cost=table, final_steps=0)
    assert table(graph, keep) <= 0.5 * table(graph)


def test_a_knapsack_keeps_more_importance_at_equal_cost():
    """Of the 4 channels of the first layer and the 6 of the second."""
    scores = [8.0, 7, 6, 5, 4, 4, 4, 4, 4, 4]

    def seconds(graph, keep=None):
        keep = np.ones(graph.count, bool) if keep is None else keep
        # The first layer computes in blocks of 2 channels, the second in 3.
        return 10 * np.ceil(keep[:4].sum() / 2) + 5 * np.ceil(
            keep[4:].sum() / 3
        )

    def kept(selection):
        keep = run(
            learned_teacher(),
            target=0.5,
            cost=seconds,
            criterion=lambda graph, batches, seed: scores,
            selection=selection,
            rounds=1,
            final_steps=0,
        ).keep
        return keep[:4].tolist(), keep[4:].sum()

    assert kept("ranking") == ([True, True, False, False], 1)
    assert kept("knapsack") == ([True, True, False, False], 3)


IN_PARTS = {"steps_per_round": 4, "final_steps": 4, "steps_per_epoch": 2}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    with as_plain_python():
        return run(folder=tmp_path_factory.mktemp("whole"), **IN_PARTS)


@pytest.mark.parametrize("kill_at", [2, 3])  # of four epochs, two a round
def test_killed_and_resumed_it_ends_the_same(whole, tmp_path, kill_at, eagerly):
    class Kill(keras.callbacks.Callback):
        epochs = 0

        def on_epoch_begin(self, epoch, logs=None):
            Kill.epochs += 1
            if Kill.epochs == kill_at:
                raise Killed

    with pytest.raises(Killed):
        run(folder=tmp_path, callbacks=[Kill()], **IN_PARTS)
    resumed, again, keep, costs = run(folder=tmp_path, **IN_PARTS)
    student, history, *others = whole
    for a, b in zip(student.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert others[1] == costs
    assert again == history and len(history["loss"]) == 4
    np.testing.assert_array_equal(others[0], keep)


def test_the_folder_of_another_run_is_refused(tmp_path):
    run(folder=tmp_path, final_steps=0, steps_per_round=0)
    with pytest.raises(ValueError, match="another run"):
        run(folder=tmp_path, final_steps=0, steps_per_round=0, seed=1)


def a_recovery(**kwargs):
    student = shrink(
        learned_teacher(), np.ones(ChannelGraph(learned_teacher()).count, bool)
    )
    recovered(student, **kwargs)


def a_pruning(**kwargs):
    run(rounds=1, final_steps=1, criterion="filter_norm", **kwargs)


@pytest.mark.parametrize("train", [a_pruning, a_recovery])
def test_images_are_varied_as_for_a_student(tmp_path, train):
    require_augmentations(train, tmp_path)


@pytest.mark.slow
def test_widths_are_multiples():
    teacher = ResNet14((8, 8, 1), CLASSES, width=8)
    student = run(
        teacher, multiple_of=4, rounds=1, final_steps=0, preprocessing=None
    ).student
    groups = np.bincount(ChannelGraph(student).groups)
    assert (groups % 4 == 0).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target": 1.0}, "target=1.0"),
        ({"target": 0}, "target=0"),
        ({"criterion": "luck"}, "criterion='luck'"),
        ({"rounds": 0}, "rounds=0"),
        ({"ranking_batches": 1.5}, "ranking_batches=1.5"),
        ({"momentum": 1.0}, "momentum=1.0"),
        ({"selection": "best"}, "selection='best'"),
        (
            {"target": 0.999, "rounds": 1, "selection": "knapsack"},
            "cannot be reached",
        ),
        ({"steps_per_round": -2}, "steps_per_round=-2"),
        ({"final_steps": 4.0}, "final_steps=4.0"),
        ({"learning_rate": float("nan")}, "learning_rate=nan"),
        ({"cost": "weight"}, "cost='weight'"),
        ({"cost": lambda graph, keep: 0.0}, "positive, finite.*Received: 0.0"),
        ({"cost": lambda graph, keep: np.nan}, "finite number.*Received: nan"),
        (
            {"cost": lambda graph, keep: 1.0 if keep.all() else np.nan},
            "finite number.*Received: nan",
        ),
        ({"target": "half"}, "0.5 halves the cost.*target=half"),
        ({"criterion": lambda graph, *_: [1.0]}, "scores.*shape .1,."),
        ({"criterion": lambda graph, *_: ["much"] * 10}, "return 10 numbers"),
        ({"criterion": lambda graph, *_: [[1.0], []]}, "return 10 numbers"),
        (
            {"criterion": lambda graph, *_: np.full(graph.count, -np.inf)},
            "with 10 NaN or -infinity",
        ),
        ({"target": 0.999, "rounds": 1}, "cannot be reached"),
        ({"target": 1.0, "rounds": None}, "between 0 and 1: .*target=1.0"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        run(**arguments)


def test_the_largest_seeds_are_seeds():
    # Rounds have seeds of their own, which must not leave the range.
    assert run(seed=2**31 - 1, rounds=3, target=0.6).keep.sum() < 10


@pytest.mark.parametrize("criterion", ["filter_norm", "bn_scale", "random"])
def test_weights_that_are_not_finite_are_refused_without_training(criterion):
    teacher = learned_teacher()
    kernel = teacher.layers[1].kernel
    kernel.assign(kernel * np.nan)
    nothing = {"rounds": 1, "final_steps": 0, "steps_per_round": 0}
    with pytest.raises(ValueError, match="not finite.*kernel"):
        run(teacher, criterion=criterion, **nothing)
    with pytest.raises(ValueError, match="not finite.*kernel"):
        narrow(teacher, images, criterion=criterion, preprocessing=NORMALIZED)


def test_only_the_state_of_all_rounds_is_left(tmp_path):
    run(folder=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["prune.npz"]
    # What the error tells to delete is all that there is to delete.
    with pytest.raises(ValueError, match="prune.npz .*differs in: .*seed"):
        run(folder=tmp_path, seed=1)
    (tmp_path / "prune.npz").unlink()
    run(folder=tmp_path, seed=1)


def test_images_of_an_empty_pool_are_refused():
    with pytest.raises(ValueError, match="no images.*a pool without images"):
        prune(
            learned_teacher(),
            Pool(10, SHAPE, CLASSES),
            target=0.5,
            preprocessing=NORMALIZED,
        )


def test_an_optimizer_has_a_name():
    teacher = learned_teacher()
    students = [copy_of(teacher) for _ in range(2)]
    for student, optimizer in zip(
        students, ("adam", keras.optimizers.Adam()), strict=True
    ):
        recover(
            teacher,
            student,
            images,
            steps=2,
            optimizer=optimizer,
            preprocessing=NORMALIZED,
            verbose=0,
        )
    for one, other in zip(*(x.get_weights() for x in students), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "keep", [np.linspace(0.1, 1, 10), list(range(10)), ["a"] * 10]
)
def test_channels_that_stay_are_booleans(keep):
    with pytest.raises(ValueError, match="one bool for each of 10 channels"):
        shrink(learned_teacher(), keep)


def test_a_cost_of_nothing_is_refused_before_any_ranking():
    ranked = []
    with pytest.raises(ValueError, match="positive, finite.*Received: 0"):
        run(cost=lambda *_: 0, criterion=lambda *given: ranked.append(given))
    assert not ranked


def test_a_target_that_no_network_reaches_is_refused_at_once(tmp_path):
    teacher = learned_teacher()
    graph = ChannelGraph(teacher)
    one_each = np.zeros(graph.count, bool)
    one_each[np.unique(graph.groups, return_index=True)[1]] = True
    least = cost.flops(graph, one_each) / cost.flops(graph)
    # The first of the two rounds could leave the square root.
    with pytest.raises(
        ValueError, match=f"costs {least:.1%} of the network"
    ) as told:
        run(teacher, target=1 - 0.99 * least, folder=tmp_path)
    assert not list(tmp_path.iterdir())
    found = run(teacher, target=1 - 1.01 * least, folder=tmp_path / "least")
    assert found.costs[-1] == pytest.approx(least)
    most = float(re.search("at most ([0-9.]+). Received", str(told.value))[1])
    assert run(teacher, target=most).costs[-1] <= 1 - most
    with pytest.raises(ValueError, match="cannot be reached"):
        run(teacher, target=most + 0.01)


def test_the_narrowest_need_not_be_the_cheapest_by_a_cost_of_one_s_own():
    def first_is_dear(graph, keep):
        return cost.flops(graph, keep) * (1 + 9 * keep[0])

    teacher = learned_teacher()
    whole = first_is_dear(ChannelGraph(teacher), np.ones(10, bool))
    narrow = first_is_dear(
        ChannelGraph(teacher), np.isin(np.arange(10), [0, 4])
    )
    assert narrow > 0.09 * whole
    found = run(
        teacher,
        target=0.91,
        rounds=1,
        final_steps=0,
        cost=first_is_dear,
        criterion=lambda graph, *_: np.arange(graph.count) + 1.0,
    )
    assert found.costs[0] <= 0.09 and not found.keep[0]


def test_no_batches():
    empty = tf.data.Dataset.from_tensor_slices(
        (np.zeros((0, *SHAPE), "uint8"), np.zeros(0, "int32"))
    ).batch(2)
    with pytest.raises(ValueError, match="no batches"):
        prune(
            learned_teacher(),
            lambda step: empty,
            target=0.5,
            preprocessing=NORMALIZED,
        )
