"""Tasks in a row: the labels they may have, kills, and half-saved tasks."""

import json
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from eager import as_plain_python
from inversions import NORMALIZED
from tiny import SHAPE
from tiny import tiny_teacher

from tf_deepinversion import Pool
from tf_deepinversion.callbacks import stopwatch
from tf_deepinversion.callbacks.training_state import TrainingState
from tf_deepinversion.datasets.streams import epochs_of
from tf_deepinversion.incremental import Term
from tf_deepinversion.incremental import learn_task
from tf_deepinversion.incremental import learn_tasks
from tf_deepinversion.incremental import load_task
from tf_deepinversion.incremental import method
from tf_deepinversion.incremental import save_task
from tf_deepinversion.incremental import train
from tf_deepinversion.incremental.check_tasks import as_tasks
from tf_deepinversion.incremental.check_tasks import check_tasks
from tf_deepinversion.metrics.recognition import accuracy
from tf_deepinversion.metrics.recognition import feature_distance
from tf_deepinversion.networks.copies import copy_of

# The second task has one class, which abd learns by its head alone.
pytestmark = pytest.mark.filterwarnings("ignore:With 1 new class")
RANDOM = np.random.default_rng(0)


def images(n):
    return RANDOM.integers(0, 256, (n, *SHAPE), "uint8")


FIRST = images(6), np.array([0, 1, 2] * 2)
TASKS = [(images(8), np.array([3, 4] * 4)), (images(5), np.array([5] * 5))]


def opened():
    """The tiny teacher with open image size."""
    return copy_of(tiny_teacher(), None, lambda *_: (None, None, None, 1))


class Kill(keras.callbacks.Callback):
    """Interrupts the given epoch, of all that begin."""

    def __init__(self, at):
        super().__init__()
        self.left = at

    def on_epoch_begin(self, epoch, logs=None):
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1


def remembered(model, classes, folder, seed):
    """Noise, labeled by what it is to be: a function of the seed."""
    labels = np.repeat(classes, 2)
    pixels = np.random.default_rng(seed).integers(
        0, 256, (len(labels), *SHAPE), "uint8"
    )
    return Pool.of(pixels, labels)


def run(folder=None, kill=None, name="abd", **kwargs):
    return learn_tasks(
        kwargs.pop("model", None) or tiny_teacher(),
        kwargs.pop("tasks", TASKS),
        method(name),
        **{
            "tests": [FIRST, *TASKS],
            "synthesize": remembered,
            "epochs": 2,
            "batch_size": 4,
            "replay_batch_size": 4,
            "preprocessing": NORMALIZED,
            "folder": folder,
            "callbacks": [Kill(kill)] if kill is not None else None,
            "verbose": 0,
            **kwargs,
        },
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    keras.utils.set_random_seed(0)
    with as_plain_python():
        found = run(folder)
    return folder, found.network.get_weights(), found


def test_every_accuracy_is_among_all_classes_known(whole):
    folder, _, found = whole
    assert found.classes == [5, 6]
    assert [len(row) for row in found.accuracies] == [1, 2, 3]
    assert found.accuracies[0] == [accuracy(tiny_teacher(), *FIRST, NORMALIZED)]
    for t in (1, 2):
        network = keras.models.load_model(folder / f"task_{t}.keras")
        assert network.output_shape == (None, [5, 6][t - 1])
        expected = [
            accuracy(network, *test, NORMALIZED)
            for test in [FIRST, *TASKS][: t + 1]
        ]
        assert found.accuracies[t] == expected
    rows = found.accuracies
    assert found.seen_accuracies == pytest.approx([np.mean(r) for r in rows])
    falls = [max(rows[0][0], rows[1][0]) - rows[2][0], rows[1][1] - rows[2][1]]
    assert found.forgetting == pytest.approx(np.mean(falls))


def goes_on(folder, kill, found, weights):
    """Killed, to the same network and figures as a run that was not."""
    with pytest.raises(KeyboardInterrupt):
        run(folder, kill)
    again = run(folder)
    for a, b in zip(weights, again.network.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert again.accuracies == found.accuracies
    assert again.history == found.history


def test_killed_in_any_task_it_goes_on_to_the_same_network(
    whole, tmp_path, eagerly
):
    _, weights, found = whole
    for kill in (1, 3):
        goes_on(tmp_path / str(kill), kill, found, weights)


def test_seconds_before_a_kill_count(tmp_path, eagerly, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(stopwatch.time, "monotonic", lambda: now[0])

    class Clock(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            now[0] += 100

    def timed(kill):
        given = [Clock(), Kill(kill)]
        return run(
            tmp_path, tasks=TASKS[:1], epochs=4, tests=None, callbacks=given
        )

    with pytest.raises(KeyboardInterrupt):
        timed(2)
    assert timed(9).seconds == [400.0]


@pytest.mark.slow
@pytest.mark.parametrize("kill", [1, 3])
def test_its_graphs_go_on_to_the_same_network(tmp_path, kill):
    found = run()
    goes_on(tmp_path, kill, found, found.network.get_weights())


def test_what_is_learned_is_not_learned_again(whole, eagerly):
    folder, weights, found = whole
    again = run(folder, kill=0)  # no epoch begins
    for a, b in zip(weights, again.network.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert again[1:] == found[1:]


def test_the_folder_of_another_run_is_refused(whole, eagerly):
    folder = whole[0]
    for change in ({"epochs": 3}, {"seed": 1}, {"name": "replay"}):
        with pytest.raises(ValueError, match="belongs to another run"):
            run(folder, **change)
    with pytest.raises(ValueError, match="belongs to another run"):
        run(folder, tasks=[TASKS[0], (TASKS[1][0] // 2, TASKS[1][1])])


def test_the_folder_of_another_task_is_refused_before_images_are_made(
    tmp_path, eagerly
):
    asked = []

    def counted(*args):
        asked.append(args)
        return remembered(*args)

    def learn(seed, callbacks=None):
        learn_task(
            tiny_teacher(),
            *TASKS[0],
            method("replay"),
            synthesize=counted,
            epochs=2,
            batch_size=4,
            replay_batch_size=4,
            preprocessing=NORMALIZED,
            folder=tmp_path,
            seed=seed,
            callbacks=callbacks,
        )

    with pytest.raises(KeyboardInterrupt):
        learn(0, [Kill(1)])
    assert len(asked) == 1
    with pytest.raises(ValueError, match="belongs to another run"):
        learn(1)
    assert len(asked) == 1


def test_a_task_saved_half_way_is_never_used(tmp_path):
    model = tiny_teacher()
    assert load_task(tmp_path, "task_1", "run") is None
    save_task(tmp_path, "task_1", model, {"a": 1}, "run")
    again, figures = load_task(tmp_path, "task_1", "run")
    assert figures == {"a": 1}
    for a, b in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    network, decisive = tmp_path / "task_1.keras", tmp_path / "task_1.json"
    content, text = network.read_bytes(), decisive.read_text()
    decisive.unlink()  # killed between the two files
    assert load_task(tmp_path, "task_1", "run") is None
    decisive.write_text(text)
    for damaged in (content[:-10], content[:-1] + b"x", b""):
        network.write_bytes(damaged)
        with pytest.raises(ValueError, match="damaged .*sha256.* again"):
            load_task(tmp_path, "task_1", "run")
    network.unlink()
    with pytest.raises(ValueError, match="damaged"):
        load_task(tmp_path, "task_1", "run")
    for part in ("", text[:-5], "[]", json.dumps({"format": "other"})):
        decisive.write_text(part)
        with pytest.raises(ValueError, match="damaged"):
            load_task(tmp_path, "task_1", "run")


BAD_TASKS = {
    "empty": ([], [], ValueError, "least one image.*task 1 is empty"),
    "old": (images(3), [2, 3, 4], ValueError, r"begin at 3. Received: \[2\]"),
    "gap": (images(2), [3, 5], ValueError, r"without gaps.*\[3, 5\]"),
    "late": (images(2), [4, 5], ValueError, "without gaps"),
    "shape": (images(2)[:, 1:], [3, 4], ValueError, r"\(8, 8, 1\)"),
    "fewer": (images(3), [3, 4], ValueError, "one label per image"),
    "column": (images(2), [[3], [4]], ValueError, r"one-hot.*\(2, 1\)"),
    "wide": (images(2) + np.int64(256), [3, 4], ValueError, r"in \[0, 255\]"),
    "none": (images(2), None, TypeError, "as arrays.*NoneType"),
    "range": (images(2) / 255, [3, 4], TypeError, "uint8 pixels.*float64"),
    "labels": (images(2), [3.0, 4.0], TypeError, "integer labels"),
    "large": (images(2), [3, 2**32], ValueError, "from 3 to 4294967296"),
}


@pytest.mark.parametrize("name", BAD_TASKS)
def test_bad_tasks_are_refused(name):
    pixels, labels, kind, message = BAD_TASKS[name]
    with pytest.raises(kind, match=message):
        learn_tasks(tiny_teacher(), [(pixels, labels)], method("finetune"))


@pytest.mark.parametrize("terms", ["abd", [1], ["abd"], None, method("lwf")[0]])
def test_terms_are_no_names(terms):
    with pytest.raises(TypeError, match=r"method\('abd'\).*Received: terms"):
        learn_tasks(tiny_teacher(), TASKS, terms)


def test_a_data_set_is_no_task_and_no_list_of_tasks():
    data = tf.data.Dataset.from_tensors(TASKS[0])
    for tasks in (data, [data], [(data, None)], {"image": 1, "label": 2}):
        with pytest.raises(TypeError, match="arrays.*Received: .*"):
            learn_tasks(tiny_teacher(), tasks, method("finetune"))
    with pytest.raises(TypeError, match="arrays"):
        learn_task(tiny_teacher(), data, None, method("finetune"))


def test_tasks_of_any_whole_numbers_and_of_tfds_are_the_same():
    pixels, labels = TASKS[0]
    for given in (
        (pixels.astype("int64"), labels),
        (pixels.tolist(), labels.tolist()),
        (pixels, labels.astype("uint64")),
        {"label": labels, "image": tf.constant(pixels), "id": 1},
    ):
        ((found, as_given),) = as_tasks([given])
        assert found.dtype == "uint8"
        np.testing.assert_array_equal(found, pixels)
        np.testing.assert_array_equal(as_given, labels)
        assert as_given.dtype == "int32"
    batch, _ = next(iter(epochs_of(pixels.astype("int32"), labels, 8)))
    assert batch.dtype == "uint8"
    with pytest.raises(TypeError, match="uint8 pixels.*float64"):
        epochs_of(pixels / 255, labels, 8)


def test_each_class_is_replayed_equally_often_if_an_image_is_of_it(eagerly):
    """Of 2 there is none, by the network's own answers: 0 and 1 are left."""
    seen = []

    def note(step):
        seen.extend(step.replayed.labels.numpy().tolist())
        return tf.reduce_mean(step.new.logits)

    def synthesize(model, classes, folder, seed):
        pool = Pool(10, SHAPE, 3)
        requested = np.arange(10) % 3
        pool.add(images(10), [0] * 8 + [1] * 2, requested=requested)
        return pool

    def learn():
        with pytest.warns(UserWarning, match=r"classes \[2\].*not replayed"):
            learn_task(
                tiny_teacher(),
                *TASKS[0],
                [Term("note", 1.0, note, True)],
                synthesize=synthesize,
                epochs=1,
                steps_per_epoch=3,
                replay_batch_size=4,
                preprocessing=NORMALIZED,
            )

    learn()
    assert sorted(seen) == [0] * 6 + [1] * 6


@pytest.mark.parametrize("learn", [learn_task, learn_tasks])
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"terms": "abd"}, TypeError, "a list of terms.*Received: terms='abd'"),
        ({"steps_per_epoch": 0}, ValueError, "`steps_per_epoch`.*1 or more"),
    ],
)
def test_bad_settings_are_refused_before_work(learn, arguments, error, message):
    given = TASKS[0] if learn is learn_task else ([TASKS[0]],)
    settings = {
        "terms": method("lwf"),
        "preprocessing": NORMALIZED,
        **arguments,
    }
    with pytest.raises(error, match=message):
        learn(tiny_teacher(), *given, **settings)


@pytest.mark.parametrize("learn", [learn_task, learn_tasks])
def test_one_new_class_that_nothing_would_teach_is_refused_before_work(learn):
    asked = []
    task = images(2), np.array([3, 3])
    given = task if learn is learn_task else ([TASKS[0], (task[0], [5, 5])],)
    kept = Term("kept", 1.0, None, True, teaches=0)
    with pytest.raises(
        ValueError, match='"replay".*1 new class, and the terms'
    ):
        learn(
            tiny_teacher(),
            *given,
            [*method("lwf"), kept],
            synthesize=lambda *args: asked.append(args),
            preprocessing=NORMALIZED,
        )
    assert not asked


@pytest.mark.parametrize(
    "name", ["lwf_mc", pytest.param("finetune", marks=pytest.mark.slow)]
)
def test_a_new_class_that_stays_behind_old_ones_is_not_passed_over(name):
    """The old network sees its class 0 in all images, by a logit of 12.

    A binary cross-entropy of the new class ends far below that logit; the
    cross-entropy over all classes does not.
    """
    teacher = tiny_teacher()
    teacher.layers[-1].bias.assign([12.0, -12.0, -12.0])

    def learn():
        return learn_task(
            teacher,
            images(8),
            np.full(8, 3),
            method(name),
            epochs=2,
            steps_per_epoch=20,
            learning_rate=0.2,
            batch_size=8,
            preprocessing=NORMALIZED,
            verbose=0,
        )

    if name == "lwf_mc":
        with pytest.warns(
            UserWarning, match="recognizes 0% of the images of new"
        ):
            history = learn().history
        assert history["new"][-1] < history["new"][0]
    else:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="After its training")
            learn()


def test_the_second_task_goes_on_after_the_first():
    assert check_tasks(TASKS, 3, SHAPE) == [5, 6]
    with pytest.raises(ValueError, match=r"begin at 5.*\[3, 4\] in task 2"):
        check_tasks([TASKS[0]] * 2, 3, SHAPE)


@pytest.mark.parametrize(
    "measure", [True, pytest.param(False, marks=pytest.mark.slow)]
)
def test_new_classes_are_synthesized_by_the_statistics_of_their_images(
    measure, eagerly
):
    asked = []

    def synthesize(model, classes, folder, seed):
        asked.append((model, classes))
        return remembered(model, classes, folder, seed)

    run(synthesize=synthesize, measure=measure)
    (_, first), (model, second) = asked
    assert (first, second) == ([0, 1, 2], [3, 4])
    gap = feature_distance(model, TASKS[0][0], NORMALIZED)
    assert gap < 1e-3 if measure else gap > 0.1


def test_statistics_that_cannot_be_measured_are_refused_before_a_task(eagerly):
    inputs = keras.Input(SHAPE)
    x = keras.layers.BatchNormalization(scale=False, name="bare")(inputs)
    x = keras.layers.GlobalAveragePooling2D()(x)
    bare = keras.Model(inputs, keras.layers.Dense(3)(x), name="bare_network")
    asked = []

    def synthesize(model, classes, folder, seed):
        asked.append(classes)
        return remembered(model, classes, folder, seed)

    def learn(tasks, **kwargs):
        return learn_tasks(
            bare,
            tasks,
            method("abd"),
            synthesize=synthesize,
            epochs=1,
            batch_size=4,
            preprocessing=NORMALIZED,
            **kwargs,
        )

    with pytest.raises(ValueError, match=r"measure=False.*\['bare'\]"):
        learn(TASKS)
    assert not asked
    learn(TASKS[:1])  # there is no task after it
    learn(TASKS, measure=False)
    assert asked == [[0, 1, 2], [0, 1, 2], [3, 4]]


def test_bad_arguments():
    with pytest.raises(ValueError, match="'balance'.*pass `synthesize`"):
        run(synthesize=None)
    with pytest.raises(ValueError, match="epochs=0"):
        run(epochs=0)
    with pytest.raises(ValueError, match="`tests` must be a list of 3"):
        run(tests=[FIRST])
    with pytest.raises(ValueError, match="Test set 1 must have.*3 to 4"):
        run(tests=[FIRST, FIRST, TASKS[1]])
    with pytest.raises(ValueError, match=r"without classes \[2\]"):
        run(synthesize=lambda *_: Pool.of(images(2), [0, 1]))
    with pytest.raises(TypeError, match="must return a `Pool`.*tuple"):
        run(synthesize=lambda *_: (images(2), [0, 1]))


def test_an_epoch_has_every_image_once():
    labels = np.arange(7)
    stream = epochs_of(images(7), labels, 3, seed=5)
    batches = [y.numpy().tolist() for _, y in stream.take(6)]
    for epoch in range(3):
        first, second = batches[2 * epoch : 2 * epoch + 2]
        assert len({*first, *second}) == 6
    assert batches[:2] != batches[2:4]
    later = epochs_of(images(7), labels, 3, seed=5, first_step=3)
    assert [y.numpy().tolist() for _, y in later.take(3)] == batches[3:]
    few = next(iter(epochs_of(images(2), labels[:2], 3)))[1]
    assert sorted(few.numpy()) == [0, 1]


def trained(folder=None, epochs=3):
    network = tiny_teacher(pixel_scale=(1 / 128, -1.0))
    return train(
        network,
        *FIRST,
        epochs=epochs,
        batch_size=3,
        folder=folder,
        run="run",
        verbose=0,
    ).network.get_weights()


@pytest.mark.slow
def test_training_from_scratch_is_kept(tmp_path, monkeypatch):
    expected = trained()

    class Killed(TrainingState):
        def on_epoch_end(self, epoch, logs=None):
            super().on_epoch_end(epoch, logs)
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        name = "tf_deepinversion.callbacks.fit_resumable.TrainingState"
        patch.setattr(name, Killed)
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path)
    assert (tmp_path / "network.training.npz").exists()
    for weights in (trained(tmp_path), trained(tmp_path)):
        for a, b in zip(expected, weights, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_a_network_of_open_image_size_learns_as_one_of_a_fixed_size():
    tasks = TASKS[:1]
    fixed, found = (
        run(model=model, tasks=tasks, tests=[FIRST, *tasks])
        for model in (tiny_teacher(), opened())
    )
    assert found.network.input_shape == (None, None, None, 1)
    for a, b in zip(fixed.network.weights, found.network.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    assert found.accuracies == fixed.accuracies
    other = np.zeros((4, 6, 6, 1), "uint8"), np.array([5] * 4)
    with pytest.raises(ValueError, match=r"shape \(8, 8, 1\).*in task 2"):
        run(model=opened(), tasks=[TASKS[0], other], tests=None)
    larger = Pool.of(np.zeros((6, 10, 10, 1), "uint8"), np.arange(6) % 3)
    with pytest.raises(ValueError, match=r"new \(8, 8, 1\), old \(10, 10, 1\)"):
        run(
            model=opened(),
            tasks=tasks,
            tests=None,
            synthesize=lambda *_: larger,
        )
