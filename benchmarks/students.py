"""Students, timed synthesizers and a recipe that several benchmarks share."""

import sys
import time

import keras
import tensorflow as tf

from tf_deepinversion import models
from tf_deepinversion.distillation._distill import distill
from tf_deepinversion.inversion.deep_inversion import DeepInversion
from tf_deepinversion.inversion.fast_inversion import FastInversion
from tf_deepinversion.inversion.given_images import GivenImages
from tf_deepinversion.inversion.recipes import RECIPES
from tf_deepinversion.objective.teacher_terms import FeatureStatistics


class EpochSeconds(keras.callbacks.Callback):
    """Logs the seconds of each epoch; a checkpoint saves them."""

    def on_epoch_begin(self, epoch, logs=None):
        self._begin = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        logs["seconds"] = time.monotonic() - self._begin


class TimedPixels(DeepInversion):
    """A `DeepInversion` that measures its seconds.

    With a folder, each batch has a checkpoint and resumes from it. The batch
    then prints its progress, and its seconds are the seconds of its steps,
    including those before an interruption. Without a folder, the seconds are
    those of `fit`.

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
    """A `FastInversion` that measures its seconds of learning and drawing."""

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
    """Existing images, whose synthesis takes no time."""

    seconds = draw_seconds = 0.0


class RoundSeconds(keras.callbacks.Callback):
    """Logs the seconds of synthesis of each round; the state saves them."""

    def __init__(self, synthesizer):
        super().__init__()
        self._synthesizer = synthesizer

    def on_epoch_end(self, epoch, logs=None):
        made = self._synthesizer
        logs["synthesis_seconds"] = made.seconds + made.draw_seconds
        logs["draw_seconds"] = made.draw_seconds
        made.seconds = made.draw_seconds = 0.0


def make_student(name, width, teacher, preprocessing, seed):
    """Builds a network of `models` with the weights of this seed."""
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
    """Runs `distill` and logs the seconds of synthesis of each round.

    Args:
        teacher: A `keras.Model` classifier.
        student: A `keras.Model` with the same classes.
        synthesizer: A `TimedPixels`, a `TimedGenerator` or a `Given`.
        scored: A pair, images and labels. The history then has the student's
            `val_accuracy` on these images after each round.
        **kwargs: Arguments of `distill`.

    Returns:
        A pair: a callback whose `model` is the `Distillation`, and the result
            of
        `distill`.
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


def recipe_of(name, priors_only):
    """Returns a recipe, with `priors_only` without its statistics."""
    recipe = RECIPES[name]
    return recipe.without(FeatureStatistics) if priors_only else recipe
