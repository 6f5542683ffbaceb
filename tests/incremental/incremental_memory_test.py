"""What is replayed of classes that were learned long ago."""

import keras
import numpy as np
import pytest
from inversions import NORMALIZED
from modern import modern
from tiny import SHAPE
from tiny import tiny_teacher

import tf_deepinversion as di
from tf_deepinversion import Pool
from tf_deepinversion.incremental import Memory
from tf_deepinversion.incremental import method
from tf_deepinversion.incremental.replay_memory import balanced
from tf_deepinversion.incremental.replay_memory import equally_many


def remembered(memory, classes, seed=0):
    pool = memory(None, classes, None, seed)
    return pool.images, pool.labels


def of_generation(number, per_class):
    """Images whose every pixel says when, and of which class, they are."""

    def synthesize(model, classes, folder, seed):
        labels = np.repeat(classes, per_class)
        pixels = np.uint8(100 * number + labels)[:, None, None, None]
        return Pool.of(np.broadcast_to(pixels, (len(labels), 2, 2, 1)), labels)

    return synthesize


def test_every_class_is_of_the_first_network_that_knew_it():
    generations = iter([of_generation(0, 5), of_generation(1, 3)])
    memory = Memory(lambda *args: next(generations)(*args))
    images, labels = remembered(memory, [0, 1], 0)
    assert labels.tolist() == [0] * 5 + [1] * 5
    images, labels = remembered(memory, [0, 1, 2, 3], 1)
    # As many of each class as there are of the rarest.
    assert labels.tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    np.testing.assert_array_equal(
        images[:, 0, 0, 0], [0] * 3 + [1] * 3 + [102] * 3 + [103] * 3
    )


def test_without_new_classes_no_image_is_made():
    generations = iter([of_generation(0, 5)])
    memory = Memory(lambda *args: next(generations)(*args))
    first = remembered(memory, [0, 1], 0)
    for one, other in zip(first, remembered(memory, [0, 1], 1), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_pool_is_remembered_and_nothing_else():
    pool = Pool(4, (2, 2, 1), 2)
    pool.add(np.zeros((4, 2, 2, 1), "uint8"), np.array([1, 0, 1, 1]))
    images, labels = remembered(Memory(lambda *_: pool), [0, 1])
    assert images.shape == (2, 2, 2, 1) and labels.tolist() == [0, 1]
    for made in ((pool.images, pool.labels), pool.dataset(2), lambda step: 0):
        with pytest.raises(
            TypeError, match="return a `Pool`.*Received: <class"
        ):
            Memory(lambda *_, made=made: made)(None, [0, 1], None, 0)


def test_the_labels_of_images_and_not_the_wish_say_what_they_are_of():
    """Asked for 2 and 3, the network took three of four for others."""
    generations = iter([[0, 1, 0, 1], [2, 1, 3, 0]])

    def synthesize(model, classes, folder, seed):
        labels = np.array(next(generations))
        pixels = np.uint8(10 * (classes[0] + 1) + labels)
        return Pool.of(
            np.broadcast_to(pixels[:, None, None, None], (4, 2, 2, 1)), labels
        )

    memory = Memory(synthesize)
    memory(None, [0, 1], None, 0)
    images, labels = remembered(memory, [0, 1, 2, 3], 1)
    assert labels.tolist() == [0, 1, 2, 3]
    # Those of 0 and 1 are of the first network, whatever the second makes.
    assert images[:, 0, 0, 0].tolist() == [10, 11, 32, 33]


def test_a_class_that_is_rare_is_repeated_and_the_others_stay():
    labels = np.array([0] * 8 + [1] * 9 + [2])
    images, chosen = equally_many(np.arange(18), labels, [0, 1, 2])
    assert images.tolist() == [0, 1, 2, 8, 9, 10, 17, 17, 17]
    assert chosen.tolist() == [0] * 3 + [1] * 3 + [2] * 3
    pool = Pool(18, (1, 1, 1), 3)
    pool.add(np.zeros((18, 1, 1, 1), "uint8"), labels)
    assert balanced(pool, [0, 1, 2]).labels.tolist() == chosen.tolist()


def test_a_pool_that_is_balanced_stays():
    pool = Pool(5, (2, 2, 1), 3)
    pool.add(np.zeros((5, 2, 2, 1), "uint8"), [1, 0, 2, 0, 1])
    assert balanced(pool, [0, 1, 2]) is pool
    assert balanced(pool, [0, 1]) is not pool


def test_a_class_that_the_network_sees_in_no_image_is_asked_for_again():
    """Its place is not taken by images that are not of it."""
    asked, answers = [], iter([[0, 0, 0], [1, 2, 2]])

    def synthesize(model, classes, folder, seed):
        asked.append(classes)
        pool = Pool(3, (2, 2, 1), 3)
        requested = np.resize(classes, 3)
        made = np.full((3, 2, 2, 1), len(asked), "uint8")
        pool.add(made, next(answers), requested=requested)
        return pool

    memory = Memory(synthesize)
    with pytest.warns(UserWarning, match=r"none.*classes \[1\].*not replayed"):
        images, labels = remembered(memory, [0, 1], 0)
    assert labels.tolist() == [0, 0, 0]
    images, labels = remembered(memory, [0, 1, 2], 1)
    assert asked == [[0, 1], [1, 2]]
    assert labels.tolist() == [0, 1, 2]
    assert images[:, 0, 0, 0].tolist() == [1, 2, 2]


def test_a_class_without_images_is_named():
    later = Memory(lambda *_: of_generation(0, 1)(None, [0, 1], None, 0))
    with pytest.raises(ValueError, match=r"4 images, without classes \[2\]"):
        Memory(
            lambda *_: Pool.of(np.zeros((4, 2, 2, 1), "uint8"), [0, 1, 0, 1])
        )(None, [0, 1, 2], None, 0)
    with pytest.raises(ValueError, match=r"without classes \[2, 3\]"):
        later(None, [0, 1, 2, 3], None, 0)


def test_a_label_out_of_range_is_refused_and_not_dropped():
    pool = Pool(4, (2, 2, 1), 4)
    pool.add(np.zeros((4, 2, 2, 1), "uint8"), np.array([0, 1, 2, 3]))
    with pytest.raises(ValueError, match="labels.*3"):
        Memory(lambda *_: pool)(None, [0, 1, 2], None, 0)


def test_what_was_measured_is_what_the_newest_classes_are_made_of():
    asked = []

    def synthesize(model, classes, folder, seed):
        asked.append((model, classes))
        return of_generation(0, 1)(model, classes, folder, seed)

    memory, models = Memory(synthesize), [tiny_teacher(), tiny_teacher()]
    memory(models[0], [0, 1], None, 0)
    images = np.random.default_rng(0).integers(0, 256, (9, *SHAPE), "uint8")
    labels = np.full(9, 2)
    memory.measure(models[1], images, labels, NORMALIZED)
    memory(models[1], [0, 1, 2], None, 0)
    assert asked[0] == (models[0], [0, 1]) and asked[1][1] == [2]
    z = (images - NORMALIZED.mean) / NORMALIZED.std
    convolved = models[1].layers[1](z.astype("float32")).numpy()
    np.testing.assert_allclose(
        asked[1][0].get_layer("bn0").moving_mean,
        convolved.mean((0, 1, 2)),
        rtol=1e-4,
        atol=1e-5,
    )
    # Measurements of one network say nothing of another.
    memory(models[0], [0, 1, 2, 3], None, 0)
    assert asked[2] == (models[0], [3])


def tasks_of_two():
    random = np.random.default_rng(1)
    return [
        (random.integers(0, 256, (12, *SHAPE), "uint8"), np.array(labels))
        for labels in ([3, 4] * 6, [5, 6] * 6)
    ]


def learned_with_targets(name="replay", **kwargs):
    """Returns what `synthesize` was asked for, of a network without BN."""
    network, asked = modern(), []
    given = np.random.default_rng(0).integers(0, 256, (20, *SHAPE), "uint8")
    targets = di.FeatureTargets.measure(network, given, ["tokens"], NORMALIZED)

    def synthesize(model, classes, folder, seed, targets):
        asked.append((model, classes, targets))
        labels = np.array(classes)
        return Pool.of(given[: len(labels)], labels)

    learned = di.learn_tasks(
        kwargs.pop("model", network),
        tasks_of_two(),
        method(name),
        synthesize=synthesize,
        targets=targets,
        epochs=1,
        batch_size=12,
        replay_batch_size=6,
        preprocessing=NORMALIZED,
        verbose=0,
        **kwargs,
    )
    return targets, asked, learned


@pytest.mark.slow
def test_targets_of_later_networks_are_measured_on_their_tasks():
    targets, (first, second), learned = learned_with_targets()
    assert first[1:] == ([0, 1, 2], targets)
    model, classes, later = second
    assert classes == [3, 4] and later.images == 12
    later.require_network(model)
    images = tasks_of_two()[0][0]
    before = keras.Model(model.inputs, model.get_layer("tokens").input)
    tokens = before(NORMALIZED.normalize(images)).numpy().reshape(-1, 6)
    (one,) = later.statistics
    np.testing.assert_allclose(one.moving_mean, tokens.mean(0), atol=1e-6)
    np.testing.assert_allclose(one.moving_variance, tokens.var(0), rtol=1e-5)
    # Five classes have an image of 64 bytes; six channels, two statistics.
    assert learned.kept_bytes == 5 * 64 + 2 * 4 * 6


def test_targets_that_nothing_would_use_are_refused(eagerly):
    with pytest.raises(ValueError, match="of another network"):
        learned_with_targets(model=modern(1))
    with pytest.raises(ValueError, match="no term replays"):
        learned_with_targets("lwf")
    with pytest.raises(ValueError, match="`measure=False` or `targets`"):
        learned_with_targets(measure=False)


def targets_of_classes(network, images, labels):
    return [
        di.FeatureTargets.measure(
            network, images[labels == c], None, NORMALIZED
        )
        for c in np.unique(labels)
    ]


def learned_by_class(labels_of_task=10, **kwargs):
    """Returns what `synthesize` was asked for, class by class."""
    network, asked = tiny_teacher(), []
    random = np.random.default_rng(0)
    given = random.integers(0, 256, (30, *SHAPE), "uint8")
    targets = targets_of_classes(network, given, np.arange(30) % 3)

    def synthesize(model, classes, folder, seed, targets):
        asked.append((model, classes, folder, seed, targets))
        shown = np.full(2, kwargs.get("shown", classes[0]))
        pool = Pool(2, SHAPE, 7)
        pool.add(given[:2], shown, requested=np.repeat(classes, 2))
        return pool

    tasks = [
        (
            random.integers(0, 256, (2 * labels_of_task, *SHAPE), "uint8"),
            np.repeat(labels, labels_of_task),
        )
        for labels in ([3, 4], [5, 6])
    ]
    learned = di.learn_tasks(
        network,
        tasks,
        method("abd"),
        synthesize=synthesize,
        targets=kwargs.get("targets", targets),
        epochs=1,
        batch_size=12,
        replay_batch_size=6,
        preprocessing=NORMALIZED,
        folder=kwargs.get("folder"),
        verbose=0,
    )
    return targets, tasks, asked, learned


def test_each_class_is_made_by_the_statistics_of_its_own_images(
    tmp_path, eagerly
):
    targets, tasks, asked, learned = learned_by_class(folder=tmp_path)
    assert [classes for _, classes, *_ in asked] == [[0], [1], [2], [3], [4]]
    assert [one[4] for one in asked[:3]] == targets
    assert asked[1][2] == tmp_path / "task_1" / "class_1"
    assert len({one[3] for one in asked[:3]}) == 3  # seeds
    images, labels = tasks[0]
    for model, (label,), _, _, later in asked[3:]:
        own = images[labels == label]
        z = ((own - NORMALIZED.mean) / NORMALIZED.std).astype("float32")
        convolved = model.layers[1](z).numpy()
        first = later.statistics[0]
        np.testing.assert_allclose(
            first.moving_mean, convolved.mean((0, 1, 2)), rtol=1e-4, atol=1e-5
        )
        np.testing.assert_allclose(
            first.moving_variance, convolved.var((0, 1, 2)), rtol=1e-4
        )
    channels = sum(len(one.moving_mean) for one in targets[0].statistics)
    pixels = int(np.prod(SHAPE))
    # Two images of each of five classes, and the statistics of two classes.
    assert learned.kept_bytes == 10 * pixels + 2 * 2 * 4 * channels


@pytest.mark.slow
def test_a_class_that_was_not_recognized_is_not_requested_from_others():
    """Its statistics are of the network that it was synthesized from."""
    with pytest.warns(UserWarning, match=r"classes \[1, 2\].*not replayed"):
        *_, asked, _ = learned_by_class(shown=0)
    assert [one[1] for one in asked[3:]] == [[3], [4]]


def test_pools_of_arrays_know_few_classes():
    """`Pool.of(images, labels)` has as many classes as its largest label."""
    network = tiny_teacher()
    images = np.random.default_rng(0).integers(0, 256, (30, *SHAPE), "uint8")
    targets = targets_of_classes(network, images, np.arange(30) % 3)
    empty = Pool(1, SHAPE, 3)

    def synthesize(model, classes, folder, seed, targets):
        return Pool.of(images[:2], np.repeat(classes, 2))

    pool = Memory(synthesize, targets)(network, [0, 1, 2], None, 0)
    assert pool.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert Memory(synthesize, targets).kept_bytes > 0

    def without_one(model, classes, *_):
        return synthesize(model, classes, *_) if classes != [1] else empty

    with pytest.raises(ValueError, match=r"without classes \[1\]"):
        Memory(without_one, targets)(network, [0, 1, 2], None, 0)


def test_targets_of_classes_that_do_not_fit_are_refused(eagerly):
    network = tiny_teacher()
    images = np.random.default_rng(0).integers(0, 256, (30, *SHAPE), "uint8")
    targets = targets_of_classes(network, images, np.arange(30) % 3)
    with pytest.raises(ValueError, match="Received: 2 targets and 3 classes"):
        learned_by_class(targets=targets[:2])
    with pytest.raises(TypeError, match="list of them.*Received: <class 'dict"):
        learned_by_class(targets=dict(enumerate(targets)))
    with pytest.raises(ValueError, match="at least 10.*9 images of class 3"):
        learned_by_class(labels_of_task=9)
    other = targets_of_classes(tiny_teacher(seed=1), images, np.arange(30) % 3)
    with pytest.raises(ValueError, match="of another network"):
        learned_by_class(targets=[*targets[:2], other[2]])
