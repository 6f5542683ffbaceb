"""A pool of what a network remembers, in one call."""

import pathlib
import warnings

import keras
import numpy as np

from tf_deepinversion.core import run_state
from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.core.checks import share_right
from tf_deepinversion.core.labels import balanced_labels
from tf_deepinversion.core.labels import check_labels
from tf_deepinversion.datasets.pool import Pool
from tf_deepinversion.inversion import recipes
from tf_deepinversion.inversion.deep_inversion import DeepInversion
from tf_deepinversion.inversion.fast_inversion import FastInversion
from tf_deepinversion.inversion.synthesizer import add_made
from tf_deepinversion.inversion.synthesizer import images_of_a_batch
from tf_deepinversion.inversion.synthesizer import require_drawing


def synthesize(
    model,
    classes,
    folder=None,
    seed=0,
    *,
    batches=10,
    images=256,
    first_steps=None,
    steps=None,
    draws=0,
    preprocessing=None,
    recipe="generator",
    image_shape=None,
    dtype=None,
) -> Pool:
    """A pool of images of a network's classes, by a generator or pixels.

    Its `labels` are what the network takes the images for, `requested` is
    what they were made for.

    Args:
        model: A `keras.Model` classifier with BatchNormalization layers.
        classes: Int, how many classes it has; or a list of some of them, to
            have images of those alone.
        folder: Path for the pool and the generator's state, or None. The same
            call goes on from there, after any interruption, to the same pool.
        seed: Int.
        batches: Int, each of `images` images of balanced classes.
        images: Int; those of all batches are at least one a class, and of
            fewer than there are classes each batch goes on with those that the
            one before stopped at. What a recipe of pixels keeps of them on the
            way, its `snapshots`, comes with them.
        first_steps: Int, of the first batch, in which a generator learns
            most; by default 300 of a generator, and of pixels `steps`.
        steps: Int, of each other batch; by default 30 of a generator, and of
            pixels the recipe's. A list, where its stages are several.
        draws: Int; where it is not 0, as many times `images` new ones are
            drawn after each batch's steps, in place of those that the steps
            were made on. The recipe must allow it: see `FastInversion.draw`.
        preprocessing: The network's `Preprocessing`; None if known by name.
        recipe: As for `FastInversion`; or one of pixels, as for
            `DeepInversion`, whose batches know nothing of each other.
        image_shape: Tuple `(height, width, channels)`, needed where the
            network does not fix it.
        dtype: As for `DeepInversion`: a dtype policy to compute in.

    Warns:
        UserWarning: if the network takes most of the images for other classes
            than they were made for. A student would learn nothing from them.

    Raises:
        ValueError: if a number is out of range, or the folder holds another
            run or more batches.
    """
    recipe = recipes.find(recipe)
    maker = DeepInversion
    if recipe.get("moves") == "generator":
        maker, steps = FastInversion, 30 if steps is None else steps
        first_steps = 300 if first_steps is None else first_steps
    elif draws:
        raise ValueError(
            "Only a generator draws more images: leave `draws` out, or take a "
            f"recipe of a generator. Received: draws={draws}"
        )
    first_steps = steps if first_steps is None else first_steps
    require_whole(batches=batches)
    listed = np.ndim(classes) == 1
    wanted = [int(c) for c in (classes if listed else range(classes))]
    if not wanted:
        raise ValueError(
            "`classes` must be, or list, at least one. "
            f"Received: classes={classes}"
        )
    require_whole(images=images)
    require_whole(0, draws=draws)
    if batches * images < len(wanted):
        raise ValueError(
            f"{batches} batches of {images} images leave out some of the "
            f"{len(wanted)} classes: take {-(-len(wanted) // batches)} images "
            f"a batch, or more batches. Received: images={images}, "
            f"batches={batches}"
        )
    synthesizer = maker(
        model,
        preprocessing,
        recipe=recipe,
        image_shape=image_shape,
        seed=seed,
        dtype=dtype,
    )
    require_drawing(synthesizer, draws)
    # All that may be refused is, before a folder is made.
    wanted = check_labels(wanted, synthesizer.classes)
    for count in (first_steps, steps):
        recipes.steps_of_stages(recipe, count)
    run = run_state.fingerprints(
        {
            "images": images,
            "steps": [first_steps, steps],
            "draws": draws,
            "image_shape": synthesizer.image_shape,
            "recipe": synthesizer.recipe,
            "seed": seed,
            "dtype": dtype and str(dtype),
            "classes": wanted,
            "preprocessing": synthesizer.preprocessing,
            "model": model,
        },
        {},
    )
    pool_folder = state = None
    if folder is not None:
        pool_folder = pathlib.Path(folder) / "pool"
        state = pathlib.Path(folder) / "generator.npz"
    saved = None if state is None else run_state.load(state, run)
    done = int(saved["batches"]) if saved else 0
    if done > batches:
        raise ValueError(
            f"{folder} holds {done} batches: ask for as many or more, or take "
            f"another folder. Received: batches={batches}"
        )
    pool = Pool(
        batches * images_of_a_batch(synthesizer, images, draws),
        synthesizer.image_shape,
        synthesizer.classes,
        folder=pool_folder,
        run=run,
    )
    try:
        if saved:
            for i, variable in enumerate(synthesizer.carried):
                variable.assign(saved[f"variable_{i}"])
        for batch_index in range(done, batches):
            labels = wanted[balanced_labels(len(wanted), images, batch_index)]
            synthesizer.fit(
                labels,
                first_steps if batch_index == 0 else steps,
                batch_index=batch_index,
                verbose=0,
            )
            add_made(pool, synthesizer, labels, batch_index, draws)
            _save(state, synthesizer.carried, batch_index + 1, run)
    finally:
        pool.close()  # its images stay; the folder is free
    _warn_if_not_recognised(pool)
    return pool


def _warn_if_not_recognised(pool):
    share = share_right(pool.labels, pool.requested)
    if share < 0.5:
        warnings.warn(
            f"The network takes {share:.0%} of the images for what they were "
            "made for. Take more `first_steps`, or a recipe with more weight "
            "on the cross-entropy.",
            stacklevel=3,
        )


def _save(path, variables, batches, run):
    if path is not None:
        arrays = {
            f"variable_{i}": keras.ops.convert_to_numpy(variable)
            for i, variable in enumerate(variables)
        }
        arrays["batches"] = np.array(batches)
        run_state.save(path, arrays, run)
