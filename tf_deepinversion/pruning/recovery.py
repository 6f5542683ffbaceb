"""Recovery of a pruned network by its teacher's answers."""

import contextlib
import dataclasses
import pathlib
from typing import Any

from tf_deepinversion.callbacks.fit_resumable import fit_resumable
from tf_deepinversion.core.checks import require_positive
from tf_deepinversion.core.checks import require_whole
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
    """Trains a pruned network by its teacher's soft answers.

    Args:
        teacher: A `keras.Model` classifier.
        student: A `keras.Model` with the same classes; it is changed. It is
            fed as the teacher is.
        images: Images of any kind, see `datasets.as_stream`; their labels are
            not looked at.
        steps: Int, rounded up to whole epochs.
        steps_per_epoch: Int, after which the state is saved, the masks of
            `prune_low_magnitude` too.
        batch_size: Int, of images; of a function of a step it is not asked.
        learning_rate: Float, the peak of SGD, see `optimizers.sgd`: the first
            twentieth of the steps warms up, and no weight decays.
        optimizer: A `keras.optimizers.Optimizer` in its place, or None.
        keep_statistics: Bool, whether BatchNormalization layers stay as they
            are: in inference mode, with the statistics of the teacher's data.
        temperature: Float, of the distillation.
        transforms: List of transforms, as for `Distillation`.
        preprocessing: The teacher's `Preprocessing`; None if known by name.
        image_shape: Tuple `(height, width, channels)`, needed where the
            teacher does not fix it.
        dtype: A dtype policy, as for `Distillation`.
        folder: Path for the state, or None. The same call goes on from there,
            after any interruption, to the same network.
        run: String that tells these images and callbacks from others, where
            there is a folder; needed where the images do not say which they
            are.
        seed: Int, of batches and transforms.
        callbacks: List of `keras.callbacks.Callback`.
        verbose: As in Keras.

    Returns:
        The dict of the history.

    Raises:
        FloatingPointError: if the student comes to be not finite.
        TypeError: as for `as_stream`.
        ValueError: if a number is out of range, as for `as_stream` and
            `Distillation`, or if the folder holds another run.
    """
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
    """The file of a state, and what tells its run from others.

    Args:
        folder: Path, or None where nothing is saved.
        name: String, of the file.
        run: String, the user's name of the images.
        stream: A `Stream`, the images.
        parts: Dict from names to all else on which the result depends.

    Returns:
        A pair: the path, or None; and a string, see `core.run_state.load`.

    Raises:
        ValueError: if the images are not told apart, see `Stream.named`.
    """
    if folder is None:
        return None, run
    run = fingerprints({**parts, "images, run": stream.named(run)}, {})
    return pathlib.Path(folder) / name, run


def recovery_optimizer(steps, learning_rate):
    """SGD whose first twentieth of the steps warms up; no weight decays."""
    require_positive(learning_rate=learning_rate)
    return sgd(steps, learning_rate, weight_decay=None, warmup=steps // 20)


@dataclasses.dataclass(frozen=True)
class Recovery:
    """How a network is trained after each pruning; fields as of `recover`.

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
        """Trains for some steps, by batches from `first_step` on.

        Args:
            teacher: As of `recover`, and so are all that are not said here.
            student: See there.
            stream: A `Stream`.
            steps: Int, 0 for none.
            optimizer: A `keras.optimizers.Optimizer`, not yet built.
            first_step: Int, of the stream.
            path: Path of the state, or None.
            run: String that tells this run from others, with all settings.
            callbacks: List of `keras.callbacks.Callback`, or None.
            verbose: As in Keras.

        Returns:
            The dict of the history.
        """
        if not steps:
            return {}
        steps_per_epoch = min(self.steps_per_epoch, steps)
        with _statistics_kept(student, self.keep_statistics):
            model = self._distillation(teacher, student)
            model.compile(optimizer=optimizer)
            return fit_resumable(
                model,
                lambda step: stream(first_step + step),
                network=student,
                epochs=-(-steps // steps_per_epoch),
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
    """Within it BatchNormalization layers do not train, if so is asked."""
    norms = batch_norms(student)
    trained = [layer.trainable for layer in norms]
    try:
        for layer in norms:
            layer.trainable = layer.trainable and not keep_statistics
        yield
    finally:
        for layer, value in zip(norms, trained, strict=True):
            layer.trainable = value
