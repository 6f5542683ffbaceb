"""Trains a changed copy of a teacher with the teacher's outputs."""

import contextlib
import dataclasses
import pathlib
from typing import Any

from tf_deepinversion.callbacks.fit_resumable import fit_resumable
from tf_deepinversion.core.checks import require_positive
from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.core.run_state import fingerprints
from tf_deepinversion.distillation._distillation import Distillation
from tf_deepinversion.networks.batch_norm_moments import batch_norms
from tf_deepinversion.networks.preprocessing import Preprocessing
from tf_deepinversion.networks.random_layers import seed_random_layers
from tf_deepinversion.optimizers.schedules import sgd
from tf_deepinversion.optimizers.unbuilt import unbuilt


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recovery:
    """The settings of a training of a changed teacher, see `pruning.recover`.

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
    class_maps: float = 0.0

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
        others=(),
        opened=contextlib.nullcontext,
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
            steps: Int, whole epochs, see `whole_epochs`; 0 for none.
            optimizer: A `keras.optimizers.Optimizer`; a used one is created
                again.
            first_step: Int, first step of the stream.
            others: List of variables, besides the student's, that training
                changes and the state must hold.
            opened: Function without arguments that returns the context of the
                training.
            path: Path of the state, or None.
            run: String that identifies the run with all its settings.
            callbacks: List of `keras.callbacks.Callback`, or None.
            verbose: As in `keras.Model.fit`.

        Returns:
            A dict of lists, the history.
        """
        if not steps:
            return {}
        seed_random_layers(student, self.seed)
        # A short training is a single epoch.
        steps_per_epoch = min(self.steps_per_epoch, steps)
        with _statistics_kept(student, self.keep_statistics):
            model = self._distillation(teacher, student)
            model.compile(optimizer=unbuilt(optimizer))
            with opened():
                return fit_resumable(
                    model,
                    lambda step: stream(first_step + step),
                    network=student,
                    epochs=steps // steps_per_epoch,
                    steps_per_epoch=steps_per_epoch,
                    path=path,
                    run=run,
                    others=others,
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
            class_maps=self.class_maps,
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
