"""Trains a pruned network with its teacher's outputs."""

from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.core.files import require_local
from tf_deepinversion.datasets.streams import stream_for
from tf_deepinversion.distillation.retraining import Recovery
from tf_deepinversion.distillation.retraining import recovery_optimizer
from tf_deepinversion.distillation.retraining import state_file
from tf_deepinversion.networks.measured_policy import chosen_policy
from tf_deepinversion.pruning.masks.magnitude import masks_of
from tf_deepinversion.pruning.masks.magnitude import places_of
from tf_deepinversion.transforms.augmentations import augmentations


def recover(
    teacher,
    student,
    images,
    *,
    steps,
    steps_per_epoch=100,
    batch_size=128,
    learning_rate=0.02,
    optimizer=None,
    keep_statistics=False,
    temperature=4.0,
    class_maps=1.0,
    transforms=None,
    preprocessing=None,
    image_shape=None,
    dtype=None,
    folder=None,
    run="",
    seed=0,
    callbacks=None,
    verbose="auto",
) -> dict:
    """Trains a pruned network with its teacher's soft outputs as targets.

    Args:
        teacher: A `keras.Model` classifier.
        student: A `keras.Model` with the same classes and the teacher's
            preprocessing. The function changes it.
        images: Images of any kind, see `datasets.as_stream`. Their labels are
            not used.
        steps: Int, rounded up to whole epochs.
        steps_per_epoch: Int, number of steps after which the state is saved,
            including the masks of `prune_low_magnitude`. Defaults to 100.
        batch_size: Int, number of images of a batch. Not used if `images` is a
            function of a step. Defaults to 128.
        learning_rate: Float, the peak of SGD, see `optimizers.sgd`. The first
            5% of the steps warm up, without weight decay. Defaults to 0.02.
        optimizer: A `keras.optimizers.Optimizer` that replaces SGD, or its
            name, or None. Defaults to None.
        keep_statistics: Bool, whether BatchNormalization layers stay in
            inference mode, with the statistics of the teacher's data. Defaults
            to False.
        temperature: Float, temperature of the distillation. Defaults to 4.
        class_maps: Float, see `Distillation`. Defaults to 1.
        transforms: List of transforms of the images for both networks, drawn
            anew every step. Defaults to `augmentations()`.
        preprocessing: The teacher's `Preprocessing`, or None if the teacher is
            known by its name. Defaults to None.
        image_shape: Tuple `(height, width, channels)`, required if the teacher
            does not fix it. Defaults to the teacher's.
        dtype: A dtype policy, see `Distillation`. Defaults to the networks' own
            policies.
        folder: Path for the state, or None. With a folder, repeating the same
            call resumes after an interruption and gives the same network. The
            call trains `student` in place: make it again for the second call.
            Defaults to None.
        run: String that identifies images and callbacks, used with `folder`;
            required if the images do not identify themselves. Defaults to `""`.
        seed: Int in [0, 2**31), seed of batches and transforms. Defaults to 0.
        callbacks: List of `keras.callbacks.Callback`. Defaults to None.
        verbose: As in `keras.Model.fit`. Defaults to `"auto"`.

    Returns:
        A dict of lists, the history.

    Raises:
        FloatingPointError: if a value of the student is no longer finite.
        TypeError: as for `as_stream`.
        ValueError: if a number is out of range, as for `as_stream` and
            `Distillation`, or if the folder belongs to another run.

    Example:
        ```python
        smaller = di.pruning.shrink(teacher, keep)
        di.pruning.recover(teacher, smaller, pool, steps=500)
        ```
    """
    require_local(folder=folder)
    require_whole(0, steps=steps)
    stream = stream_for(teacher, images, batch_size, seed)
    recovery = Recovery(
        steps_per_epoch=steps_per_epoch,
        keep_statistics=keep_statistics,
        temperature=temperature,
        class_maps=class_maps,
        transforms=augmentations() if transforms is None else transforms,
        preprocessing=preprocessing,
        image_shape=image_shape,
        dtype=chosen_policy(dtype, folder, ["recover.npz"]),
        seed=seed,
    )
    steps = recovery.whole_epochs(steps)
    parts = {
        **vars(recovery),
        "steps": steps,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "optimizer": optimizer,
        "teacher": teacher,
        "student": student,
        "masks": [
            places_of(student),
            [mask.schedule for mask in masks_of(student)],
            [mask.pattern for mask in masks_of(student)],
        ],
    }
    path, run = state_file(folder, "recover.npz", run, stream, parts)
    return recovery.train(
        teacher,
        student,
        stream,
        steps=steps,
        optimizer=optimizer or recovery_optimizer(steps, learning_rate),
        others=[mask.mask for mask in masks_of(student)],
        path=path,
        run=run,
        callbacks=callbacks,
        verbose=verbose,
    )
