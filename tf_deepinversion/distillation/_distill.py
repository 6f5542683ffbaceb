"""Trains a student without data in one call, and saves its state."""

import pathlib
import time

import keras

from tf_deepinversion.callbacks.fit_resumable import fit_resumable
from tf_deepinversion.callbacks.refresh_pool import RefreshPool
from tf_deepinversion.core import run_state
from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.core.files import require_local
from tf_deepinversion.core.kept_values import kept_values
from tf_deepinversion.core.kept_values import unchanged_if_interrupted
from tf_deepinversion.distillation._distillation import Distillation
from tf_deepinversion.distillation._rounds_for import rounds_for
from tf_deepinversion.distillation.check_arguments import check_callbacks
from tf_deepinversion.distillation.check_arguments import check_fixed_images
from tf_deepinversion.distillation.check_arguments import check_images
from tf_deepinversion.distillation.check_arguments import check_synthesizer
from tf_deepinversion.distillation.check_arguments import check_validation
from tf_deepinversion.distillation.distilled import Distilled
from tf_deepinversion.distillation.first_student import first_student
from tf_deepinversion.distillation.plan import Plan
from tf_deepinversion.distillation.plan import require_shared
from tf_deepinversion.distillation.student_check import warn_if_trained
from tf_deepinversion.distillation.training_images import GivenStream
from tf_deepinversion.distillation.training_images import SynthesizedImages
from tf_deepinversion.distillation.training_images import batches_of
from tf_deepinversion.distillation.whole_job import RoundsProgress
from tf_deepinversion.distillation.whole_job import whole_job
from tf_deepinversion.inversion.deep_inversion import DeepInversion
from tf_deepinversion.inversion.synthesizer import Synthesizer
from tf_deepinversion.networks.measured_policy import chosen_policy
from tf_deepinversion.networks.random_layers import seed_random_layers
from tf_deepinversion.networks.require_trainable import require_trainable
from tf_deepinversion.networks.require_trainable import warn_of_frozen
from tf_deepinversion.optimizers.schedules import muon
from tf_deepinversion.optimizers.unbuilt import unbuilt
from tf_deepinversion.transforms.augmentations import augmentations


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
    class_maps=1.0,
    transforms=None,
    steps_per_teacher_call=4,
    optimizer=None,
    preprocessing=None,
    student_preprocessing=None,
    image_shape=None,
    dtype=None,
    targets=None,
    capacity=50_000,
    folder=None,
    run="",
    seed=0,
    callbacks=None,
    verbose="auto",
    validation_data=None,
) -> Distilled:
    """Trains a student on images synthesized from its teacher.

    Each round trains the student for some steps on random images of a pool,
    with the teacher's soft outputs as targets. By default all images are made
    before the first round. A synthesizer that competes with the student makes a
    batch before each round, against the current student.

    Args:
        teacher: A `keras.Model` classifier.
        student: A new `keras.Model` with the same classes, of any architecture.
            A `UserWarning` tells if it already agrees with the teacher. Or a
            function that makes the student from images, such as
            `lambda images: di.pruning.narrow(teacher, images)`, which starts
            from half of the teacher's channels. The function gets
            `fixed_images`; without these `images`, or the first batch of a
            synthesizer. It is called again, with the same images, if an
            interrupted run resumes.
        images: None for a `DeepInversion` of the teacher with the recipe
            `distillation_pixels`; another `Synthesizer`; or existing images, as
            for `as_stream`: a `Pool`, a pair of arrays, a `tf.data.Dataset`, or
            a function from a step to a data set of batches. Defaults to None.
        rounds: Int, at least 1; None with `minutes`. Defaults to None.
        minutes: Float, positive, in place of `rounds`: as many rounds as fit
            into this time, estimated by a trial of three rounds that leaves the
            student unchanged. The trial does not call your callbacks. With a
            folder, `plan.json` stores the number of rounds. Defaults to None.
        steps_per_round: Int, training steps of the student per round. Defaults
            to 480.
        batch_size: Int, of the student's steps. Defaults to 128.
        refresh: A `RefreshPool`, which sets number and time of the synthesized
            images. Defaults to `RefreshPool()`: 256 images per round, with the
            recipe's steps.
        fixed_images: A `Pool` of images that stay in use from the first round
            on, or None. A synthesizer that competes with the student seeks
            images that the student misjudges; fixed images add typical images.
            See `synthesize`. Defaults to None.
        fixed_share: Float in (0, 1), share of `fixed_images` in each of the
            student's batches. Defaults to 0.3.
        temperature: Float, see `SoftenedKL`. Defaults to 4.
        class_maps: Float, see `Distillation`. Defaults to 1.
        transforms: List of transforms of the images for both networks. Defaults
            to `augmentations()`.
        steps_per_teacher_call: Int, see `Distillation`. Defaults to 4.
        optimizer: A `keras.optimizers.Optimizer` or its name; a used optimizer
            is created again. Or a function from the number of all steps to an
            optimizer, such as `optimizers.sgd`. Defaults to `optimizers.muon`
            over all steps.
        preprocessing: The teacher's `Preprocessing`, or None if the teacher is
            known by its name. Defaults to None.
        student_preprocessing: The student's `Preprocessing`. Defaults to the
            student's own if it is known by its name, otherwise to the
            teacher's.
        image_shape: Tuple `(height, width, channels)`, required if the teacher
            does not fix it. Defaults to the teacher's.
        dtype: A dtype policy for both networks, see `Distillation`. Defaults to
            the networks' own policies.
        targets: `FeatureTargets` of the teacher for the default of `images`,
            see `DeepInversion`. Another synthesizer has its own. Defaults to
            None.
        capacity: Int, largest number of images in the pool, including
            snapshots. A full pool drops the oldest. Defaults to 50,000.
        folder: Path for the pool and the state, or None. With a folder,
            repeating the same call resumes after an interruption and gives the
            same student. Another call is refused with an error that names the
            differences. Defaults to None.
        run: String, a name of `images`, required with `folder` if they are a
            `tf.data.Dataset` or a function. Defaults to `""`.
        seed: Int in [0, 2**31). Defaults to 0.
        callbacks: List of `keras.callbacks.Callback`. Their own counters, such
            as the patience of `EarlyStopping`, restart after an interruption.
            Defaults to None.
        verbose: As in `keras.Model.fit`, also for synthesis. Defaults to
            `"auto"`.
        validation_data: As in `keras.Model.fit`: labeled images that do not
            affect training. Defaults to None.

    Returns:
        A `Distilled`: the student, the history of all rounds, the pool, and the
        loss terms of the synthesis.

    Raises:
        FloatingPointError: if a value of the student is no longer finite.
        TypeError: if a transform or a callback has the wrong type.
        ValueError: if an argument is out of range or does not fit, or the
            folder belongs to another run.

    Example:
        ```python
        distilled = di.distill(teacher, student, rounds=20)
        distilled.student.save("student.keras")
        ```
    """
    begin = time.monotonic()
    require_local(folder=folder)
    _check_length(rounds, minutes)
    require_whole(steps_per_round=steps_per_round, batch_size=batch_size)
    check_validation(validation_data)
    check_callbacks(callbacks)
    dtype = chosen_policy(
        dtype, folder, ("state.npz", "pool/pool.json"), "distillation: dtype"
    )
    if images is None:
        images = DeepInversion(
            teacher,
            preprocessing,
            recipe="distillation_pixels",
            image_shape=image_shape,
            seed=seed,
            dtype=dtype,
            targets=targets,
        )
    elif targets is not None:
        raise ValueError(
            "`targets` are for images that are synthesized by default: pass "
            "them to the synthesizer, or leave them out. "
            f"Received: targets beside images of {type(images)}"
        )
    is_function = callable(student) and not isinstance(student, keras.Model)
    if is_function:
        seen = images if fixed_images is None else fixed_images
        student = first_student(student, seen, refresh, verbose)
    model = Distillation(
        teacher,
        student,
        preprocessing,
        student_preprocessing,
        temperature=temperature,
        class_maps=class_maps,
        transforms=augmentations() if transforms is None else transforms,
        steps_per_teacher_call=steps_per_teacher_call,
        image_shape=image_shape,
        dtype=dtype,
        seed=seed,
    )
    check_fixed_images(fixed_images, fixed_share, batch_size, model)
    if not is_function:  # such a student is meant to start ahead
        warn_if_trained(model)
    plan = Plan(
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
    require_shared(plan, minutes)
    return _carry_out(plan._replace(rounds=_rounds(plan, minutes, begin)))


def _check_length(rounds, minutes):
    if (rounds is None) == (minutes is None):
        raise ValueError(
            "Expected either `rounds` or `minutes`. "
            f"Received: rounds={rounds}, minutes={minutes}"
        )
    if minutes is None:
        require_whole(rounds=rounds)


def _rounds(plan, minutes, begin):
    """Returns the number of rounds, given or estimated from the minutes."""
    if minutes is None:
        return plan.rounds
    model = plan.model
    variables = [*model.student.variables, *model.state_variables]
    refresh = plan.refresh
    if isinstance(plan.images, Synthesizer):
        variables += plan.images.state_variables
        refresh = (refresh or RefreshPool()).every_round(plan.images)
    trial = plan._replace(refresh=refresh, folder=None, verbose=0)
    # The trial trains student, cache and generator.
    with kept_values(variables):
        return rounds_for(
            minutes,
            lambda few, clocks: _carry_out(
                trial._replace(rounds=few, callbacks=clocks)
            ),
            plan.folder and pathlib.Path(plan.folder) / "plan.json",
            begin,
            steps_per_round=int(plan.steps_per_round),
            batch_size=int(plan.batch_size),
        )


def _carry_out(plan) -> Distilled:
    """Makes the images and trains the student."""
    # A given generator is as it was after an interruption, so that the call can
    # be repeated.
    generators = getattr(plan.images, "state_variables", ())
    with unchanged_if_interrupted(generators):
        return _make_and_train(plan)


def _make_and_train(plan) -> Distilled:
    model, steps = plan.model, plan.steps_per_round
    source = _source_of(plan)
    _make_ready(model, plan.batch_size, plan.optimizer, plan.rounds * steps)
    # All arguments are checked above, so a refused call writes nothing.
    state, identity, begun = _claim(plan, source)
    stream = batches_of(
        source.open(plan.folder, identity, begun),
        plan.fixed_images,
        plan.fixed_share,
        plan.batch_size,
        plan.seed,
    )

    try:
        job = whole_job(source, plan)
        bars = [RoundsProgress(job)] if job else []

        def batches(step):
            # `fit_resumable` calls this once, with the first step that is left.
            source.begin(step // steps, job)
            return stream(step)

        seed_random_layers(model.student, plan.seed)
        history = fit_resumable(
            model,
            batches,
            network=model.student,
            epochs=plan.rounds,
            steps_per_epoch=steps,
            path=state,
            run=identity,
            others=source.state_variables,
            ring=model.teacher_cache,
            callbacks=[*bars, *source.callbacks, *(plan.callbacks or [])],
            verbose=plan.verbose,
            validation_data=plan.validation_data,
            title=source.title,
        )
    finally:
        source.close()
    return Distilled(model.student, history, source.pool, source.synthesis)


def _source_of(plan):
    images, refresh = plan.images, plan.refresh
    if isinstance(images, Synthesizer):
        check_synthesizer(images, plan.model)
        return SynthesizedImages(images, refresh, plan.rounds, plan.capacity)
    if refresh is not None:
        raise ValueError(
            "`refresh` sets when a synthesizer makes images, but these images "
            "exist already: leave it out. "
            f"Received: images of {type(images)}"
        )
    check_images("images", images, plan.model)
    return GivenStream(images, plan.run)


def _make_ready(model, batch_size, optimizer, steps):
    """Compiles the model with a new optimizer."""
    require_trainable(model.student, model.teacher)
    warn_of_frozen(model.student)
    model.require_batch(batch_size)
    optimizer = muon if optimizer is None else optimizer
    if isinstance(optimizer, type):
        raise TypeError(
            "`optimizer` must be an optimizer, its name, or a function from "
            "the number of steps: call the class. "
            f"Received: optimizer={optimizer}"
        )
    if callable(optimizer) and not isinstance(
        optimizer, keras.optimizers.Optimizer
    ):
        optimizer = optimizer(steps)
    optimizer = unbuilt(optimizer)
    optimizer.build(model.student.trainable_variables)
    model.compile(optimizer=optimizer)
    model.require_replicas()


def _claim(plan, source):
    """Returns path and identity of a folder's state, and whether it exists.

    Raises:
        ValueError: if the state belongs to another run.
    """
    if plan.folder is None:
        return None, None, False
    model = plan.model
    # Each part has a name, so that an error can name the parts that differ.
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
