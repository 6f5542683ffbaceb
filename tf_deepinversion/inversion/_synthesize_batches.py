"""Synthesis of one pool by many independent workers."""

import numpy as np

from tf_deepinversion.core import run_state
from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.core.files import require_local
from tf_deepinversion.core.labels import check_labels
from tf_deepinversion.datasets.batch_folder import BatchFolder
from tf_deepinversion.datasets.image_bytes import check_quality
from tf_deepinversion.datasets.merge_batches import BatchesStatus
from tf_deepinversion.datasets.merge_batches import status_of_batches
from tf_deepinversion.datasets.tfrecords import MAX_SHARDS
from tf_deepinversion.inversion import _synthesize
from tf_deepinversion.inversion.batch_worker import BatchWorker
from tf_deepinversion.inversion.deep_inversion import DeepInversion
from tf_deepinversion.inversion.synthesizer import Synthesizer


def synthesize_batches(
    teacher,
    folder,
    classes=None,
    *,
    worker=0,
    workers=1,
    batches=100,
    images=256,
    chain=10,
    seed=0,
    first_steps=None,
    steps=None,
    preprocessing=None,
    recipe=None,
    image_shape=None,
    dtype=None,
    targets=None,
    micro_batch=None,
    jpeg_quality=None,
    verbose="auto",
) -> BatchesStatus:
    """Makes the batches of one pool, as one of many independent workers.

    Each worker is a process that makes the same call with its own `worker`, on
    any machine that shares the folder. Worker i of n makes the batches i,
    i + n, i + 2 n, ..., and then those that are still missing, until none is.
    Workers may be killed, started again, and be more or fewer than before: a
    batch counts by a file in `done/`, the first worker that finishes a batch
    wins, and a batch is lost at most that a worker was at. SIGTERM ends a
    worker after the epoch that it is at; the batch goes on from there.
    `datasets.merge_batches` makes one pool of all batches.

    The pixels of a batch are a function of the arguments and of the number of
    the batch, on one kind of device. Batch b has the labels `arange(b n,
    (b + 1) n) % classes`, so it may have fewer images than there are classes.

    Args:
        teacher: A `keras.Model`, or a `Synthesizer` without state, as for
            `synthesize`.
        folder: Path of a folder that all workers share. Another run is refused
            by the names of what differs.
        classes: As for `synthesize`.
        worker: Int in [0, workers), number of this worker. Defaults to 0.
        workers: Int, number of workers. Defaults to 1.
        batches: Int, number of batches of all workers. Defaults to 100.
        images: Int, number of labels of a batch. Defaults to 256.
        chain: Int, for a recipe with a generator: number of batches that one
            generator makes, each going on from the one before. Chains are
            independent, and a worker takes whole chains. Defaults to 10.
        seed: Int. Defaults to 0.
        first_steps: Int, steps of the first batch of a chain. Defaults to 300.
        steps: As for `synthesize`.
        preprocessing: As for `synthesize`.
        recipe: As for `synthesize`.
        image_shape: As for `synthesize`.
        dtype: As for `synthesize`.
        targets: As for `synthesize`.
        micro_batch: Int, number of images that are read at once, see
            `DeepInversion.compile`. Workers may differ. Defaults to all.
        jpeg_quality: Int in [1, 100], to keep JPEG images in place of PNG, see
            `Pool`. Defaults to None.
        verbose: As for `synthesize`; the time left is that of all workers.

    Returns:
        A `datasets.BatchesStatus`. `failed` lists batches whose synthesis
        raised an error, which `failed/` of the folder keeps: another worker,
        or the next call, tries them once more.

    Raises:
        ValueError: if an argument is out of range, or the folder is of another
            run or version.
        OSError: if the disk is full or cannot be written. Batches that are
            done are safe.

    Example:
        ```python
        # On each of 8 machines, by its own number:
        di.synthesize_batches(teacher, "/shared/run", worker=3, workers=8)
        # On one of them, at any time:
        pool = di.datasets.merge_batches("/shared/run")
        ```
    """
    require_local(folder=folder)
    require_whole(workers=workers, batches=batches, images=images, chain=chain)
    require_whole(0, worker=worker)
    _require_place(worker, workers, batches)
    synthesizer, job = job_of(
        teacher,
        classes,
        seed=seed,
        batches=batches,
        images=images,
        chain=chain,
        first_steps=first_steps,
        steps=steps,
        preprocessing=preprocessing,
        recipe=recipe,
        image_shape=image_shape,
        dtype=dtype,
        targets=targets,
        micro_batch=micro_batch,
        jpeg_quality=jpeg_quality,
    )
    run = BatchWorker(
        BatchFolder.claim(folder, plan_of(synthesizer, batches, images, job)),
        synthesizer,
        worker=worker,
        workers=workers,
        labels=lambda number: labels_of(job["classes"], images, number),
        chain=job["chain"],
        steps=job["steps"],
        first_steps=job["first_steps"],
        seed=seed,
        verbose=verbose,
    )
    run.run()
    return status_of_batches(folder)._replace(
        failed=run.failed, stopped=run.stopped
    )


def labels_of(classes, images, number) -> np.ndarray:
    """Returns the labels of a batch: the classes in turn over all batches.

    Args:
        classes: Int array `(k,)`.
        images: Int, number of labels of a batch.
        number: Int, number of the batch.

    >>> [labels_of(np.arange(5), 3, b).tolist() for b in range(3)]
    [[0, 1, 2], [3, 4, 0], [1, 2, 3]]
    """
    return classes[
        np.arange(number * images, (number + 1) * images) % len(classes)
    ]


def _require_place(worker, workers, batches):
    if worker >= workers:
        raise ValueError(
            "`worker` counts from 0, so it is less than `workers`. "
            f"Received: worker={worker}, workers={workers}"
        )
    if batches > MAX_SHARDS:
        raise ValueError(
            f"A folder holds up to {MAX_SHARDS} batches: take more images a "
            f"batch. Received: batches={batches}"
        )


def job_of(
    teacher,
    classes,
    *,
    seed,
    batches,
    images,
    chain,
    first_steps,
    steps,
    micro_batch,
    jpeg_quality,
    **given,
) -> tuple:
    """Checks what workers are to do, before any work.

    Args:
        teacher: As for `synthesize_batches`, as all arguments.
        classes: As above.
        seed: As above.
        batches: As above.
        images: As above.
        chain: As above.
        first_steps: As above.
        steps: As above.
        micro_batch: As above.
        jpeg_quality: As above.
        **given: As above.

    Returns:
        A pair: the `Synthesizer`; and a dict of `classes`, `chain`, `steps`,
        `first_steps` and `jpeg_quality`.

    Raises:
        ValueError: if an argument does not fit.
    """
    synthesizer = _synthesize.synthesizer_of(teacher, seed, **given)
    check_quality(jpeg_quality, synthesizer.image_shape)
    _require_chains(synthesizer, teacher, first_steps)
    chained = bool(synthesizer.state_variables)
    if chained:
        steps = 30 if steps is None else steps
        first_steps = 300 if first_steps is None else first_steps
    wanted = synthesizer.classes if classes is None else classes
    wanted = _synthesize.listed_classes(wanted)
    wanted = check_labels(wanted, synthesizer.classes)
    _synthesize.require_all(wanted, batches, images)
    for count in (first_steps, steps) if chained else (steps,):
        synthesizer.check(np.resize(wanted, images), count)
    if micro_batch is not None:
        if not isinstance(synthesizer, DeepInversion):
            raise ValueError(
                "`micro_batch` is of a `DeepInversion`: leave it out. "
                f"Received: micro_batch={micro_batch}"
            )
        require_whole(micro_batch=micro_batch)
        synthesizer.compile(micro_batch=micro_batch)
    return synthesizer, {
        "classes": wanted,
        "chain": chain if chained else 1,
        "steps": steps,
        "first_steps": first_steps,
        "jpeg_quality": jpeg_quality,
    }


def _require_chains(synthesizer, teacher, first_steps):
    chained = bool(synthesizer.state_variables)
    if chained and isinstance(teacher, Synthesizer):
        raise ValueError(
            "Workers start a generator for each chain, so pass the network and "
            "`recipe` in place of a synthesizer with a state. "
            f"Received: a {type(teacher).__name__}"
        )
    if not chained and first_steps is not None:
        raise ValueError(
            "Only a generator has a first batch that takes other steps: leave "
            f"`first_steps` out. Received: first_steps={first_steps}"
        )
    if synthesizer.student is not None:
        raise ValueError(
            "Images that compete with a student depend on its progress, which "
            "workers do not share: use a synthesizer without a student, or "
            "`distill`. Received: a synthesizer with a student"
        )


def plan_of(synthesizer, batches, images, job) -> dict:
    """Returns what all workers of a run have in common, see `BatchFolder`."""
    run = run_state.fingerprints(
        {
            **synthesizer.settings(),
            **job,
            "batches": batches,
            "images": images,
            "image_shape": synthesizer.image_shape,
            "teacher": synthesizer.teacher,
            "labels": "in turn over all batches",
        }
    )
    return {
        "run": run,
        "batches": int(batches),
        "images": int(images * synthesizer.images_per_label),
        "image_shape": [int(size) for size in synthesizer.image_shape],
        "classes": int(synthesizer.classes),
        "jpeg_quality": job["jpeg_quality"],
    }
