"""A student without data, in one call: images, distillation, and its state."""

import pathlib
import typing

import keras

from tf_deepinversion.callbacks.fit_resumable import fit_resumable
from tf_deepinversion.core import run_state
from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.datasets.pool import Pool
from tf_deepinversion.distillation._distillation import Distillation
from tf_deepinversion.distillation.fit_together import check_callbacks
from tf_deepinversion.distillation.fit_together import check_fixed_images
from tf_deepinversion.distillation.fit_together import check_images
from tf_deepinversion.distillation.fit_together import check_synthesizer
from tf_deepinversion.distillation.fit_together import check_validation
from tf_deepinversion.distillation.student_check import warn_if_trained
from tf_deepinversion.distillation.student_model import require_trainable
from tf_deepinversion.distillation.training_images import GivenStream
from tf_deepinversion.distillation.training_images import SynthesizedImages
from tf_deepinversion.distillation.training_images import batches_of
from tf_deepinversion.inversion.deep_inversion import DeepInversion
from tf_deepinversion.inversion.synthesizer import Synthesizer
from tf_deepinversion.optimizers.schedules import muon
from tf_deepinversion.transforms.augmentations import augmentations


class Distilled(typing.NamedTuple):
    """What `distill` gives.

    Attributes:
        student: The `keras.Model` that was trained.
        history: Dict from names to lists, one number a round.
        pool: The `Pool` of images; None where the images were given otherwise.
        synthesis: Dict from names to lists, one number a batch of images: its
            number, `batch`, and the terms of its synthesis at its last step.
            Empty where nothing was synthesized.
    """

    student: keras.Model
    history: dict
    pool: Pool | None
    synthesis: dict


def distill(
    teacher,
    student,
    images=None,
    *,
    rounds,
    steps_per_round=480,
    batch_size=128,
    refresh=None,
    fixed_images=None,
    fixed_share=0.3,
    temperature=4.0,
    transforms=None,
    steps_per_teacher_call=4,
    optimizer=None,
    preprocessing=None,
    student_preprocessing=None,
    image_shape=None,
    dtype=None,
    capacity=50_000,
    folder=None,
    run="",
    seed=0,
    callbacks=None,
    verbose="auto",
    validation_data=None,
) -> Distilled:
    """Trains a student on images that are synthesized for it.

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
        images: None for a `DeepInversion` of the teacher by the recipe
            `distillation_pixels`; another `Synthesizer`; or images that are
            there, as for `as_stream`: a `Pool`, a pair of arrays, a
            `tf.data.Dataset`, or a function from a step to one of batches.
        rounds: Int, at least 1.
        steps_per_round: Int, of the student.
        batch_size: Int, of the student.
        refresh: A `RefreshPool`, which says how many images there are and
            when they are made; None for `RefreshPool()`: 256 for each round,
            by the recipe's steps.
        fixed_images: A `Pool` of images that are there from the first round on
            and stay, or None. A synthesizer that competes with the student
            looks for what it gets wrong, these show what it will be asked.
            See `synthesize`.
        fixed_share: Float in (0, 1), the part of each of the student's batches
            that is of `fixed_images`.
        temperature: Float, see `SoftenedKL`.
        transforms: List of transforms that both networks see images through;
            None for `augmentations()`.
        steps_per_teacher_call: Int, see `Distillation`.
        optimizer: A `keras.optimizers.Optimizer` or its name; one that has
            served before is made anew. None for `optimizers.muon`, over all
            steps.
        preprocessing: The teacher's `Preprocessing`; None if known by name.
        student_preprocessing: The student's; None: if known by name its own,
            or else the teacher's.
        image_shape: Tuple `(height, width, channels)`, needed where the
            teacher does not fix it.
        dtype: A dtype policy in which the networks compute, see
            `Distillation`.
        capacity: Int, images in the pool, snapshots among them; the oldest
            leave.
        folder: Path for the pool and the state. The same call goes on from
            there, after any interruption, to the same student; another one is
            refused, by the names of what differs.
        run: String, a name of `images`. Needed with a folder where they are a
            `tf.data.Dataset` or a function.
        seed: Int.
        callbacks: List of `keras.callbacks.Callback`. What they count, as the
            patience of `EarlyStopping`, begins anew after an interruption.
        verbose: As in Keras, and for the making of images too.
        validation_data: As in Keras; labeled images, only looked at.

    Returns:
        A `Distilled`: the student, the history of all rounds, the pool, and
        the terms of the synthesis.

    Raises:
        FloatingPointError: if the student comes to be not finite.
        TypeError: if a transform or a callback is not one for this.
        ValueError: if an argument is out of range or does not fit, or the
            folder holds another run.
    """
    require_whole(
        rounds=rounds, steps_per_round=steps_per_round, batch_size=batch_size
    )
    check_validation(validation_data)
    check_callbacks(callbacks)
    model = Distillation(
        teacher,
        student,
        preprocessing,
        student_preprocessing,
        temperature=temperature,
        transforms=augmentations() if transforms is None else transforms,
        steps_per_teacher_call=steps_per_teacher_call,
        image_shape=image_shape,
        dtype=dtype,
        seed=seed,
    )
    if images is None:
        images = _default_synthesizer(model, seed, dtype)
    source = _source_of(images, model, refresh, rounds, capacity, run)
    check_fixed_images(fixed_images, fixed_share, batch_size, model)
    _make_ready(model, batch_size, optimizer, rounds * steps_per_round)
    parts = {
        "rounds": rounds,
        "steps_per_round": steps_per_round,
        "batch_size": batch_size,
        "seed": seed,
        "fixed_share": fixed_share if fixed_images else None,
        "fixed_images": fixed_images.images if fixed_images else None,
    }
    # Nothing is written before here, where all is known to fit.
    state, identity, begun = _claim(folder, model, source, parts)
    pool = source.open(folder, identity, begun)
    stream = batches_of(pool, fixed_images, fixed_share, batch_size, seed)

    def batches(step):
        source.begin(step // steps_per_round)
        return stream(step)

    try:
        history = fit_resumable(
            model,
            batches,
            network=student,
            epochs=rounds,
            steps_per_epoch=steps_per_round,
            path=state,
            run=identity,
            others=[*model.state_variables, *source.state_variables],
            callbacks=[*source.callbacks, *(callbacks or [])],
            verbose=verbose,
            validation_data=validation_data,
        )
    finally:
        source.close()
    return Distilled(student, history, source.pool, source.synthesis)


def _default_synthesizer(model, seed, dtype):
    return DeepInversion(
        model.teacher,
        model.preprocessing,
        recipe="distillation_pixels",
        image_shape=model.image_shape,
        seed=seed,
        dtype=dtype,
    )


def _source_of(images, model, refresh, rounds, capacity, run):
    if isinstance(images, Synthesizer):
        check_synthesizer(images, model)
        return SynthesizedImages(images, refresh, rounds, capacity)
    if refresh is not None:
        raise ValueError(
            "`refresh` says when a synthesizer makes images, and these are "
            f"there: leave it out. Received: images of {type(images)}"
        )
    check_images("images", images, model)
    return GivenStream(images, run)


def _make_ready(model, batch_size, optimizer, steps):
    """Compiles, by an optimizer as new: it may be another student's."""
    require_trainable(model.teacher, model.student)
    model.require_batch(batch_size)
    warn_if_trained(model)  # before a state is loaded into it
    optimizer = muon(steps) if optimizer is None else optimizer
    optimizer = keras.optimizers.get(optimizer)
    if optimizer.built:
        optimizer = optimizer.from_config(optimizer.get_config())
    optimizer.build(model.student.trainable_variables)
    model.compile(optimizer=optimizer)
    model.require_replicas()


def _claim(folder, model, source, parts):
    """The path of a folder's state, whose run it is, and whether it is there.

    Raises:
        ValueError: if the state is of another run.
    """
    if folder is None:
        return None, None, False
    found = model.settings()
    identity = run_state.fingerprints(
        {
            **parts,
            **source.settings(),
            "optimizer": model.optimizer,
            "teacher": model.teacher,
            "student": model.student,
            **{f"distillation: {name}": part for name, part in found.items()},
        }
    )
    path = pathlib.Path(folder) / "state.npz"
    return path, identity, run_state.load(path, identity) is not None
