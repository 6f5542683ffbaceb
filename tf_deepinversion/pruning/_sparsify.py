"""Magnitude pruning of a trained network, with the teacher's outputs only."""

from typing import NamedTuple

import keras
import numpy as np

from tf_deepinversion.core.checks import is_within
from tf_deepinversion.core.checks import require_finite_weights
from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.core.files import require_local
from tf_deepinversion.datasets.streams import stream_for
from tf_deepinversion.distillation.retraining import Recovery
from tf_deepinversion.distillation.retraining import recovery_optimizer
from tf_deepinversion.distillation.retraining import state_file
from tf_deepinversion.networks.copies import copy_of
from tf_deepinversion.networks.measured_policy import chosen_policy
from tf_deepinversion.pruning.frozen_weights import check_frozen
from tf_deepinversion.pruning.layer_names import layer_names
from tf_deepinversion.pruning.masks.magnitude import masks_of
from tf_deepinversion.pruning.masks.magnitude import places_of
from tf_deepinversion.pruning.masks.magnitude import prune_low_magnitude
from tf_deepinversion.pruning.masks.magnitude import strip_pruning
from tf_deepinversion.pruning.masks.schedule import PolynomialDecay
from tf_deepinversion.pruning.masks.update_pruning_step import UpdatePruningStep
from tf_deepinversion.transforms.augmentations import augmentations


class Sparsified(NamedTuple):
    """The result of `sparsify`.

    Attributes:
        student: The `keras.Model`, without masks but with zeros as weights.
        history: Dict of lists, the logs of all epochs.
        kept: Dict from names of layers to pairs of ints: number of weights, and
            number of weights that are not zero. Of layers with the same name,
            in models inside the model, the names are paths: `"block/conv"`.

    Example:
        >>> sparse = di.sparsify(teacher, (images, labels), target=0.5, steps=0)
        >>> list(sparse.kept.values())  # of the convolution and the head
        [(36, 18), (12, 6)]
    """

    student: keras.Model
    history: dict
    kept: dict


def sparsify(
    teacher,
    images,
    *,
    target,
    steps,
    frequency=None,
    policy=None,
    block_size=(1, 1),
    block_pooling_type="AVG",
    sparsity_m_by_n=None,
    batch_size=128,
    learning_rate=0.02,
    steps_per_epoch=100,
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
) -> Sparsified:
    """Sets the smallest weights of a teacher to zero, and trains the others.

    The teacher's outputs are the targets. During the first 50% of the steps the
    sparsity rises by the cubic schedule of `PolynomialDecay`; then the masks
    stay fixed.

    Args:
        teacher: A functional or sequential `keras.Model`. It stays unchanged.
            Its frozen layers get zeros too, and do not recover: `sparsify`
            warns of them.
        images: Images of any kind, see `datasets.as_stream`. Their labels are
            not used.
        target: Float in (0, 1), the share of weights that become zero.
        steps: Int, training steps, at least 2, rounded up to whole epochs; 0
            for none.
        frequency: Int, number of steps between updates of the masks. Defaults
            to 20 updates in all.
        policy: The layers to prune, see `prune_low_magnitude`. Defaults to the
            kernels of Keras's layers except depthwise kernels.
        block_size: Pair of ints, see `prune_low_magnitude`. Defaults to `(1,
            1)`.
        block_pooling_type: `"AVG"` or `"MAX"`, see `prune_low_magnitude`.
            Defaults to `"AVG"`.
        sparsity_m_by_n: Pair of ints or None, see `prune_low_magnitude`.
            Defaults to None.
        batch_size: Int, see `recover`. Defaults to 128.
        learning_rate: Float, see `recover`. Defaults to 0.02.
        steps_per_epoch: Int, see `recover`. Defaults to 100.
        keep_statistics: Bool, see `recover`. Defaults to False.
        temperature: Float, see `recover`. Defaults to 4.
        class_maps: Float, see `recover`. Defaults to 1.
        transforms: List of transforms of the images for both networks, drawn
            anew every step. Defaults to `augmentations()`.
        preprocessing: The teacher's `Preprocessing`, or None if the teacher is
            known by its name. Defaults to None.
        image_shape: Tuple `(height, width, channels)`, required if the teacher
            does not fix it. Defaults to the teacher's.
        dtype: A dtype policy, see `Distillation`. Defaults to the networks' own
            policies.
        folder: Path for the state, or None. With a folder, repeating the same
            call resumes after an interruption. Defaults to None.
        run: String, a name of the images, required with `folder` if the images
            do not identify themselves. Defaults to `""`.
        seed: Int in [0, 2**31). Defaults to 0.
        callbacks: List of `keras.callbacks.Callback`. Defaults to None.
        verbose: As in `keras.Model.fit`. Defaults to `"auto"`.

    Returns:
        A `Sparsified`.

    Raises:
        FloatingPointError: if a value of the network is no longer finite.
        TypeError: as for `as_stream`.
        ValueError: if an argument is out of range, or the teacher is frozen.

    Example:
        ```python
        sparse = di.sparsify(teacher, pool, target=0.8, steps=1000)
        sparse.student.save("sparse.keras")
        ```
    """
    require_local(folder=folder)
    _check_lengths(target, steps, frequency)
    require_finite_weights(teacher)
    stream = stream_for(teacher, images, batch_size, seed)
    recovery = Recovery(
        steps_per_epoch=steps_per_epoch,
        keep_statistics=keep_statistics,
        temperature=temperature,
        class_maps=class_maps,
        transforms=augmentations() if transforms is None else transforms,
        preprocessing=preprocessing,
        image_shape=image_shape,
        dtype=chosen_policy(dtype, folder, ["sparsify.npz"]),
        seed=seed,
    )
    steps = recovery.whole_epochs(steps)
    schedule = _schedule(target, steps, frequency)
    pattern = block_size, block_pooling_type, sparsity_m_by_n
    student = _with_masks(teacher, schedule, policy, steps, *pattern)
    parts = {
        **vars(recovery),
        "schedule": schedule,
        "masks": [pattern, places_of(student)],
        "steps, batch_size, learning_rate": [steps, batch_size, learning_rate],
        "teacher": teacher,
    }
    path, run = state_file(folder, "sparsify.npz", run, stream, parts)
    history = recovery.train(
        teacher,
        student,
        stream,
        steps=steps,
        optimizer=recovery_optimizer(steps, learning_rate),
        others=[mask.mask for mask in masks_of(student)],
        path=path,
        run=run,
        callbacks=[UpdatePruningStep(student), *(callbacks or [])],
        verbose=verbose,
    )
    return Sparsified(student, history, _stripped(student))


def _check_lengths(target, steps, frequency):
    if not is_within(target, "(0, 1)"):
        raise ValueError(
            "`target` is the share of weights that become zero, between 0 and "
            f"1. Received: target={target}"
        )
    require_whole(2 if steps else 0, steps=steps)
    if frequency is not None:
        require_whole(frequency=frequency)


def _schedule(target, steps, frequency) -> PolynomialDecay:
    # The last 50 % of the steps train with the final masks.
    end = max(1, steps // 2)
    frequency = max(1, end // 20) if frequency is None else frequency
    # `begin` is chosen so that the last update falls on `end`.
    begin = end % min(frequency, end)
    return PolynomialDecay(0.0, target, begin, end, frequency=frequency)


def _with_masks(teacher, schedule, policy, steps, block_size, pooling, m_by_n):
    """Copies a network with masks; without training, computes them now."""
    student = prune_low_magnitude(
        copy_of(teacher),
        schedule,
        policy,
        block_size=block_size,
        block_pooling_type=pooling,
        sparsity_m_by_n=m_by_n,
    )
    masks = masks_of(student)
    if steps:
        check_frozen(student, [mask.variable for mask in masks])
        return student
    for mask in masks:
        mask.update(schedule.final_sparsity)
    return student


def _stripped(student) -> dict:
    """Removes the masks; counts weights and nonzero weights by layer."""
    found, masks = {}, masks_of(student)
    names = layer_names(student, [mask.layer for mask in masks])
    strip_pruning(student)
    for mask in masks:
        weights = keras.ops.convert_to_numpy(mask.variable)
        size, left = found.get(names[mask.layer], (0, 0))
        left += int(np.count_nonzero(weights))
        found[names[mask.layer]] = size + weights.size, left
    return found
