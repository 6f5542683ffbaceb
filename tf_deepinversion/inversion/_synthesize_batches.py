"""Synthesis of one pool by many independent workers."""

from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.core.files import path_of
from tf_deepinversion.datasets._merge_batches import BatchesStatus
from tf_deepinversion.datasets._merge_batches import status_of_batches
from tf_deepinversion.datasets.batch_folder import BatchFolder
from tf_deepinversion.inversion.batch_worker import BatchWorker
from tf_deepinversion.inversion.batches_job import job_of
from tf_deepinversion.networks.measured_policy import chosen_policy


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
    Workers may be killed, started again, and be more or fewer than before. A
    batch counts by a file in `done/`, which the first worker that finishes the
    batch writes. A killed worker loses at most its current batch. SIGTERM ends
    a worker after its current epoch; the next call continues the batch there.
    `datasets.merge_batches` makes one pool of all batches.

    The pixels of a batch are a function of the arguments and of the number of
    the batch, on one kind of device. Batch b has the labels `arange(b n,
    (b + 1) n) % classes`, so it may have fewer images than there are classes.

    Args:
        teacher: A `keras.Model`, or a `Synthesizer` without state, as for
            `synthesize`.
        folder: Path of a folder that all workers share, also of an object
            store, as `"gs://bucket/run"` (extra `remote`). Another run is
            refused by the names of what differs.
        classes: As for `synthesize`. Defaults to None.
        worker: Int in [0, workers), number of this worker. Defaults to 0.
        workers: Int, number of workers. Defaults to 1.
        batches: Int, number of batches of all workers. Defaults to 100.
        images: Int, number of labels of a batch. Defaults to 256.
        chain: Int, for a recipe with a generator: number of batches that one
            generator makes, each going on from the one before. Chains are
            independent, and a worker takes whole chains. Defaults to 10.
        seed: Int in [0, 2**31). Defaults to 0.
        first_steps: Int, steps of the first batch of a chain. Defaults to 300
            for a generator, otherwise to `steps`.
        steps: As for `synthesize`.
        preprocessing: As for `synthesize`. Defaults to None.
        recipe: As for `synthesize`. Defaults to `"generator"`.
        image_shape: As for `synthesize`. Defaults to the network's.
        dtype: As for `synthesize`. With `"auto"` the first worker chooses.
            Defaults to the network's.
        targets: As for `synthesize`. Defaults to None.
        micro_batch: Int, number of images that are read at once, see
            `DeepInversion.compile`. Workers may differ. Defaults to all.
        jpeg_quality: Int in [1, 100], to keep JPEG images in place of PNG, see
            `Pool`. Defaults to None.
        verbose: As for `synthesize`; the time left is that of all workers.
            Defaults to `"auto"`.

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
    folder = path_of(folder)
    require_whole(workers=workers, chain=chain)
    require_whole(0, worker=worker)
    _require_place(worker, workers)
    dtype = chosen_policy(dtype, folder, ["run.json"])
    job = job_of(
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
        BatchFolder.claim(folder, job.plan),
        job,
        worker=worker,
        workers=workers,
        verbose=verbose,
    )
    run.run()
    return status_of_batches(folder)._replace(
        failed=run.failed, stopped=run.stopped
    )


def _require_place(worker, workers):
    if worker >= workers:
        raise ValueError(
            "`worker` counts from 0, so it is less than `workers`. "
            f"Received: worker={worker}, workers={workers}"
        )
