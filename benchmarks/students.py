"""What `ladder.py` and `time_to_quality.py` share: students of timed images."""

import sys
import time

import keras
import tensorflow as tf

from tf_deepinversion import models
from tf_deepinversion.distillation._distill import distill
from tf_deepinversion.inversion.deep_inversion import DeepInversion
from tf_deepinversion.inversion.fast_inversion import FastInversion
from tf_deepinversion.inversion.given_images import GivenImages


class EpochSeconds(keras.callbacks.Callback):
    """Logs the seconds of each epoch; a checkpoint keeps them."""

    def on_epoch_begin(self, epoch, logs=None):
        self._begin = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        logs["seconds"] = time.monotonic() - self._begin


class TimedPixels(DeepInversion):
    """A `DeepInversion` that knows the seconds it took since it was asked.

    With a folder each batch has a checkpoint there and goes on from it; it
    says how far it is, and its seconds are those of its steps, before an
    interruption too. Without, they are all that `fit` takes.

    Args:
        *args: As for `DeepInversion`.
        folder: Path, or None.
        **kwargs: As for `DeepInversion`.
    """

    seconds = draw_seconds = 0.0

    def __init__(self, *args, folder=None, **kwargs):
        super().__init__(*args, **kwargs)
        self._folder = folder

    def fit(self, labels, steps=None, *, batch_index=0, verbose=0):
        begin, checkpoint = time.monotonic(), None
        if self._folder:
            checkpoint = self._folder / f"batch_{batch_index}.npz"
        history = super().fit(
            labels,
            steps,
            batch_index=batch_index,
            checkpoint=checkpoint,
            callbacks=[EpochSeconds()],
            verbose=2 if self._folder else verbose,
        )
        seconds = time.monotonic() - begin
        if self._folder:
            seconds = sum(history.history["seconds"])
        self.seconds += seconds
        print(f"batch {batch_index}: {seconds:.1f} s", file=sys.stderr)
        return history


class TimedGenerator(FastInversion):
    """A `FastInversion` that knows its seconds of learning and drawing."""

    seconds = draw_seconds = 0.0

    def fit(self, *args, **kwargs):
        begin = time.monotonic()
        history = super().fit(*args, **kwargs)
        self.seconds += time.monotonic() - begin
        return history

    def draw(self, labels, batch_index=0):
        begin = time.monotonic()
        images = super().draw(labels, batch_index)
        self.draw_seconds += time.monotonic() - begin
        return images


def competing_generator(teacher, student, preprocessing, seed, draws, dtype):
    """A `TimedGenerator` that learns beside the student."""
    return TimedGenerator(
        teacher,
        preprocessing,
        student=student,
        recipe="distillation",
        seed=seed,
        draws=draws,
        dtype=dtype,
    )


class Given(GivenImages):
    """Images that are there, made in no time."""

    seconds = draw_seconds = 0.0


class RoundSeconds(keras.callbacks.Callback):
    """Logs what the synthesis for each round took; the state keeps it."""

    def __init__(self, synthesizer):
        super().__init__()
        self._synthesizer = synthesizer

    def on_epoch_end(self, epoch, logs=None):
        made = self._synthesizer
        logs["synthesis_seconds"] = made.seconds + made.draw_seconds
        logs["draw_seconds"] = made.draw_seconds
        made.seconds = made.draw_seconds = 0.0


def make_student(name, width, teacher, preprocessing, seed):
    """A network of `models` in the state that this seed gives it."""
    keras.utils.set_random_seed(seed)
    return getattr(models, name)(
        teacher.input_shape[1:],
        teacher.output_shape[-1],
        width=width,
        mean=preprocessing.mean,
        std=preprocessing.std,
        name="student",
    )


def learn(teacher, student, synthesizer, *, scored=None, **kwargs):
    """`distill`, whose history has the seconds of each round's synthesis.

    Args:
        teacher: A `keras.Model` classifier.
        student: A `keras.Model` with the same classes.
        synthesizer: A `TimedPixels`, a `TimedGenerator` or a `Given`.
        scored: A pair, images and labels: the history then has the student's
            `val_accuracy` on them after each round.
        **kwargs: Of `distill`.

    Returns:
        A pair: a callback whose `model` is the `Distillation`, and what
        `distill` gives.
    """
    if scored is not None:
        scored = tf.data.Dataset.from_tensor_slices(scored).batch(500)
    seconds = RoundSeconds(synthesizer)
    return seconds, distill(
        teacher,
        student,
        synthesizer,
        callbacks=[seconds],
        validation_data=scored,
        verbose=2,
        **kwargs,
    )
