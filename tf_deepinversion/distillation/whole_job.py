"""One bar of a whole distillation: its images and its rounds."""

import keras

from tf_deepinversion.callbacks.refresh_pool import BATCH
from tf_deepinversion.core.job_progress import JobProgress
from tf_deepinversion.core.progress import verbosity
from tf_deepinversion.networks.forward_work import PASSES
from tf_deepinversion.networks.forward_work import forward_work

ROUND = "round"


def step_work(model, batch_size) -> float | None:
    """Estimates the work of a step of the student.

    Args:
        model: A `Distillation`.
        batch_size: Int.

    Returns:
        A float, in multiplications; None if it is unknown.
    """
    teacher = forward_work(model.teacher, model.image_shape)
    student = forward_work(model.student, model.student_shape)
    if None in (teacher, student):
        return None
    calls = 1 / getattr(model.teacher_cache, "steps_per_call", 1)
    return batch_size * (PASSES * student + calls * teacher)


def whole_job(images, plan):
    """Makes the bar of a distillation that makes its images itself.

    Args:
        images: `SynthesizedImages`, or another source of images.
        plan: `Plan` of the distillation.

    Returns:
        A `JobProgress`; None if no bar is wanted, or the work is not known.
    """
    if not verbosity(plan.verbose) or not (batches := images.work()):
        return None
    step = step_work(plan.model, plan.batch_size)
    if step is None:
        return None
    rounds = plan.rounds * [plan.steps_per_round * step]
    return JobProgress(
        "Distillation", {BATCH: batches, ROUND: rounds}, plan.verbose
    )


class RoundsProgress(keras.callbacks.ProgbarLogger):
    """Tells a `JobProgress` of the rounds of a student.

    The class extends `ProgbarLogger` because Keras then adds no bar of its own.

    Args:
        job: A `JobProgress` with the part `ROUND`.
    """

    def __init__(self, job):
        super().__init__()
        self._job, self._round = job, None

    def on_epoch_begin(self, epoch, logs=None):
        if self._round is None:
            self._job.skip(ROUND, epoch)
        self._round = epoch

    def on_train_batch_end(self, batch, logs=None):
        done = self._round + (batch + 1) / self.target
        self._job.advance(ROUND, done, logs, line=False)

    def on_epoch_end(self, epoch, logs=None):
        self._job.advance(ROUND, epoch + 1, logs)

    def on_train_end(self, logs=None):
        self._job.close()
