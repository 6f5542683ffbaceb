"""A sequence of tasks that resumes after a kill at any moment."""

import pathlib
import time
from typing import NamedTuple

import keras
import numpy as np

from tf_deepinversion.callbacks.stopwatch import Stopwatch
from tf_deepinversion.core.checks import SEEDS
from tf_deepinversion.core.files import require_local
from tf_deepinversion.core.progress import TrainingProgress
from tf_deepinversion.core.run_state import fingerprints
from tf_deepinversion.incremental import evaluation
from tf_deepinversion.incremental._learn_task import replayed
from tf_deepinversion.incremental.check_tasks import as_tasks
from tf_deepinversion.incremental.check_tasks import check_tasks
from tf_deepinversion.incremental.check_tasks import check_tests
from tf_deepinversion.incremental.check_terms import require_teaching
from tf_deepinversion.incremental.class_gaussians import ClassGaussians
from tf_deepinversion.incremental.head import Head
from tf_deepinversion.incremental.replay_memory import Memory
from tf_deepinversion.incremental.saved_task import load_task
from tf_deepinversion.incremental.saved_task import save_task
from tf_deepinversion.incremental.task_statistics import check_targets
from tf_deepinversion.incremental.task_training import TaskTraining
from tf_deepinversion.metrics import recognition
from tf_deepinversion.networks.image_shape import filled
from tf_deepinversion.networks.preprocessing import Preprocessing
from tf_deepinversion.networks.remembered_input import disregard
from tf_deepinversion.networks.replace_statistics import check_restatable


class LearnedTasks(NamedTuple):
    """The result of `learn_tasks`; the measures are None without `tests`.

    Attributes:
        network: The last `keras.Model`.
        history: List with a dict of lists per task, the logs.
        classes: List of ints, number of known classes after each task.
        seconds: List of floats, duration of each task in seconds.
        accuracies: List of rows, one for the original network and one per task:
            the accuracies on all test sets so far.
        seen_accuracies: List of floats, the mean of each row.
        average_incremental_accuracy: Float, see
            `average_incremental_accuracy`.
        forgetting: Float, see `forgetting`.
        kept_bytes: Int, number of bytes that are kept of earlier classes
            besides the network: images of `Memory`, statistics, Gaussians.
        gaussians: The `ClassGaussians` of all classes, or None.

    Example:
        >>> learned = di.incremental.LearnedTasks(teacher, [{}], [5], [1.5])
        >>> learned.classes, learned.forgetting
        ([5], None)
    """

    network: keras.Model
    history: list
    classes: list
    seconds: list
    accuracies: list | None = None
    seen_accuracies: list | None = None
    average_incremental_accuracy: float | None = None
    forgetting: float | None = None
    kept_bytes: int = 0
    gaussians: ClassGaussians | None = None

    @classmethod
    def of(cls, network, history, classes, seconds, rows, *kept):
        """Computes the measures of rows of accuracies; rows may be None."""
        measures = [None] * 4 if rows is None else _measures(rows)
        return cls(network, history, classes, seconds, *measures, *kept)


def learn_tasks(
    model,
    tasks,
    terms,
    *,
    synthesize=None,
    measure=True,
    targets=None,
    gaussians=None,
    tests=None,
    epochs=20,
    steps_per_epoch=None,
    batch_size=64,
    replay_batch_size=64,
    learning_rate=0.05,
    transforms=None,
    preprocessing=None,
    folder=None,
    run="",
    seed=0,
    callbacks=None,
    verbose="auto",
) -> LearnedTasks:
    """Teaches a network new classes, task after task, without the old data.

    If a term needs images of old classes, each task starts by synthesizing
    images of the classes of the task before, from the current network. The
    synthesis uses the statistics of these classes' images, which `learn_tasks`
    measured at the end of that task. `Memory` keeps the synthesized images of
    all earlier classes. The task then trains a copy with a larger head, and
    saves the result.

    Args:
        model: A `keras.Model` classifier, see `Head`. It stays unchanged.
        tasks: List of pairs (images, labels): integers in [0, 255] of shape
            `(n, height, width, channels)`, and int labels `(n,)` of classes
            that follow the known classes without gaps. Dictionaries with
            `"image"` and `"label"` also work.
        terms: List of `Term`, such as `methods.abd()`.
        synthesize: As for `learn_task`; it gets the newest classes only.
            Defaults to None.
        measure: Bool. False synthesizes with the network's own moving
            statistics, which mix new and replayed images. Defaults to True.
        targets: `FeatureTargets` of `model`, for a network without
            BatchNormalization; or None. `synthesize` then gets the current
            network's targets as a fifth argument. The targets of later networks
            are measured on the images of each task, at the end of the task. Or
            a list of targets, one for each class of `model`, with or without
            BatchNormalization: each class is then synthesized on its own, by
            the statistics of its own images, and `synthesize` gets one class at
            a time. Defaults to None.
        gaussians: The `ClassGaussians` of the classes of `model`, measured
            while their images were available. The result is then not the
            trained head but the head that the Gaussians of all classes give:
            the Gaussians of old classes move with the network after each task.
            The next task continues from the trained head. Defaults to None.
        tests: List of such pairs, one for the classes of `model` and one per
            task, to measure accuracies; or None. Defaults to None.
        epochs: Int, see `learn_task`. Defaults to 20.
        steps_per_epoch: Int. Defaults to the number of batches.
        batch_size: Int, see `learn_task`. Defaults to 64.
        replay_batch_size: Int, see `learn_task`. Defaults to 64.
        learning_rate: Float, see `learn_task`. Defaults to 0.05.
        transforms: List of transforms of all images, drawn anew every step.
            Defaults to `[Shift(2)]`.
        preprocessing: The network's `Preprocessing`, or None if the network is
            known by its name. Defaults to None.
        folder: Path, or None. With a folder, repeating the same call resumes
            after an interruption and gives the same network. Defaults to None.
        run: String that identifies `synthesize` and the callbacks, used with
            `folder`. Defaults to `""`.
        seed: Int in [0, 2**31). Defaults to 0.
        callbacks: List of `keras.callbacks.Callback` for every task. Defaults
            to None.
        verbose: As in `keras.Model.fit`. Defaults to `"auto"`.

    Returns:
        A `LearnedTasks`.

    Raises:
        FloatingPointError: if a value of the network is no longer finite.
        TypeError: as for `learn_task`, or if `tasks` is a data set.
        ValueError: as for `learn_task`, or if statistics are measured and a
            BatchNormalization lacks gamma or beta.

    Example:
        ```python
        learned = di.learn_tasks(
            network,
            [(images_5_to_7, labels_5_to_7), (images_8_9, labels_8_9)],
            di.incremental.methods.abd(),
            synthesize=synthesize,
        )
        ```
    """
    require_local(folder=folder)
    tasks, tests, known = _checked(model, tasks, tests, terms, gaussians)
    training = TaskTraining(
        terms,
        epochs,
        steps_per_epoch,
        batch_size,
        replay_batch_size,
        learning_rate,
        transforms,
        Preprocessing.of(model, preprocessing),
    )
    training.require_replay(synthesize)
    measures = training.replays and measure and len(tasks) > 1
    # An error now saves the first task.
    if targets is not None:
        check_targets(targets, model, known[0], tasks, training, measure)
    elif measures:
        check_restatable(model)
    parts = {
        "run, seed, measure": [run, seed, measures],
        "targets": targets,
        "model": model,
        **training.settings(),
    }
    arrays = [part for pair in [*tasks, *(tests or [])] for part in pair]
    sequence = _Sequence(
        training,
        Memory(synthesize, targets) if training.replays else None,
        tests,
        folder and pathlib.Path(folder),
        fingerprints(parts, {"tasks, tests": arrays}),
        seed,
    )
    model, rows, reports, gaussians = sequence.run_all(
        model, tasks, gaussians, measures, callbacks, verbose
    )
    kept = (sequence.memory, gaussians)
    return LearnedTasks.of(
        model,
        [report["history"] for report in reports],
        known[1:],
        [report["seconds"] for report in reports],
        rows if tests is not None else None,
        sum(one.kept_bytes for one in kept if one is not None),
        gaussians,
    )


def _checked(model, tasks, tests, terms, gaussians) -> tuple:
    """Returns tasks, tests and the number of classes after each task."""
    tasks = as_tasks(tasks)
    if not tasks:
        raise ValueError(
            "`tasks` must contain at least one task. Received: tasks=[]"
        )
    tests = tests if tests is None else as_tasks(tests, "test set")
    first = Head(model).classes
    shape = filled(model.input_shape[1:], tasks[0][0].shape[1:])
    # Impossible tasks are refused before the first task is learned.
    known = [first, *check_tasks(tasks, first, shape)]
    for count in np.diff(known):
        require_teaching(terms, int(count))
    if tests is not None:
        check_tests(tests, known, shape)
    if gaussians is not None:
        gaussians.network(model)  # refuses other classes or a head without bias
    return tasks, tests, known


class _Sequence(NamedTuple):
    """The settings shared by all tasks."""

    training: TaskTraining
    memory: Memory | None
    tests: list | None
    folder: pathlib.Path | None
    run: str
    seed: int

    def run_all(
        self, model, tasks, gaussians, measure, callbacks, verbose
    ) -> tuple:
        """Returns the network, rows of accuracies, a dict per task, Gaussians.

        The Gaussians are None without Gaussians.
        """
        solved, reports = _solved(model, gaussians), []
        rows = [self.accuracies(solved, 1)]
        # One bar counts the steps of all tasks.
        steps = [self.training.steps(labels) for _, labels in tasks]
        progress = TrainingProgress("Tasks", self.training.epochs * sum(steps))
        for number, task in enumerate(tasks, 1):
            old = model
            model, report = self.learn(
                number, model, task, progress, callbacks, verbose
            )
            # The statistics serve the next task, so the last task needs none.
            if measure and number < len(tasks):
                given = self.training.preprocessing
                self.memory.measure(model, *task, given)
            row, solved = report["accuracies"], model
            if gaussians is not None:
                gaussians = self.followed(gaussians, old, model, task)
                solved = _solved(model, gaussians)
                row = self.accuracies(solved, number + 1)
            rows.append(row)
            reports.append(report)
        return solved, rows, reports, gaussians

    def followed(self, gaussians, old, new, task) -> ClassGaussians:
        """Moves Gaussians along with the network, and adds a task's classes."""
        given, (images, labels) = self.training.preprocessing, task
        added = ClassGaussians.measure(new, images, labels, given)
        if self.memory is not None:
            pool = self.memory.last
            images = np.concatenate([images, pool.images])
            labels = np.concatenate([labels, pool.labels])
        return gaussians.moved(old, new, images, labels, given).joined(added)

    def learn(self, number, model, task, progress, callbacks, verbose) -> tuple:
        """Returns the network after a task, and a dict of figures."""
        name, folder = f"task_{number}", self.folder
        saved = folder and load_task(folder, name, self.run)
        if saved:
            disregard(saved[0])
            steps = self.training.steps(task[1])
            progress.skip(self.training.epochs * steps)
            if self.memory is not None:  # reads the saved images again
                self._remembered(number, model)
            return saved
        path = folder and folder / name / "seconds.json"
        watch = Stopwatch(path, time.monotonic())
        model, history = self.training.teach(
            model,
            *task,
            lambda model=model: self._replay(number, model),
            folder=folder and folder / name,
            run=f"{self.run} {number}",
            seed=self._seed_of(number),
            callbacks=[progress, watch, *(callbacks or [])],
            verbose=verbose,
        )
        report = {"history": history, "seconds": watch.total}
        report["accuracies"] = self.accuracies(model, number + 1)
        if folder is not None:
            save_task(folder, name, model, report, self.run)
        return model, report

    def accuracies(self, model, count) -> list | None:
        """Measures the accuracies on the first `count` test sets."""
        if self.tests is None:
            return None
        given = self.training.preprocessing
        return [
            recognition.accuracy(model, *test, given)
            for test in self.tests[:count]
        ]

    def _seed_of(self, number) -> int:
        """Returns the seed of a task; it stays among the seeds."""
        return (self.seed + number) % SEEDS

    def _remembered(self, number, model):
        folder = self.folder and self.folder / f"task_{number}"
        wanted = list(range(Head(model).classes))
        return self.memory(model, wanted, folder, self._seed_of(number))

    def _replay(self, number, model):
        pool = self._remembered(number, model)
        return replayed(
            pool,
            sorted(set(pool.labels.tolist())),
            pool.classes,
            self.training.replay_batch_size,
            self._seed_of(number),
        )


def _solved(model, gaussians) -> keras.Model:
    return model if gaussians is None else gaussians.network(model)


def _measures(rows) -> tuple:
    """Computes the four measures of a `LearnedTasks`."""
    size = len(rows)
    # The measures read the lower triangle only.
    matrix = [row + [0.0] * (size - len(row)) for row in rows]
    return (
        rows,
        evaluation.seen_accuracies(matrix).tolist(),
        evaluation.average_incremental_accuracy(matrix),
        evaluation.forgetting(matrix),
    )
