"""Synthesis of a whole pool of images in one call."""

import functools
import pathlib

import keras
import numpy as np

from tf_deepinversion.core import run_state
from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.core.files import require_local
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
    targets=None,
    verbose="auto",
) -> Pool:
    """Synthesizes a pool of images of a network's classes.

    The pool's `labels` are the network's predictions, `requested` the classes
    asked for.

    Args:
        teacher: A `keras.Model` classifier; or a `Synthesizer`, such as
            `FastInversion(..., draws=4)`, whose own `seed`, `preprocessing`,
            `recipe`, `image_shape`, `dtype` and `targets` then count.
        classes: List of the classes to synthesize; an int k for the first k
            classes; None for all classes. Defaults to None.
        folder: Path for the pool and the synthesizer's state, or None. With a
            folder, repeating the same call resumes after an interruption and
            gives the same pool.
        seed: Int. Defaults to 0.
        batches: Int, number of batches, each with `images` labels of balanced
            classes.
        images: Int, number of labels of a batch. All batches together need at
            least one label per class. If a batch has fewer labels than there
            are classes, the next batch continues with the next class. Images
            that a recipe of pixels keeps along the way, its `snapshots`, are
            added.
        first_steps: Int, steps of the first batch, in which a generator learns
            most. Defaults to 300 for a generator, otherwise to `steps`.
        steps: Int, steps of each other batch, or a list with one int per stage.
            Defaults to 30 for a generator, otherwise to the recipe's.
        preprocessing: The network's `Preprocessing`, or None if the network is
            known by its name.
        recipe: As for `FastInversion`; or a recipe of pixels, as for
            `DeepInversion`, whose batches are independent. Defaults to
            `"generator"`.
        image_shape: Tuple `(height, width, channels)`, required if the network
            does not fix it.
        dtype: A dtype policy, see `DeepInversion`.
        targets: `FeatureTargets`, see `DeepInversion`.
        verbose: `"auto"` or 1 for a bar of the batches, 2 for one line per
            batch, 0 for no output. Defaults to `"auto"`.

    Returns:
        A `Pool`.

    Warns:
        UserWarning: if the network assigns most of the images to other classes
            than requested. A student would learn nothing from such images.

    Raises:
        ValueError: if a number is out of range, or the folder belongs to
            another run or holds more batches.

    Example:
        ```python
        pool = di.synthesize(teacher, batches=4, images=256)
        print(len(pool), pool.labels[:10])
        ```
    """
    require_local(folder=folder)
    require_whole(batches=batches, images=images)
    synthesizer = synthesizer_of(
        teacher,
        seed,
        preprocessing=preprocessing,
        recipe=recipe,
        image_shape=image_shape,
        dtype=dtype,
        targets=targets,
    )
    # All that may be refused is, before a folder is made.
    wanted = listed_classes(synthesizer.classes if classes is None else classes)
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
    """Refuses fewer images than classes, which would leave out classes.

    Args:
        classes: List of the classes.
        batches: Int.
        images: Int, number of labels of each batch.

    Raises:
        ValueError: if there are fewer images than classes.
    """
    if batches * images < len(classes):
        raise ValueError(
            f"{batches} batches of {images} images leave out some of the "
            f"{len(classes)} classes: take {-(-len(classes) // batches)} "
            f"images a batch, or more batches. Received: images={images}, "
            f"batches={batches}"
        )


def listed_classes(classes):
    """Lists the classes to synthesize: those given, or the first k.

    Args:
        classes: List of ints, or an int k.

    Raises:
        ValueError: if there are none.
    """
    listed = classes if np.ndim(classes) else range(classes)
    if not len(listed):
        raise ValueError(
            "`classes` must be, or list, at least one. "
            f"Received: classes={classes}"
        )
    return [int(c) for c in listed]


def synthesizer_of(teacher, seed, **given) -> Synthesizer:
    """Returns the synthesizer that a call asks for.

    Args:
        teacher: A `keras.Model`, or a `Synthesizer`, which is returned.
        seed: Int.
        **given: Arguments of `make_synthesizer`; None stands for none.

    Raises:
        ValueError: if a synthesizer is given settings that it has.
    """
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
    """Fills the pool; a folder also stores the synthesizer's state."""
    run = _identity(synthesizer, images, **plan)
    pool_folder = state = None
    if folder is not None:
        pool_folder = pathlib.Path(folder) / "pool"
        state = pathlib.Path(folder) / "generator.npz"
    variables = synthesizer.state_variables
    made = restored(state, run, variables)
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
    try:
        pool.fill(
            synthesizer,
            batches=batches,
            images=images,
            made=made,
            after_batch=functools.partial(save, state, variables, run),
            verbose=verbose,
            **plan,
        )
    finally:
        pool.close()  # its images stay; the folder is free
    return pool


def _identity(synthesizer, images, *, classes, steps, first_steps) -> str:
    """Tells this run from others."""
    return run_state.fingerprints(
        {
            **synthesizer.settings(),
            "images": images,
            "classes": classes,
            "steps": [first_steps, steps],
            "image_shape": synthesizer.image_shape,
            "teacher": synthesizer.teacher,
        }
    )


def restored(path, run, variables) -> int:
    """Restores a synthesizer's state; returns how many batches led to it.

    Args:
        path: Path of the state, or None.
        run: String that identifies the run.
        variables: List of `keras.Variable`.
    """
    saved = path and run_state.load(path, run)
    for i, variable in enumerate(variables if saved else ()):
        variable.assign(saved[f"variable_{i}"])
    return int(saved["batches"]) if saved else 0


def save(path, variables, run, number):
    """Saves the state after batch `number`; the arguments as of `restored`."""
    if path is not None:
        arrays = {
            f"variable_{i}": keras.ops.convert_to_numpy(variable)
            for i, variable in enumerate(variables)
        }
        arrays["batches"] = np.array(number + 1)
        run_state.save(path, arrays, run)
