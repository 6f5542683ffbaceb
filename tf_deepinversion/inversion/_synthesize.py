"""Synthesis of a whole pool of images in one call."""

import contextlib

from tf_deepinversion.core.files import path_of
from tf_deepinversion.core.kept_values import unchanged_if_interrupted
from tf_deepinversion.datasets._merge_batches import merge_batches
from tf_deepinversion.datasets.batch_folder import BatchFolder
from tf_deepinversion.datasets.pool import Pool
from tf_deepinversion.inversion.batch_worker import BatchWorker
from tf_deepinversion.inversion.batches_job import job_of
from tf_deepinversion.networks.measured_policy import chosen_policy


def synthesize(
    teacher,
    classes=None,
    *,
    folder=None,
    seed=0,
    batches=10,
    images=256,
    first_steps=None,
    steps=None,
    preprocessing=None,
    recipe=None,
    image_shape=None,
    dtype=None,
    targets=None,
    jpeg_quality=None,
    verbose="auto",
) -> Pool:
    """Synthesizes a pool of images of a network's classes.

    The pool's `labels` are the network's predictions, `requested` the classes
    asked for. With a folder, the call is one worker of `synthesize_batches`,
    whose batches all go on from each other, and a merge after each batch. More
    workers may help with a recipe of pixels: they call `synthesize_batches` on
    the folder `pool` in `folder`.

    Args:
        teacher: A `keras.Model` classifier; or a `Synthesizer`, such as
            `FastInversion(..., draws=4)`, whose own `seed`, `preprocessing`,
            `recipe`, `image_shape`, `dtype` and `targets` then count. A
            generator learns as it makes images: add batches with a new
            `FastInversion`, made like the first. A call that was interrupted
            leaves the generator as it was, and can be repeated.
        classes: List of the classes to synthesize; an int k for the first k
            classes; None for all classes. Defaults to None.
        folder: Path, also of an object store, whose folder `pool` gets the
            pool and the synthesizer's state; or None for a pool in memory. With
            a folder, repeating the same call resumes after an interruption and
            gives the same pool, and with more `batches` adds to it. SIGTERM
            ends the process after the epoch that it is at, by `SystemExit` with
            the code 143. Defaults to None.
        seed: Int in [0, 2**31). Defaults to 0.
        batches: Int, at least 1, number of batches, each with `images` labels
            of the classes in turn. Defaults to 10.
        images: Int, number of labels of a batch. All batches together need at
            least one label per class. Images that a recipe of pixels keeps
            along the way, its `snapshots`, are added. Defaults to 256.
        first_steps: Int, steps of the first batch, in which a generator learns
            most. Defaults to 300 for a generator, otherwise to `steps`.
        steps: Int, steps of each other batch, or a list with one int per stage.
            Defaults to 30 for a generator, otherwise to the recipe's.
        preprocessing: The network's `Preprocessing`, or None if the network is
            known by its name. Defaults to None.
        recipe: As for `FastInversion`; or a recipe of pixels, as for
            `DeepInversion`, whose batches are independent. Defaults to
            `"generator"`.
        image_shape: Tuple `(height, width, channels)`, required if the network
            does not fix it. Defaults to the network's.
        dtype: A dtype policy, see `DeepInversion`. With `"auto"` a folder that
            has images keeps the policy that they were made with. Defaults to
            the network's own policy.
        targets: `FeatureTargets`, see `DeepInversion`. Defaults to None.
        jpeg_quality: Int in [1, 100], to keep JPEG images in place of PNG in
            the folder, see `Pool`. Defaults to None.
        verbose: `"auto"` or 1 for a bar of the batches, 2 for one line per
            batch, 0 for no output. Defaults to `"auto"`.

    Returns:
        A `Pool`; with a folder, for reading alone.

    Warns:
        UserWarning: if the network assigns most of the images to other classes
            than requested. A student would learn nothing from such images.

    Raises:
        ValueError: if a number is out of range, or the folder belongs to
            another run, was made by an earlier version, or is for more batches.

    Example:
        ```python
        pool = di.synthesize(teacher, batches=4, images=256)
        print(len(pool), pool.labels[:10])
        ```
    """
    path = None if folder is None else path_of(folder) / "pool"
    dtype = chosen_policy(dtype, path, ["run.json"])
    # All that may be refused is, before a folder is made.
    job = job_of(
        teacher,
        classes,
        seed=seed,
        batches=batches,
        images=images,
        first_steps=first_steps,
        steps=steps,
        preprocessing=preprocessing,
        recipe=recipe,
        image_shape=image_shape,
        dtype=dtype,
        targets=targets,
        jpeg_quality=jpeg_quality,
    )
    with unchanged_if_interrupted(job.synthesizer.state_variables):
        if path is None:
            return _in_memory(job, verbose)
        return _on_disk(job, path, verbose)


def _in_memory(job, verbose):
    pool = Pool(
        job.batches * job.images * job.synthesizer.images_per_label,
        job.synthesizer.image_shape,
        job.synthesizer.classes,
        jpeg_quality=job.jpeg_quality,
    )
    pool.fill(
        job.synthesizer,
        batches=job.batches,
        images=job.images,
        classes=job.classes,
        steps=job.steps,
        first_steps=job.first_steps,
        verbose=verbose,
    )
    return pool


def _on_disk(job, path, verbose):
    folder = BatchFolder.claim(path, job.plan, grows=True)
    listed = 0

    def list_batches():
        nonlocal listed
        # Listing reads a file of each batch. Every tenth more keeps the sum of
        # all listings proportional to the number of batches.
        done = len(folder.done)
        if done >= 1.1 * listed:
            merge_batches(path)
            listed = done

    worker = BatchWorker(
        folder, job, verbose=verbose, raises=True, after_batch=list_batches
    )
    try:
        worker.run()
    except BaseException:
        _list_done(path)
        raise
    if worker.stopped:
        _list_done(path)
        raise SystemExit(143)  # as a shell says that SIGTERM ended it
    return merge_batches(path)


def _list_done(path):
    """Lists the batches of a call that ends early, if any is done."""
    # What ended the call is the error to show.
    with contextlib.suppress(OSError, ValueError):
        merge_batches(path)
