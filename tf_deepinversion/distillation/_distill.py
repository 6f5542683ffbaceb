"""A student without data, in one call: images, distillation, and its state."""

import pathlib

import keras
import numpy as np
import tensorflow as tf

from tf_deepinversion.callbacks.fit_resumable import fit_resumable
from tf_deepinversion.callbacks.refresh_pool import RefreshPool
from tf_deepinversion.core import run_state
from tf_deepinversion.core.checks import require_integers
from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.core.labels import balanced_labels
from tf_deepinversion.datasets.pool import Pool
from tf_deepinversion.datasets.real_images import image_and_label
from tf_deepinversion.datasets.streams import batches_of
from tf_deepinversion.datasets.streams import fixed_count
from tf_deepinversion.distillation._distillation import Distillation
from tf_deepinversion.distillation.student_check import warn_if_trained
from tf_deepinversion.inversion._synthesize import require_all
from tf_deepinversion.inversion.deep_inversion import DeepInversion
from tf_deepinversion.inversion.synthesizer import require_synthesizer
from tf_deepinversion.optimizers.schedules import muon
from tf_deepinversion.transforms.augmentations import augmentations


def distill(
    teacher,
    student,
    synthesizer=None,
    *,
    rounds,
    steps_per_round=480,
    batch_size=128,
    refresh=None,
    capacity=50_000,
    portraits=None,
    share=0.3,
    optimizer=None,
    folder=None,
    seed=0,
    callbacks=None,
    verbose="auto",
    validation_data=None,
    **kwargs,
):
    """Trains a student on images that are synthesised for it.

    Each round trains the student for some steps on random images of a pool, by
    the teacher's soft answers. All images are made before the first round
    where nothing in them depends on the student, as by default; those of a
    synthesizer that competes with the student come a batch before each round,
    made against the student as it then is.

    Args:
        teacher: A `keras.Model` classifier.
        student: A `keras.Model` with the same classes, of any architecture,
            as it was made: of one that agrees with its teacher already there
            is a `UserWarning`.
        synthesizer: A `Synthesizer` of the teacher, such as a `DeepInversion`
            or a `FastInversion`; None for a `DeepInversion` by the recipe
            `distillation_pixels`.
        rounds: Int, at least 1.
        steps_per_round: Int, of the student.
        batch_size: Int, of the student.
        refresh: A `RefreshPool`, which says how many images there are and
            when they are made; None for `RefreshPool()`: 256 for each round,
            by the recipe's steps.
        capacity: Int, images in the pool, snapshots among them; the oldest
            leave.
        portraits: A `Pool` of images that are there from the first round on
            and stay, or None. A synthesizer that competes with the student
            looks for what it gets wrong, these show what it will be asked.
            See `synthesize`.
        share: Float in (0, 1), the part of each of the student's batches
            that is of `portraits`.
        optimizer: A `keras.optimizers.Optimizer` or its name; one that has
            served before is made anew. None for `optimizers.muon`, over all
            steps.
        folder: Path for the pool and the state. The same call goes on from
            there, after any interruption, to the same student; another one is
            refused, by the names of what differs.
        seed: Int.
        callbacks: List of `keras.callbacks.Callback`. What they count, as the
            patience of `EarlyStopping`, begins anew after an interruption.
        verbose: As in Keras.
        validation_data: As in Keras; labelled images, only looked at.
        **kwargs: Of `Distillation`; its `transforms` are by default
            `augmentations()`, its `reuse` 4.

    Returns:
        A triple: the `Distillation`, the dict of the history of all rounds,
        and the `Pool`. `refresh.synthesis` has the terms of the synthesis.

    Raises:
        FloatingPointError: if the student comes to be not finite.
        TypeError: if a transform or a callback is not one for this.
        ValueError: if an argument is out of range or does not fit, or the
            folder holds another run.
    """
    require_whole(
        rounds=rounds, steps_per_round=steps_per_round, batch_size=batch_size
    )
    if not 0 < share < 1:
        raise ValueError(
            f"`share` must lie between 0 and 1. Received: share={share}"
        )
    _check_validation(validation_data)
    if synthesizer is None:
        synthesizer = DeepInversion(
            teacher,
            kwargs.get("preprocessing"),
            recipe="distillation_pixels",
            image_shape=kwargs.get("image_shape"),
            seed=seed,
            dtype=kwargs.get("dtype"),
        )
    require_synthesizer(synthesizer)
    refresh = RefreshPool() if refresh is None else refresh
    kwargs = {"transforms": augmentations(), "reuse": 4, **kwargs}
    model = Distillation(teacher, student, seed=seed, **kwargs)
    model.require_trainable()
    model.require_batch(batch_size)
    _check_synthesizer(synthesizer, model)
    _check_portraits(portraits, share, batch_size, model)
    # Nothing is written before all is known to fit.
    _check_refresh(refresh, synthesizer, rounds, capacity)
    added = refresh.images * synthesizer.images_per_label
    if added > capacity:
        raise ValueError(
            f"`capacity` must hold the {added} images of a batch. "
            f"Received: capacity={capacity}"
        )
    warn_if_trained(model)  # before a state is loaded into it
    if optimizer is None:
        optimizer = muon(rounds * steps_per_round)
    optimizer = keras.optimizers.get(optimizer)
    if optimizer.built:  # for another student
        optimizer = optimizer.from_config(optimizer.get_config())
    optimizer.build(student.trainable_variables)
    model.compile(optimizer=optimizer)
    model.require_replicas()
    pool_folder = state_path = run = terms = None
    if folder is not None:
        pool_folder = pathlib.Path(folder) / "pool"
        state_path = pathlib.Path(folder) / "state.npz"
        terms = pathlib.Path(folder) / "synthesis.json"
        run = run_state.fingerprints(
            {
                "rounds": rounds,
                "steps_per_round": steps_per_round,
                "batch_size": batch_size,
                "capacity": capacity,
                "seed": seed,
                "refresh": refresh.settings(),
                "share": share if portraits else None,
                "optimizer": optimizer,
                "teacher": teacher,
                "student": student,
                **{
                    f"synthesizer: {name}": part
                    for name, part in synthesizer.settings().items()
                },
                **{
                    f"distillation: {name}": part
                    for name, part in model.settings().items()
                },
            },
            {
                "portraits": [portraits.images] if portraits else [],
            },
        )
        run_state.load(state_path, run)  # refuses another run's
    pool = Pool(
        capacity,
        synthesizer.image_shape,
        synthesizer.classes,
        folder=pool_folder,
        run=run,
    )

    def batches(step):
        done = step // steps_per_round
        made = 0
        if done:
            made = refresh.batches_by(done - 1, rounds, synthesizer, capacity)
        refresh.bind(pool, synthesizer, made, terms)
        return batches_of(pool, portraits, share, batch_size, seed, step)

    try:
        history = fit_resumable(
            model,
            batches,
            network=student,
            epochs=rounds,
            steps_per_epoch=steps_per_round,
            path=state_path,
            run=run,
            others=[*model.carried, *synthesizer.state_variables],
            callbacks=[refresh, *(callbacks or [])],
            verbose=verbose,
            validation_data=validation_data,
        )
    finally:
        pool.close()  # its images stay; the folder is free
    return model, history, pool


def _check_refresh(refresh, synthesizer, rounds, capacity):
    """What synthesis would refuse later is refused before a folder is made."""
    if not isinstance(refresh, RefreshPool):
        raise TypeError(
            "`refresh` must be a `RefreshPool`, such as "
            f"RefreshPool(images=256). Received: {type(refresh)}"
        )
    require_whole(capacity=capacity)
    batches = refresh.batches_by(rounds - 1, rounds, synthesizer, capacity)
    require_all(range(synthesizer.classes), batches, refresh.images)
    labels = balanced_labels(synthesizer.classes, refresh.images)
    for steps in (refresh.steps, refresh.first_steps):
        synthesizer.check(labels, steps)


def _check_synthesizer(synthesizer, model):
    """Its images must be those that the teacher sees and the student needs."""
    found = tuple(synthesizer.image_shape), synthesizer.classes
    expected = model.image_shape, model.classes
    if found != expected:
        raise ValueError(
            "Expected a synthesizer of the teacher: of images and classes "
            f"{expected}. Received: one of {found}"
        )
    seen = synthesizer.teacher
    if seen not in (None, model.teacher) and not _same_weights(
        seen, model.teacher
    ):
        raise ValueError(
            "Expected a synthesizer of the teacher. Received: one of another "
            f"network, {seen.name!r}"
        )
    rival = synthesizer.student
    if rival is not None and rival is not model.student:
        raise ValueError(
            "The synthesizer competes with another network than the student: "
            "make it with `student=` the one that is given here; under a "
            "strategy of several replicas, make the student in its scope. "
            f"Received: {rival.name!r}"
        )
    _check_fed(synthesizer, model, "preprocessing", "image_shape")
    if rival is not None:
        _check_fed(synthesizer, model, "student_preprocessing", "student_shape")


def _check_fed(synthesizer, model, preprocessing, shape):
    """What makes images must feed a network as the distillation does."""
    given = getattr(synthesizer, preprocessing)
    if given is None:  # a synthesizer of the user's own
        return
    expected = getattr(model, preprocessing)
    shapes = getattr(synthesizer, shape), getattr(model, shape)
    if shapes[0] != shapes[1] or not given.feeds_as(expected):
        raise ValueError(
            f"The synthesizer and the distillation feed a network otherwise: "
            f"give both the same `{preprocessing}` and `{shape}`. Received: "
            f"{given.get_config()} of {shapes[0]}, and "
            f"{expected.get_config()} of {shapes[1]}"
        )


def _same_weights(a, b):
    pairs = a.get_weights(), b.get_weights()
    return len(pairs[0]) == len(pairs[1]) and all(
        np.array_equal(*pair) for pair in zip(*pairs, strict=True)
    )


def _check_portraits(portraits, share, batch_size, model):
    if portraits is None:
        return
    if not len(portraits):
        raise ValueError(
            "`portraits` must be a `Pool` with images in it: `add` some, or "
            "leave it out. Received: an empty one"
        )
    found = portraits.image_shape, portraits.soft_targets is not None
    if found != (model.image_shape, False):
        raise ValueError(
            f"`portraits` must be a `Pool` of images {model.image_shape}, "
            "without soft targets. Received: one of images "
            f"{portraits.image_shape}, " + ("with" if found[1] else "without")
        )
    if fixed_count(share, batch_size) >= batch_size:
        raise ValueError(
            "No image of a batch would be new: take a larger `batch_size` or "
            f"a smaller `share`. Received: {batch_size} and {share}"
        )


def _check_validation(data):
    """Floats would be refused after the first round alone."""
    if isinstance(data, tf.data.Dataset):
        images, _ = image_and_label(data.element_spec)
        require_integers(images.dtype.as_numpy_dtype)
    elif isinstance(data, (tuple, list)):
        require_integers(np.asarray(data[0]).dtype)
