"""Recovery of a pruned network by its teacher's answers."""

import keras

from tf_deepinversion.callbacks.fit_resumable import fit_resumable
from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.core.keras_internals import layers_of
from tf_deepinversion.distillation._distillation import Distillation
from tf_deepinversion.optimizers.schedules import warmed_cosine
from tf_deepinversion.pruning.masks.magnitude import masks_of


def recovery_optimizer(steps, learning_rate=0.02):
    """SGD with Nesterov momentum 0.9, a cosine, and no weight decay."""
    rate = warmed_cosine(steps, learning_rate, steps // 20)
    return keras.optimizers.SGD(rate, momentum=0.9, nesterov=True)


def require_stream(images):
    """Refuses what is no function from a step to a `tf.data.Dataset`."""
    if not callable(images):
        raise TypeError(
            "Expected a function from a step to a `tf.data.Dataset` of batches "
            "of (image, label) that starts there, such as `lambda step: "
            "pool.dataset(128, 0, step)` of a `Pool`. "
            f"Received: images of {type(images)}"
        )


def recover(
    teacher,
    student,
    images,
    *,
    steps,
    first_step=0,
    steps_per_epoch=100,
    optimizer=None,
    keep_statistics=False,
    path=None,
    run="recover",
    callbacks=None,
    verbose=0,
    **kwargs,
):
    """Trains a pruned network by its teacher's soft answers.

    Args:
        teacher: A `keras.Model` classifier.
        student: A `keras.Model` with the same classes; it is changed.
        images: Function from a step to a `tf.data.Dataset` of batches of
            `(image, label)` that starts at that step, as `Pool.dataset`.
        steps: Int, rounded up to whole epochs.
        first_step: Int, from which `images` are read.
        steps_per_epoch: Int, after which the state is saved, the masks of
            `prune_low_magnitude` too.
        optimizer: See `recovery_optimizer`.
        keep_statistics: Bool, whether BatchNormalization layers stay as they
            are: in inference mode, with the statistics of the teacher's data.
        path: Path of the state, or None. The same call goes on from there.
        run: String that tells this run from others.
        callbacks: List of `keras.callbacks.Callback`.
        verbose: As in Keras.
        **kwargs: Of `Distillation`; the student is fed as the teacher is,
            unless `student_preprocessing` says otherwise.

    Returns:
        The dict of the history.

    Raises:
        FloatingPointError: if the student comes to be not finite.
        TypeError: if `images` is no function.
        ValueError: if a number is out of range, or as for `Distillation` and
            `TrainingState`.
    """
    require_stream(images)
    require_whole(0, steps=steps, first_step=first_step)
    require_whole(steps_per_epoch=steps_per_epoch)
    if kwargs.get("preprocessing") is not None:
        kwargs.setdefault("student_preprocessing", kwargs["preprocessing"])
    norms = [
        layer
        for layer in layers_of(student)
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    trained = [layer.trainable for layer in norms]
    try:
        for layer in norms:
            layer.trainable = layer.trainable and not keep_statistics
        model = Distillation(teacher, student, **kwargs)
        model.compile(optimizer=optimizer or recovery_optimizer(steps))
        steps_per_epoch = min(steps_per_epoch, steps)
        return fit_resumable(
            model,
            lambda step: images(first_step + step),
            network=student,
            epochs=-(-steps // steps_per_epoch),
            steps_per_epoch=steps_per_epoch,
            path=path,
            run=run,
            others=[mask.mask for mask in masks_of(student)],
            callbacks=callbacks,
            verbose=verbose,
        )
    finally:
        for layer, value in zip(norms, trained, strict=True):
            layer.trainable = value
