"""Quantization-aware training, with the teacher's outputs only."""

import typing

import keras
import tensorflow as tf

from tf_deepinversion.core.checks import require_positive
from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.core.files import require_local
from tf_deepinversion.core.keras_internals import layers_of
from tf_deepinversion.datasets.streams import stream_for
from tf_deepinversion.distillation.retraining import Recovery
from tf_deepinversion.distillation.retraining import state_file
from tf_deepinversion.networks.copies import copy_of
from tf_deepinversion.networks.copies import of_size
from tf_deepinversion.networks.preprocessing import Preprocessing
from tf_deepinversion.optimizers.schedules import warmed_cosine
from tf_deepinversion.quantization.layers.layer_graph import require_graph
from tf_deepinversion.quantization.scheme import TRAINED
from tf_deepinversion.quantization.scheme import weight_bits
from tf_deepinversion.quantization.training.kept_zeros import keep_zeros
from tf_deepinversion.quantization.training.kept_zeros import release_zeros
from tf_deepinversion.quantization.training.kept_zeros import require_made_masks
from tf_deepinversion.quantization.training.ranged_conversion import (
    converted_with_ranges,
)
from tf_deepinversion.quantization.training.ranges import Phase
from tf_deepinversion.quantization.training.simulation import Simulation


class TrainedQuantized(typing.NamedTuple):
    """The result of `train_quantized`.

    Attributes:
        student: The trained `keras.Model`, a plain one in float32 whose
            kernels lie on the grid of the scheme.
        history: Dict of lists, the logs of all epochs.
        ranges: Dict from names of activations to pairs of floats, the smallest
            and the largest value, for `quantize`.

    Example:
        >>> trained = di.quantization.train_quantized(
        ...     teacher,
        ...     (images, labels),
        ...     scheme="int4",
        ...     steps=1,
        ...     batch_size=4,
        ...     verbose=0,
        ... )
        >>> content = di.quantize(
        ...     trained.student, ranges=trained.ranges, scheme="int4"
        ... )
        >>> di.quantization.LiteRT(content).dtypes["tensors"]
        ('int32', 'int4', 'int8', 'uint8')
    """

    student: keras.Model
    history: dict
    ranges: dict


def train_quantized(
    teacher,
    images,
    *,
    steps,
    scheme="int8",
    calibration_batches=4,
    batch_size=128,
    learning_rate=5e-4,
    optimizer=None,
    steps_per_epoch=100,
    keep_statistics=True,
    temperature=4.0,
    transforms=None,
    preprocessing=None,
    folder=None,
    run="",
    seed=0,
    callbacks=None,
    verbose="auto",
) -> TrainedQuantized:
    """Trains a copy of a network so that it survives quantization.

    The copy computes as its LiteRT file will. Kernels are rounded with one
    scale per output channel, joined with the BatchNormalization behind.
    Activations are rounded to 256 levels; a moving average of each batch's
    smallest and largest value is the range. Gradients pass the rounding
    unchanged (the straight-through estimator). The teacher's outputs, in float,
    are the targets.

    Before the training, the ranges are measured on a few batches, and the
    network is converted once: what LiteRT cannot compute in whole numbers is
    refused before any step. Weights that are zero stay zero, so that a pruned
    network stays pruned.

    Args:
        teacher: A functional or sequential `keras.Model` of float32 with a
            fixed image size. It stays unchanged.
        images: Synthesized, real or noise images of any kind, see
            `datasets.as_stream`. Their labels are not used.
        steps: Int, rounded up to whole epochs; 0 only measures the ranges.
        scheme: String, "int8", or "int4" for weights of 4 bits and activations
            of 8 bits. Defaults to "int8".
        calibration_batches: Int, number of batches on which the ranges are
            measured first. Defaults to 4.
        batch_size: Int, see `pruning.recover`. Defaults to 128.
        learning_rate: Float, the peak of Adam's cosine schedule; the first 5%
            of the steps warm up. Defaults to 5e-4.
        optimizer: A `keras.optimizers.Optimizer` that replaces Adam, or None.
            Defaults to None.
        steps_per_epoch: Int, number of steps after which the state is saved.
            Defaults to 100.
        keep_statistics: Bool, whether BatchNormalization layers stay in
            inference mode, as in the file; gamma and beta train nevertheless.
            Defaults to True.
        temperature: Float, temperature of the distillation. Defaults to 4.
        transforms: List of transforms of the images for both networks, drawn
            anew every step. Defaults to `[Shift(2), HorizontalFlip()]`.
        preprocessing: The teacher's `Preprocessing`, or None if the teacher is
            known by its name. Defaults to None.
        folder: Path for the state, or None. With a folder, repeating the same
            call resumes after an interruption and gives the same network.
            Defaults to None.
        run: String, a name of the images, required with `folder` if the images
            do not identify themselves. Defaults to `""`.
        seed: Int in [0, 2**31). Defaults to 0.
        callbacks: List of `keras.callbacks.Callback`. Defaults to None.
        verbose: As in `keras.Model.fit`. Defaults to `"auto"`.

    Returns:
        A `TrainedQuantized`.

    Raises:
        FloatingPointError: if a value of the network is no longer finite.
        TypeError: as for `as_stream`.
        ValueError: if an argument is out of range, if the network is of another
            precision, if LiteRT does not support a layer in whole numbers, if
            masks of the network have no zeros yet, or if there are several
            replicas.

    Reference:
        https://arxiv.org/abs/1712.05877, section 3.

    Example:
        ```python
        trained = di.quantization.train_quantized(
            teacher, pool, scheme="int4", steps=1000
        )
        content = di.quantize(
            trained.student, ranges=trained.ranges, scheme="int4"
        )
        ```
    """
    require_local(folder=folder)
    require_whole(0, steps=steps)
    require_whole(calibration_batches=calibration_batches)
    _check_teacher(teacher, scheme)
    preprocessing = Preprocessing.of(teacher, preprocessing)
    stream = stream_for(teacher, images, batch_size, seed)
    shape = tuple(stream.image_shape)
    recovery = Recovery(
        steps_per_epoch=steps_per_epoch,
        # The simulation keeps the statistics, and gamma and beta train.
        keep_statistics=False,
        temperature=temperature,
        transforms=transforms,
        preprocessing=preprocessing,
        image_shape=shape,
        dtype=None,
        seed=seed,
    )
    steps = recovery.whole_epochs(steps)
    parts = {
        **vars(recovery),
        "keep_statistics": keep_statistics,
        "scheme": scheme,
        "steps": steps,
        "calibration_batches": calibration_batches,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "optimizer": optimizer,
        "teacher": teacher,
    }
    path, run = state_file(folder, "train_quantized.npz", run, stream, parts)
    student = copy_of(of_size(teacher, shape[:2]))
    bits = weight_bits(scheme)
    simulation = Simulation(student, bits, preprocessing, keep_statistics)
    simulation.measure(stream, calibration_batches)
    # Refuses what LiteRT cannot do, before any step.
    converted_with_ranges(
        student, simulation.ends, preprocessing, scheme, ["int8", "int8"]
    )
    keep_zeros(layers_of(student))
    history = recovery.train(
        teacher,
        student,
        stream,
        steps=steps,
        optimizer=optimizer or _adam(steps, learning_rate),
        others=[found.variable for found in simulation.ranges.values()],
        opened=lambda: simulation.open(Phase.TRAIN),
        path=path,
        run=run,
        callbacks=callbacks,
        verbose=verbose,
    )
    release_zeros(layers_of(student))
    simulation.round_kernels()
    return TrainedQuantized(student, history, simulation.ends)


def _adam(steps, learning_rate):
    # With constant statistics, the gradients of two kernels differ by as much
    # as their BatchNormalizations: one rate of SGD does not suit all.
    require_positive(learning_rate=learning_rate)
    rate = warmed_cosine(steps, learning_rate, steps // 20)
    return keras.optimizers.Adam(rate)


def _check_teacher(teacher, scheme):
    if scheme not in TRAINED:
        raise ValueError(
            f"Expected a scheme among {', '.join(TRAINED)}. "
            f"Received: scheme={scheme!r}"
        )
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    if replicas > 1:
        raise ValueError(
            "Each replica would see other ranges: train on a single device. "
            f"Received: {replicas} replicas"
        )
    require_graph(teacher)
    others = {
        x.dtype_policy.name
        for x in layers_of(teacher)
        if x.dtype_policy.name != "float32" and x.weights
    }
    if others:
        raise ValueError(
            "Expected a network of float32: rounding to 8 bits needs "
            "activations that are exact. Rebuild the network with the dtype "
            'policy "float32" and load its weights. Received: layers of '
            f"{', '.join(sorted(others))}"
        )
    require_made_masks(teacher)
