"""Magnitude pruning of a trained network, by its teacher's answers alone."""

from typing import NamedTuple

import keras

from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.core.keras_internals import layers_of
from tf_deepinversion.datasets.streams import as_stream
from tf_deepinversion.networks.copies import copy_of
from tf_deepinversion.pruning.masks.magnitude import masks_of
from tf_deepinversion.pruning.masks.magnitude import prune_low_magnitude
from tf_deepinversion.pruning.masks.magnitude import strip_pruning
from tf_deepinversion.pruning.masks.schedule import PolynomialDecay
from tf_deepinversion.pruning.masks.update_pruning_step import UpdatePruningStep
from tf_deepinversion.pruning.recovery import Recovery
from tf_deepinversion.pruning.recovery import recovery_optimizer
from tf_deepinversion.pruning.recovery import state_file


class Sparsified(NamedTuple):
    """What `sparsify` gives.

    Attributes:
        student: The `keras.Model`, without masks but with the zeros.
        history: Dict of lists, the logs of all epochs.
        kept: Dict from the names of layers to pairs of ints: how many weights
            they have, and how many of them stay.
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
    """Makes a sparse network that answers as its teacher.

    The sparsity rises in the first half of the training, by the cubic of
    `PolynomialDecay`; in the second half the masks stay.

    Args:
        teacher: A functional or sequential `keras.Model`; it stays as it is.
        images: Images of any kind, see `datasets.as_stream`; their labels are
            not looked at.
        target: Float in (0, 1), the share of weights that become zero.
        steps: Int, of training, 2 or more; 0 for none.
        frequency: Int, steps between two makings of masks; None: such that
            there are twenty.
        policy: Which layers, as for `prune_low_magnitude`, and so are the
            three that follow.
        block_size: Pair of ints.
        block_pooling_type: `"AVG"` or `"MAX"`.
        sparsity_m_by_n: Pair of ints, or None.
        batch_size: As for `recover`, and so are all that follow.
        learning_rate: Float.
        steps_per_epoch: Int.
        keep_statistics: Bool.
        temperature: Float.
        transforms: List of transforms.
        preprocessing: The teacher's `Preprocessing`; None if known by name.
        image_shape: Tuple `(height, width, channels)`.
        dtype: A dtype policy.
        folder: Path for the state, or None. The same call goes on from there.
        run: String, the name of the images, where there is a folder.
        seed: Int.
        callbacks: List of `keras.callbacks.Callback`.
        verbose: As in Keras.

    Returns:
        A `Sparsified`.

    Raises:
        FloatingPointError: as for `recover`.
        TypeError: as for `as_stream`.
        ValueError: if an argument is out of range.
    """
    schedule = _schedule(target, steps, frequency)
    stream = as_stream(images, batch_size, seed)
    recovery = Recovery(
        steps_per_epoch,
        keep_statistics,
        temperature,
        transforms,
        preprocessing,
        dtype,
        seed,
        image_shape,
    )
    pattern = block_size, block_pooling_type, sparsity_m_by_n
    student = _with_masks(teacher, schedule, policy, steps, *pattern)
    parts = {
        **vars(recovery),
        "schedule": schedule,
        "masks": [pattern, _places_of_masks(student)],
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
        path=path,
        run=run,
        callbacks=[UpdatePruningStep(student), *(callbacks or [])],
        verbose=verbose,
    )
    return Sparsified(student, history, _stripped(student))


def _schedule(target, steps, frequency) -> PolynomialDecay:
    if not 0 < target < 1:
        raise ValueError(
            "`target` is the share of weights that become zero, between 0 and "
            f"1. Received: target={target}"
        )
    require_whole(2 if steps else 0, steps=steps)
    end = max(1, steps // 2)
    frequency = frequency or max(1, end // 20)
    require_whole(frequency=frequency)
    # The last making falls on `end`.
    begin = end % min(frequency, end)
    return PolynomialDecay(0.0, target, begin, end, frequency=frequency)


def _with_masks(teacher, schedule, policy, steps, block_size, pooling, m_by_n):
    """A copy of a network with masks, made now if there is no step to train."""
    student = prune_low_magnitude(
        copy_of(teacher),
        schedule,
        policy,
        block_size=block_size,
        block_pooling_type=pooling,
        sparsity_m_by_n=m_by_n,
    )
    for mask in () if steps else masks_of(student):
        mask.update(schedule.final_sparsity)
    return student


def _places_of_masks(student) -> list:
    """Which weights have masks: their names, and the places of their layers.

    Names that Keras gives layers differ in each process.
    """
    places = {id(layer): i for i, layer in enumerate(layers_of(student))}
    return [
        [places[id(mask.layer)], mask.variable.name]
        for mask in masks_of(student)
    ]


def _stripped(student) -> dict:
    """By layer, how many weights it has, and how many stay; without masks."""
    found = {}
    for mask in masks_of(student):
        stays = keras.ops.convert_to_numpy(mask.mask)
        size, left = found.get(mask.layer.name, (0, 0))
        found[mask.layer.name] = size + stays.size, left + int(stays.sum())
    strip_pruning(student)
    return found
