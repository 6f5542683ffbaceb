"""A student without data, in one call: images, distillation, and its state."""

import inspect
import pathlib
import time
import typing

import keras
import numpy as np

from tf_deepinversion.callbacks.fit_resumable import fit_resumable
from tf_deepinversion.callbacks.refresh_pool import RefreshPool
from tf_deepinversion.core import run_state
from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.datasets.pool import Pool
from tf_deepinversion.distillation._distillation import Distillation
from tf_deepinversion.distillation._rounds_for import rounds_for
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
    rounds=None,
    minutes=None,
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
        rounds: Int, at least 1; None where `minutes` are given.
        minutes: Float, positive, in place of `rounds`: as many rounds as fit,
            by a trial of three that leaves the student as it was. Your
            callbacks take no part in the trial. With a folder the number is
            kept there, in `plan.json`.
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
            served before is made anew. Or a function from the number of all
            steps to an optimizer, such as `optimizers.sgd`. None for
            `optimizers.muon`.
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
    begin = time.monotonic()
    require_whole(steps_per_round=steps_per_round, batch_size=batch_size)
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
    check_fixed_images(fixed_images, fixed_share, batch_size, model)
    plan = _Plan(
        model=model,
        images=images,
        rounds=rounds,
        steps_per_round=steps_per_round,
        batch_size=batch_size,
        refresh=refresh,
        fixed_images=fixed_images,
        fixed_share=fixed_share,
        optimizer=optimizer,
        capacity=capacity,
        folder=folder,
        run=run,
        seed=seed,
        callbacks=callbacks,
        verbose=verbose,
        validation_data=validation_data,
    )
    return _carry_out(plan._replace(rounds=_rounds(plan, minutes, begin)))


class _Plan(typing.NamedTuple):
    """What `distill` was asked for."""

    model: Distillation
    images: object
    rounds: int | None
    steps_per_round: int
    batch_size: int
    refresh: RefreshPool | None
    fixed_images: Pool | None
    fixed_share: float
    optimizer: object
    capacity: int
    folder: str | None
    run: str
    seed: int
    callbacks: list | None
    verbose: object
    validation_data: object

    def settings(self) -> dict:
        """What tells this run from others, apart from model and images."""
        fixed = self.fixed_images
        return {
            "rounds": self.rounds,
            "steps_per_round": self.steps_per_round,
            "batch_size": self.batch_size,
            "seed": self.seed,
            "fixed_share": self.fixed_share if fixed else None,
            "fixed_images": fixed.images if fixed else None,
        }


def _rounds(plan, minutes, begin):
    """How many rounds there are: as was said, or as fit into the minutes."""
    if (plan.rounds is None) == (minutes is None):
        raise ValueError(
            "Expected either `rounds` or `minutes`. "
            f"Received: rounds={plan.rounds}, minutes={minutes}"
        )
    if minutes is None:
        require_whole(rounds=plan.rounds)
        return plan.rounds
    model = plan.model
    variables = [*model.student.variables, *model.state_variables]
    refresh = plan.refresh
    if isinstance(plan.images, Synthesizer):
        variables += plan.images.state_variables
        refresh = (refresh or RefreshPool()).every_round(plan.images)
    before = [np.array(keras.ops.convert_to_numpy(v)) for v in variables]
    trial = plan._replace(refresh=refresh, folder=None, verbose=0)
    rounds = rounds_for(
        minutes,
        lambda few, clocks: _carry_out(
            trial._replace(rounds=few, callbacks=clocks)
        ),
        plan.folder and pathlib.Path(plan.folder) / "plan.json",
        begin,
    )
    for variable, value in zip(variables, before, strict=True):
        variable.assign(value)
    return rounds


def _carry_out(plan) -> Distilled:
    """Makes the images and trains the student."""
    model, steps = plan.model, plan.steps_per_round
    source = _source_of(plan)
    _make_ready(model, plan.batch_size, plan.optimizer, plan.rounds * steps)
    # Nothing is written before here, where all is known to fit.
    state, identity, begun = _claim(plan, source)
    stream = batches_of(
        source.open(plan.folder, identity, begun),
        plan.fixed_images,
        plan.fixed_share,
        plan.batch_size,
        plan.seed,
    )

    def batches(step):
        source.begin(step // steps)
        return stream(step)

    try:
        history = fit_resumable(
            model,
            batches,
            network=model.student,
            epochs=plan.rounds,
            steps_per_epoch=steps,
            path=state,
            run=identity,
            others=[*model.state_variables, *source.state_variables],
            callbacks=[*source.callbacks, *(plan.callbacks or [])],
            verbose=plan.verbose,
            validation_data=plan.validation_data,
        )
    finally:
        source.close()
    return Distilled(model.student, history, source.pool, source.synthesis)


def _default_synthesizer(model, seed, dtype):
    return DeepInversion(
        model.teacher,
        model.preprocessing,
        recipe="distillation_pixels",
        image_shape=model.image_shape,
        seed=seed,
        dtype=dtype,
    )


def _source_of(plan):
    images, refresh = plan.images, plan.refresh
    if isinstance(images, Synthesizer):
        check_synthesizer(images, plan.model)
        return SynthesizedImages(images, refresh, plan.rounds, plan.capacity)
    if refresh is not None:
        raise ValueError(
            "`refresh` says when a synthesizer makes images, and these are "
            f"there: leave it out. Received: images of {type(images)}"
        )
    check_images("images", images, plan.model)
    return GivenStream(images, plan.run)


def _make_ready(model, batch_size, optimizer, steps):
    """Compiles, by an optimizer as new: it may be another student's."""
    require_trainable(model.teacher, model.student)
    model.require_batch(batch_size)
    warn_if_trained(model)  # before a state is loaded into it
    optimizer = muon if optimizer is None else optimizer
    if inspect.isfunction(optimizer):
        optimizer = optimizer(steps)
    optimizer = keras.optimizers.get(optimizer)
    if optimizer.built:
        optimizer = optimizer.from_config(optimizer.get_config())
    optimizer.build(model.student.trainable_variables)
    model.compile(optimizer=optimizer)
    model.require_replicas()


def _claim(plan, source):
    """The path of a folder's state, whose run it is, and whether it is there.

    Raises:
        ValueError: if the state is of another run.
    """
    if plan.folder is None:
        return None, None, False
    model = plan.model
    found = model.settings()
    identity = run_state.fingerprints(
        {
            **plan.settings(),
            **source.settings(),
            "optimizer": model.optimizer,
            "teacher": model.teacher,
            "student": model.student,
            **{f"distillation: {name}": part for name, part in found.items()},
        }
    )
    path = pathlib.Path(plan.folder) / "state.npz"
    return path, identity, run_state.load(path, identity) is not None
