"""One run of an inversion: from noise, through its epochs, to images."""

import json
import typing

import keras
import numpy as np
import tensorflow as tf

from tf_deepinversion.core import run_state
from tf_deepinversion.core.progress import verbosity


class Epoch(typing.NamedTuple):
    """Some steps of one stage, after which epoch callbacks run.

    Attributes:
        stage: Int.
        first: Int, the number of its first step within the stage.
        steps: Int.
    """

    stage: int
    first: int
    steps: int


def epochs_of(counts, steps_per_epoch, moments) -> list:
    """The epochs of all stages; a snapshot ends one as well.

    Args:
        counts: List of the steps of each stage.
        steps_per_epoch: Int.
        moments: List of the steps of the last stage after which there are
            snapshots.

    >>> [epoch.steps for epoch in epochs_of([5, 4], 2, [1])]
    [2, 2, 1, 1, 1, 2]
    """
    epochs = []
    for stage, count in enumerate(counts):
        ends = {*range(steps_per_epoch, count, steps_per_epoch), count}
        if stage == len(counts) - 1:
            ends.update(moments)
        ends = sorted(ends)
        for first, end in zip([0, *ends[:-1]], ends, strict=True):
            epochs.append(Epoch(stage, first, end - first))
    return epochs


class InversionRun:
    """What one call of `DeepInversion.fit` does, with its state.

    Args:
        model: A compiled `DeepInversion`.
        labels: Int32 array `(n,)`.
        counts: List of the steps of each stage.
        batch_index: Int.
        keep: `"last"` or `"best"`.
        steps_per_epoch: Int.
        checkpoint: Path of the file with the state, or None.

    Attributes:
        labels: As given.
        stage: Int, the present one.
        step: `InversionStep` of the present stage.
        snapshots: List of uint8 arrays, one for each moment that is past.
    """

    def __init__(
        self,
        model,
        labels,
        counts,
        batch_index,
        *,
        keep,
        steps_per_epoch,
        checkpoint=None,
    ):
        self.labels, self.stage, self.step = labels, None, None
        self.snapshots = []
        self._model, self._counts, self._keep = model, counts, keep
        self._batch_index, self._checkpoint = batch_index, checkpoint
        self._moments = model.recipe.moments(counts[-1])
        self._epochs = epochs_of(counts, steps_per_epoch, self._moments)
        self._history = keras.callbacks.History()
        self._past = [], {}, False
        self._saved = self._identity = None
        if checkpoint is not None:
            self._identity = run_state.fingerprint(
                {
                    **model.settings(),
                    "teacher": model.teacher,
                    "student": model.student,
                    "steps": [counts, steps_per_epoch],
                    "batch_index": batch_index,
                    "keep": keep,
                },
                [labels],
            )
            self._saved = run_state.load(checkpoint, self._identity)

    def begin(self):
        """Starts from noise, or from where the state of the checkpoint is."""
        saved, self._saved = self._saved, None
        if saved:
            self._past = json.loads(str(saved["past"]))
        done = len(self._past[0])
        self._require_agreement(done)
        self._enter(self._epochs[max(0, done - 1)].stage)
        if saved:
            self.step.restore(saved)
            self.snapshots = list(saved["snapshots"])
        else:
            noise = starting_noise(
                self.step.source,
                self._model.seed,
                self._batch_index,
                self._model.recipe.coarseness,
            )
            self.step.reset(noise)

    def train(self, callbacks, verbose) -> keras.callbacks.History:
        """Does what is left to do.

        Args:
            callbacks: List of `keras.callbacks.Callback`, or None.
            verbose: As for `fit`.

        Returns:
            The history of all epochs, those before an interruption too.
        """
        verbose = verbosity(verbose)
        callbacks = keras.callbacks.CallbackList(
            [*(callbacks or []), self._history],
            add_progbar=verbose != 0,
            verbose=verbose,
            epochs=len(self._epochs),
            steps=self._epochs[0].steps,
            model=self._model,
        )
        self._model.stop_training = False
        callbacks.on_train_begin()  # which empties the history
        self._history.epoch, self._history.history, ended = self._past
        done, logs = len(self._history.epoch), {}
        # A run that a callback has ended stays ended.
        epochs = self._epochs[:done] if ended else self._epochs
        if 0 < done < len(epochs):
            run_state.swapped_again(
                callbacks.callbacks,
                done - 1,
                self.step.state,
                self.step.restore,
            )
        for number in range(done, len(epochs)):
            logs = self._train_epoch(number, epochs[number], callbacks)
            if self._model.stop_training:
                break
        # Averages of the variables, if the optimizer has any, as Keras does.
        self.step.optimizer.finalize_variable_values(self.step.source.variables)
        callbacks.on_train_end(logs)
        if done < len(epochs):  # some put the best images back
            run_state.settle_averages(self.step.optimizer)
            self._save()
        return self._history

    def _train_epoch(self, number, epoch, callbacks):
        model, logs = self._model, {}
        if epoch.stage != self.stage:
            images = self.step.rows.gather(self.step.images)
            self._enter(epoch.stage)
            self.step.reset(resized(images, self.step.shape[1:3]))
        callbacks.params["steps"] = epoch.steps
        callbacks.on_epoch_begin(number)
        for begin in range(0, epoch.steps, model.steps_per_execution):
            end = min(begin + model.steps_per_execution, epoch.steps)
            callbacks.on_train_batch_begin(begin)
            ran, finite, values = self.step.run(
                tf.constant(epoch.first + begin),
                tf.constant(end - begin),
                tf.constant(self.labels),
                tf.constant([model.seed, self._batch_index]),
            )
            logs = _logs(model.terms, values.numpy())
            callbacks.on_train_batch_end(end - 1, logs)
            if not finite and not model.stop_training:
                self._raise_not_finite(epoch.first + begin + int(ran) - 1, logs)
            if model.stop_training:
                break
        self._take_snapshots(epoch)
        callbacks.on_epoch_end(number, logs)
        if model.stop_training:
            run_state.keep_averages(callbacks.callbacks, model.optimizer)
        self._save()
        return logs

    def _enter(self, stage):
        """Makes the step of a stage the present one."""
        self.stage = stage
        self.step = self._model.stage_steps.find(
            stage, self._counts[stage], len(self.labels), self._keep
        )
        self._model.optimizer = self.step.optimizer

    def _take_snapshots(self, epoch):
        """Keeps the images, if a snapshot is due after this epoch."""
        if epoch.stage == len(self._counts) - 1:
            for _ in range(self._moments.count(epoch.first + epoch.steps)):
                z = self.step.rows.gather(self.step.images)
                self.snapshots.append(self._model.preprocessing.to_pixels(z))

    def _save(self):
        if self._checkpoint is None:
            return
        state = self.step.state()  # all workers give their rows
        if self.step.rows.strategy.extended.should_checkpoint:
            history, ended = self._history, self._model.stop_training
            past = [history.epoch, history.history, ended]
            state["past"] = np.array(json.dumps(past, default=float))
            state["snapshots"] = self._model.snapshots
            run_state.save(self._checkpoint, state, self._identity)

    def _require_agreement(self, done):
        """All workers must have found the same state."""
        strategy = self._model.distribute_strategy
        if self._checkpoint is None or strategy.num_replicas_in_sync == 1:
            return
        found = strategy.run(lambda: tf.constant([done, done * done]))
        count, squares = strategy.reduce("SUM", found, axis=None).numpy()
        if count * count != squares * strategy.num_replicas_in_sync:
            raise ValueError(
                "The workers do not see the same checkpoint: all of them must "
                "be given one file, on a disk that they share. "
                f"Received: checkpoint={str(self._checkpoint)!r}, here after "
                f"{done} epochs"
            )

    def _raise_not_finite(self, number, logs):
        rate = keras.ops.convert_to_numpy(self.step.optimizer.learning_rate)
        raise FloatingPointError(
            f"The loss or the images are not finite at step {number} of stage "
            f"{self.stage}; `images` are those of the step before. Lower the "
            f"learning rate. Received: {logs}, learning_rate={rate:g}"
        )


def _logs(terms, values):
    *values, recognized = values
    logs = {"loss": float(np.sum(values))}
    for term, value in zip(terms, values, strict=True):
        # Two terms of one name, say both forms of the total variation, are
        # logged as one.
        logs[term.name] = logs.get(term.name, 0.0) + float(value)
    return {**logs, "recognized": float(recognized)}


def resized(images, size):
    """Images `(n, height, width, channels)` at another size."""
    return keras.ops.image.resize(images, size)


def starting_noise(source, seed, batch_index, coarseness=1) -> np.ndarray:
    """What a run starts from: N(0, 1), an array of the source's `noise_shape`.

    Args:
        source: An `ImageSource`.
        seed: Int.
        batch_index: Int. Each image is a function of the seed, this number and
            its place in the batch alone.
        coarseness: Int. Every so many pixels both ways are drawn, those
            between are interpolated, and the variance is 1 again.
    """
    count, *shape = source.noise_shape
    if coarseness > 1:
        shape[:2] = (-(-size // coarseness) for size in shape[:2])
    noise = np.stack(
        [
            np.random.default_rng((seed, batch_index, index)).standard_normal(
                shape, source.images.dtype
            )
            for index in range(count)
        ]
    )
    if coarseness > 1:
        noise = np.array(resized(noise, source.shape[1:3]))
        deviations = noise.std(axis=(1, 2, 3), keepdims=True)
        # Of one shade alone there is none.
        noise /= np.where(deviations > 0, deviations, 1)
    return noise
