"""Trains a pruned network with its teacher's outputs."""

import contextlib
import dataclasses
import pathlib
from typing import Any

from tf_deepinversion.callbacks.fit_resumable import fit_resumable
from tf_deepinversion.core.checks import require_positive
from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.core.files import require_local
from tf_deepinversion.core.run_state import fingerprints
from tf_deepinversion.datasets.streams import as_stream
from tf_deepinversion.distillation._distillation import Distillation
from tf_deepinversion.networks.batch_norm_moments import batch_norms
from tf_deepinversion.networks.preprocessing import Preprocessing
from tf_deepinversion.optimizers.schedules import sgd
from tf_deepinversion.pruning.masks.magnitude import masks_of


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
        optimizer: A `keras.optimizers.Optimizer` that replaces SGD, or None.
        keep_statistics: Bool, whether BatchNormalization layers stay in
            inference mode, with the statistics of the teacher's data. Defaults
            to False.
        temperature: Float, temperature of the distillation. Defaults to 4.
        transforms: List of transforms, see `Distillation`.
        preprocessing: The teacher's `Preprocessing`, or None if the teacher is
            known by its name.
        image_shape: Tuple `(height, width, channels)`, required if the teacher
            does not fix it.
        dtype: A dtype policy, see `Distillation`.
        folder: Path for the state, or None. With a folder, repeating the same
            call resumes after an interruption and gives the same network.
        run: String that identifies images and callbacks, used with `folder`;
            required if the images do not identify themselves.
        seed: Int, seed of batches and transforms. Defaults to 0.
        callbacks: List of `keras.callbacks.Callback`.
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
    parts = {
        **vars(recovery),
        "steps": steps,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "optimizer": optimizer,
        "teacher": teacher,
        "student": student,
    }
    path, run = state_file(folder, "recover.npz", run, stream, parts)
    return recovery.train(
        teacher,
        student,
        stream,
        steps=steps,
        optimizer=optimizer or recovery_optimizer(steps, learning_rate),
        path=path,
        run=run,
        callbacks=callbacks,
        verbose=verbose,
    )


def state_file(folder, name, run, stream, parts) -> tuple:
    """Returns the file of a state, and the identity of its run.

    Args:
        folder: Path, or None to save nothing.
        name: String, name of the file.
        run: String, the user's name of the images.
        stream: A `Stream` of the images.
        parts: Dict from names to all other settings that affect the result.

    Returns:
        A pair: the path, or None; and a string, see `core.run_state.load`.

    Raises:
        ValueError: if the images have no identity, see `Stream.named`.
    """
    if folder is None:
        return None, run
    run = fingerprints({**parts, "images, run": stream.named(run)}, {})
    return pathlib.Path(folder) / name, run


def recovery_optimizer(steps, learning_rate):
    """Makes SGD without weight decay, with a warm-up of 5 % of the steps."""
    require_positive(learning_rate=learning_rate)
    return sgd(steps, learning_rate, weight_decay=None, warmup=steps // 20)


@dataclasses.dataclass(frozen=True)
class Recovery:
    """The settings of the training after each pruning, see `recover`.

    Raises:
        ValueError: if `steps_per_epoch` is out of range.
    """

    steps_per_epoch: int
    keep_statistics: bool
    temperature: float
    transforms: list | None
    preprocessing: Preprocessing | None
    dtype: Any
    seed: int
    image_shape: tuple | None = None

    def __post_init__(self):
        require_whole(steps_per_epoch=self.steps_per_epoch)

    def whole_epochs(self, steps) -> int:
        """Rounds a number of steps up to whole epochs."""
        each = min(self.steps_per_epoch, steps)
        return -(-steps // each) * each if steps else 0

    def train(
        self,
        teacher,
        student,
        stream,
        *,
        steps,
        optimizer,
        first_step=0,
        path=None,
        run="",
        callbacks=None,
        verbose="auto",
    ) -> dict:
        """Trains for some steps, with the batches from `first_step` on.

        Args:
            teacher: See `recover`.
            student: See `recover`.
            stream: A `Stream`.
            steps: Int, 0 for none.
            optimizer: A `keras.optimizers.Optimizer`, not yet built.
            first_step: Int, first step of the stream.
            path: Path of the state, or None.
            run: String that identifies the run with all its settings.
            callbacks: List of `keras.callbacks.Callback`, or None.
            verbose: As in `keras.Model.fit`.

        Returns:
            A dict of lists, the history.
        """
        if not steps:
            return {}
        # A short training is a single epoch.
        steps_per_epoch = min(self.steps_per_epoch, steps)
        with _statistics_kept(student, self.keep_statistics):
            model = self._distillation(teacher, student)
            model.compile(optimizer=optimizer)
            return fit_resumable(
                model,
                lambda step: stream(first_step + step),
                network=student,
                epochs=self.whole_epochs(steps) // steps_per_epoch,
                steps_per_epoch=steps_per_epoch,
                path=path,
                run=run,
                others=[mask.mask for mask in masks_of(student)],
                callbacks=callbacks,
                verbose=verbose,
            )

    def _distillation(self, teacher, student):
        return Distillation(
            teacher,
            student,
            self.preprocessing,
            self.preprocessing,
            temperature=self.temperature,
            transforms=self.transforms,
            image_shape=self.image_shape,
            student_shape=self.image_shape,
            dtype=self.dtype,
            seed=self.seed,
        )


@contextlib.contextmanager
def _statistics_kept(student, keep_statistics):
    """Within the context, BatchNormalization layers optionally do not train."""
    # In Keras a frozen BatchNormalization also runs in inference mode.
    norms = batch_norms(student)
    trained = [layer.trainable for layer in norms]
    try:
        for layer in norms:
            layer.trainable = layer.trainable and not keep_statistics
        yield
    finally:
        for layer, value in zip(norms, trained, strict=True):
            layer.trainable = value
