"""A pool of what a network remembers, in one call."""

import functools
import pathlib

import keras
import numpy as np

from tf_deepinversion.core import run_state
from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.core.labels import check_labels
from tf_deepinversion.datasets.pool import Pool
from tf_deepinversion.inversion.fast_inversion import FastInversion
from tf_deepinversion.inversion.make_synthesizer import make_synthesizer
from tf_deepinversion.inversion.synthesizer import Synthesizer


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
    verbose="auto",
) -> Pool:
    """A pool of images of a network's classes, by a generator or pixels.

    The pool's `labels` are what the network takes the images for, `requested`
    is what they were made for.

    Args:
        teacher: A `keras.Model` classifier with BatchNormalization layers; or
            a `Synthesizer`, such as `FastInversion(..., draws=4)`, which then
            decides `seed`, `preprocessing`, `recipe`, `image_shape`, `dtype`.
        classes: List of the classes to make; an int k for the first k; None
            for all that the network has.
        folder: Path for the pool and the synthesizer's state, or None. The
            same call goes on from there, after any interruption, to the same
            pool.
        seed: Int.
        batches: Int, each of `images` labels of balanced classes.
        images: Int; those of all batches are at least one a class, and of
            fewer than there are classes each batch goes on with the class that
            the one before stopped at. What a recipe of pixels keeps of them on
            the way, its `snapshots`, comes with them.
        first_steps: Int, of the first batch, in which a generator learns
            most; by default 300 of a generator, and of others `steps`.
        steps: Int, of each other batch; by default 30 of a generator, and of
            pixels the recipe's. A list, where its stages are several.
        preprocessing: The network's `Preprocessing`; None if known by name.
        recipe: As for `FastInversion`; or one of pixels, as for
            `DeepInversion`, whose batches know nothing of each other. None:
            `"generator"`.
        image_shape: Tuple `(height, width, channels)`, needed where the
            network does not fix it.
        dtype: As for `DeepInversion`: a dtype policy to compute in.
        verbose: `"auto"`, 0, 1 or 2: a bar of the batches, nothing, a bar, or
            a line a batch.

    Warns:
        UserWarning: if the network takes most of the images for other classes
            than they were made for. A student would learn nothing from them.

    Raises:
        ValueError: if a number is out of range, or the folder holds another
            run or more batches.
    """
    require_whole(batches=batches, images=images)
    synthesizer = _synthesizer_of(
        teacher,
        seed,
        preprocessing=preprocessing,
        recipe=recipe,
        image_shape=image_shape,
        dtype=dtype,
    )
    # All that may be refused is, before a folder is made.
    wanted = _listed(synthesizer.classes if classes is None else classes)
    wanted = check_labels(wanted, synthesizer.classes)
    require_all(wanted, batches, images)
    if isinstance(synthesizer, FastInversion):
        steps = 30 if steps is None else steps
        first_steps = 300 if first_steps is None else first_steps
    first_steps = steps if first_steps is None else first_steps
    for count in (first_steps, steps):
        synthesizer.check(np.resize(wanted, images), count)
    return _filled(
        synthesizer,
        folder,
        verbose,
        batches=batches,
        images=images,
        steps=steps,
        first_steps=first_steps,
        classes=wanted,
    )


def require_all(classes, batches, images):
    """Refuses fewer images than classes: some would never be made.

    Args:
        classes: List of the classes.
        batches: Int.
        images: Int, of each batch.

    Raises:
        ValueError: as said.
    """
    if batches * images < len(classes):
        raise ValueError(
            f"{batches} batches of {images} images leave out some of the "
            f"{len(classes)} classes: take {-(-len(classes) // batches)} "
            f"images a batch, or more batches. Received: images={images}, "
            f"batches={batches}"
        )


def _listed(classes):
    listed = classes if np.ndim(classes) else range(classes)
    if not len(listed):
        raise ValueError(
            "`classes` must be, or list, at least one. "
            f"Received: classes={classes}"
        )
    return [int(c) for c in listed]


def _synthesizer_of(teacher, seed, **given):
    if not isinstance(teacher, Synthesizer):
        given["recipe"] = given["recipe"] or "generator"
        return make_synthesizer(teacher, seed=seed, **given)
    given["seed"] = seed or None
    surplus = [name for name, value in given.items() if value is not None]
    if surplus:
        raise ValueError(
            "A synthesizer has its own: leave them out, or make the "
            f"synthesizer with them. Received: {', '.join(surplus)} beside a "
            f"{type(teacher).__name__}"
        )
    return teacher


def _filled(synthesizer, folder, verbose, *, batches, images, **plan):
    """The pool, filled; in a folder with the synthesizer's state beside it."""
    run = run_state.fingerprints(
        {
            **synthesizer.settings(),
            "images": images,
            "classes": plan["classes"],
            "steps": [plan["first_steps"], plan["steps"]],
            "image_shape": synthesizer.image_shape,
            "teacher": synthesizer.teacher,
        }
    )
    pool_folder = state = None
    if folder is not None:
        pool_folder = pathlib.Path(folder) / "pool"
        state = pathlib.Path(folder) / "generator.npz"
    saved = state and run_state.load(state, run)
    made = int(saved["batches"]) if saved else 0
    if made > batches:
        raise ValueError(
            f"{folder} holds {made} batches: ask for as many or more, or take "
            f"another folder. Received: batches={batches}"
        )
    pool = Pool(
        batches * images * synthesizer.images_per_label,
        synthesizer.image_shape,
        synthesizer.classes,
        folder=pool_folder,
        run=run,
    )
    variables = synthesizer.state_variables
    for i, variable in enumerate(variables if saved else ()):
        variable.assign(saved[f"variable_{i}"])
    try:
        pool.fill(
            synthesizer,
            batches=batches,
            images=images,
            made=made,
            after_batch=functools.partial(_save, state, variables, run),
            verbose=verbose,
            **plan,
        )
    finally:
        pool.close()  # its images stay; the folder is free
    return pool


def _save(path, variables, run, number):
    """Saves the state that batch `number` has left."""
    if path is not None:
        arrays = {
            f"variable_{i}": keras.ops.convert_to_numpy(variable)
            for i, variable in enumerate(variables)
        }
        arrays["batches"] = np.array(number + 1)
        run_state.save(path, arrays, run)
