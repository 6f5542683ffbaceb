"""Any number of tasks, one after another; killed at any moment, continued."""

import pathlib
import time

import numpy as np

from tf_deepinversion.core import run_state
from tf_deepinversion.incremental import evaluation
from tf_deepinversion.incremental._learn_task import learn_task
from tf_deepinversion.incremental.check_tasks import as_tasks
from tf_deepinversion.incremental.check_tasks import check_tasks
from tf_deepinversion.incremental.head import Head
from tf_deepinversion.incremental.methods import require_teaching
from tf_deepinversion.incremental.replay_memory import Memory
from tf_deepinversion.incremental.saved_task import load_task
from tf_deepinversion.incremental.saved_task import save_task
from tf_deepinversion.metrics import recognition
from tf_deepinversion.networks.replace_statistics import check_restatable


def learn_tasks(
    model,
    tasks,
    terms,
    *,
    synthesize=None,
    measure=True,
    tests=None,
    folder=None,
    run="",
    seed=0,
    preprocessing=None,
    callbacks=None,
    verbose=0,
    **kwargs,
):
    """Teaches a network new classes, task after task, without the old data.

    Where a term needs images of old classes, each task has them synthesised
    from the network as it then is, of the classes that were learnt last, by
    the statistics of their images, which are measured when they have been
    learnt: of those before, images are remembered (`Memory`). Then a copy with
    a larger head is trained. What is learnt is saved after each task.

    Args:
        model: A `keras.Model` classifier, see `Head`; it stays as it is.
        tasks: List of pairs, images `(n, height, width, channels)` of whole
            numbers in [0, 255] and int labels `(n,)`, of classes that follow
            those known, no gaps; or of dictionaries of such `"image"` and
            `"label"`.
        terms: List of `Term`, see `method`.
        synthesize: As for `learn_task`.
        measure: Bool; False to synthesise by the network's own moving
            statistics, which are of new and of replayed images. Defaults to
            True.
        tests: List of such pairs, one for the classes of `model` and one for
            each task, to measure accuracies by; or None.
        folder: Path, or None. The same call goes on from there, after any
            interruption, to the same network.
        run: String that tells `synthesize` and the callbacks from others,
            where there is a folder.
        seed: Int.
        preprocessing: The network's `Preprocessing`; None if known by name.
        callbacks: List of `keras.callbacks.Callback`, of every task.
        verbose: As in Keras.
        **kwargs: Of `learn_task`.

    Returns:
        A pair: the last network, and a dict: `classes`, how many after each
        task; `seconds` and `history` of each task; with `tests` also
        `accuracies` (a list of rows, the first of `model`),
        `seen_accuracies`, `average_incremental_accuracy` and `forgetting`.

    Raises:
        FloatingPointError: as for `learn_task`.
        TypeError: as for `Head` and `as_tasks`.
        ValueError: as for `learn_task`, and if statistics are to be measured,
            as for `restated`.
    """
    tasks = as_tasks(tasks)
    if not tasks:
        raise ValueError("`tasks` is empty: there is nothing to learn.")
    tests = tests if tests is None else as_tasks(tests, "test set")
    shape, first = tuple(model.input_shape[1:]), Head(model).classes
    classes = check_tasks(tasks, first, shape)
    known = [first, *classes]
    for count in np.diff(known):
        require_teaching(terms, int(count))
    if tests is not None:
        _check_tests(tests, known, shape)
    run = _identity(
        model,
        [*tasks, *(tests or [])],
        terms,
        [run, seed, measure],
        preprocessing,
        kwargs,
    )
    memory = None
    if synthesize is not None and any(term.replays for term in terms):
        memory = Memory(synthesize)
    measure = memory is not None and measure and len(tasks) > 1
    if measure:
        check_restatable(model)  # now, not after the first task
    measured = [_accuracies(model, tests, 1, preprocessing)]
    reports = []
    for number, task in enumerate(tasks, 1):
        name, own = f"task_{number}", None
        saved = None
        if folder is not None:
            own = pathlib.Path(folder) / name
            saved = load_task(folder, name, run)
        if saved is None:
            begin = time.monotonic()
            model, history = learn_task(
                model,
                *task,
                terms,
                synthesize=memory,
                folder=own,
                run=f"{run} {number}",
                seed=seed + number,
                preprocessing=preprocessing,
                callbacks=callbacks,
                verbose=verbose,
                **kwargs,
            )
            report = {"history": history, "seconds": time.monotonic() - begin}
            report["accuracies"] = _accuracies(
                model, tests, number + 1, preprocessing
            )
            if folder is not None:
                save_task(folder, name, model, report, run)
        else:
            if memory:  # they are there, and are read
                old = list(range(known[number - 1]))
                memory(model, old, own, seed + number)
            model, report = saved
        if measure and number < len(tasks):
            memory.measure(model, task[0], preprocessing)
        measured.append(report["accuracies"])
        reports.append(report)
    return model, {
        "classes": classes,
        "seconds": [report["seconds"] for report in reports],
        "history": [report["history"] for report in reports],
        **(_summary(measured) if tests is not None else {}),
    }


def _identity(model, data, terms, others, preprocessing, kwargs) -> str:
    """`run`, one of the others, stands for `synthesize`."""
    return run_state.fingerprints(
        {
            "terms": [term.identity() for term in terms],
            "run, seed, measure": others,
            "preprocessing": preprocessing,
            "arguments": kwargs,
            "model": model,
        },
        {"tasks, tests": [part for pair in data for part in pair]},
    )


def _accuracies(model, tests, count, preprocessing) -> list | None:
    """Of the first `count` test sets, among all classes of the network."""
    if tests is None:
        return None
    return [
        recognition.accuracy(model, *t, preprocessing) for t in tests[:count]
    ]


def _check_tests(tests, classes, shape):
    if len(tests) != len(classes):
        raise ValueError(
            f"`tests` must be a list of {len(classes)}: for the first network "
            f"and for each task. Received: {len(tests)}"
        )
    begin = 0
    for number, ((images, labels), end) in enumerate(
        zip(tests, classes, strict=True)
    ):
        if (
            images.shape[1:] != shape
            or labels.min() < begin
            or labels.max() >= end
        ):
            raise ValueError(
                f"Test set {number} must have images {tuple(shape)} of classes "
                f"{begin} to {end - 1}. Received: {images.shape[1:]}, labels "
                f"{np.unique(labels).tolist()}"
            )
        begin = end


def _summary(measured) -> dict:
    size = len(measured)
    matrix = [row + [0.0] * (size - len(row)) for row in measured]
    return {
        "accuracies": measured,
        "seen_accuracies": evaluation.seen_accuracies(matrix).tolist(),
        "average_incremental_accuracy": (
            evaluation.average_incremental_accuracy(matrix)
        ),
        "forgetting": evaluation.forgetting(matrix),
    }
