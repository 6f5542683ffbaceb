"""Magnitude pruning of a trained network, by its teacher's answers alone."""

import pathlib

import keras

from tf_deepinversion.core import run_state
from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.core.keras_internals import layers_of
from tf_deepinversion.networks.copies import copy_of
from tf_deepinversion.pruning.masks.magnitude import masks_of
from tf_deepinversion.pruning.masks.magnitude import prune_low_magnitude
from tf_deepinversion.pruning.masks.magnitude import strip_pruning
from tf_deepinversion.pruning.masks.schedule import PolynomialDecay
from tf_deepinversion.pruning.masks.update_pruning_step import UpdatePruningStep
from tf_deepinversion.pruning.recovery import recover
from tf_deepinversion.pruning.recovery import recovery_optimizer
from tf_deepinversion.pruning.recovery import require_stream


def sparsify(
    teacher,
    images,
    *,
    target,
    steps,
    frequency=None,
    learning_rate=0.02,
    folder=None,
    run="",
    policy=None,
    mask_arguments=None,
    callbacks=None,
    **kwargs,
):
    """Makes a sparse network that answers as its teacher.

    The sparsity rises in the first half of the training, by the cubic of
    `PolynomialDecay`; in the second half the masks stay.

    Args:
        teacher: A functional or sequential `keras.Model`; it stays as it is.
        images: As for `prune`.
        target: Float in (0, 1), the share of weights that become zero.
        steps: Int, of training, 2 or more; 0 for none.
        frequency: Int, steps between two makings of masks; None: such that
            there are twenty.
        learning_rate: Float, the peak.
        folder: Path for the state, or None. The same call goes on from there.
        run: String that tells the images, where there is a folder.
        policy: Which layers, see `prune_low_magnitude`.
        mask_arguments: Dict, of `prune_low_magnitude`: blocks, or m of n.
        callbacks: List of `keras.callbacks.Callback`.
        **kwargs: Of `recover`.

    Returns:
        A pair: the network, without masks but with the zeros, and a dict from
        the names of layers to how many weights they have and how many stay.

    Raises:
        FloatingPointError: as for `recover`.
        ValueError: if an argument is out of range.
    """
    if not 0 < target < 1:
        raise ValueError(
            "`target` is the share of weights that become zero, between 0 and "
            f"1. Received: target={target}"
        )
    require_stream(images)
    require_whole(2 if steps else 0, steps=steps)
    end = max(1, steps // 2)
    frequency = frequency or max(1, end // 20)
    require_whole(frequency=frequency)
    student = copy_of(teacher)
    # The last making falls on `end`.
    begin = end % min(frequency, end)
    schedule = PolynomialDecay(0.0, target, begin, end, frequency=frequency)
    prune_low_magnitude(student, schedule, policy, **(mask_arguments or {}))
    masks = masks_of(student)
    if not steps:
        for mask in masks:
            mask.update(target)
    else:
        identity = {"target": target, "steps": steps, "run": run}
        identity |= {"rate": learning_rate, "frequency": frequency}
        # By their places: names that Keras gives differ in each process.
        places = {id(x): i for i, x in enumerate(layers_of(student))}
        identity["layers"] = [places[id(mask.layer)] for mask in masks]
        recover(
            teacher,
            student,
            images,
            steps=steps,
            optimizer=recovery_optimizer(steps, learning_rate),
            path=folder and pathlib.Path(folder) / "sparsify.npz",
            run=run_state.fingerprint(
                {
                    **identity,
                    "teacher": teacher,
                    "masks": mask_arguments,
                    "recovery": kwargs,
                }
            ),
            callbacks=[UpdatePruningStep(student), *(callbacks or [])],
            **kwargs,
        )
    sizes, left = {}, {}
    for mask in masks:
        kept = keras.ops.convert_to_numpy(mask.mask)
        sizes[mask.layer.name] = sizes.get(mask.layer.name, 0) + kept.size
        left[mask.layer.name] = left.get(mask.layer.name, 0) + int(kept.sum())
    strip_pruning(student)
    return student, {name: (sizes[name], left[name]) for name in sizes}
