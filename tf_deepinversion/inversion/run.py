"""One run of an inversion: from noise, through its epochs, to images."""

import json
import typing

import keras
import numpy as np
import tensorflow as tf

from tf_deepinversion.core import run_state
from tf_deepinversion.core.files import require_local
from tf_deepinversion.core.progress import verbosity
from tf_deepinversion.networks.measured_policy import policy_of_run


class Epoch(typing.NamedTuple):
    """A number of steps of one stage. Epoch callbacks run after the last step.

    Attributes:
        stage: Int, number of the stage.
        first: Int, number of the first step within the stage.
        steps: Int, number of steps.
    """

    stage: int
    first: int
    steps: int


def split_into_epochs(counts, steps_per_epoch, moments) -> list:
    """Splits all stages into epochs. Each snapshot also ends an epoch.

    Args:
        counts: List of ints, the number of steps of each stage.
        steps_per_epoch: Int, largest number of steps in an epoch.
        moments: List of ints, the steps of the last stage that end with a
            snapshot.

    >>> [epoch.steps for epoch in split_into_epochs([5, 4], 2, [1])]
    [2, 2, 1, 1, 1, 2]
    """
    epochs = []
    for stage, count in enumerate(counts):
        # An epoch ends after `steps_per_epoch` steps, at a snapshot, and at the
        # end.
        ends = {*range(steps_per_epoch, count, steps_per_epoch), count}
        if stage == len(counts) - 1:
            ends.update(moments)
        ends = sorted(ends)
        for first, end in zip([0, *ends[:-1]], ends, strict=True):
            epochs.append(Epoch(stage, first, end - first))
    return epochs


class InversionRun:
    """One call of `DeepInversion.fit`, with its state.

    Args:
        model: A compiled `DeepInversion`.
        labels: Int32 array `(n,)`.
        counts: List of ints, the number of steps of each stage.
        batch_index: Int.
        keep: `"last"` or `"best"`.
        steps_per_epoch: Int.
        checkpoint: Path of the file with the state, or None.

    Attributes:
        labels: The argument.
        stage: Int, number of the current stage.
        step: `InversionStep` of the current stage.
        snapshots: List of uint8 arrays, one for each moment that has passed.
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
        self._epochs = split_into_epochs(counts, steps_per_epoch, self._moments)
        self._history = keras.callbacks.History()
        self._past = [], {}, False
        self._saved = self._identity = None
        if checkpoint is not None:
            # Everything on which the images depend.
            self._identity = run_state.fingerprints(
                {
                    **model.settings(),
                    "teacher": model.teacher,
                    "student": model.student,
                    "steps": [counts, steps_per_epoch],
                    "batch_index": batch_index,
                    "keep": keep,
                    **_open_shape(model),
                },
                {"labels": [labels]},
            )
            require_local(checkpoint=checkpoint)
            _require_policy(checkpoint, model.networks.dtype)
            self._saved = run_state.load(checkpoint, self._identity)

    def begin(self):
        """Starts from noise, or resumes from the checkpoint."""
        saved, self._saved = self._saved, None
        if saved:
            self._past = json.loads(str(saved["past"]))
        done = len(self._past[0])
        self._require_agreement(done)
        # The stage of the last finished epoch, to which the saved images
        # belong.
        self._enter(self._epochs[max(0, done - 1)].stage)
        if saved:
            self.step.restore(saved)
            self.snapshots = list(saved["snapshots"])
        else:
            self.step.reset(
                starting_images(
                    self.step.source, self._model, self._batch_index
                )
            )

    def train(self, callbacks, verbose) -> keras.callbacks.History:
        """Runs the remaining epochs.

        Args:
            callbacks: List of `keras.callbacks.Callback`, or None.
            verbose: As for `fit`.

        Returns:
            The history of all epochs, including those before an interruption.
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
        # `History` clears its lists here, so the past is restored afterwards.
        callbacks.on_train_begin()
        self._history.epoch, self._history.history, ended = self._past
        done, logs = len(self._history.epoch), {}
        # A run that a callback stopped stays stopped.
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
        # As in Keras, the variables become their moving averages if the
        # optimizer has such averages (`use_ema`).
        self.step.optimizer.finalize_variable_values(self.step.source.variables)
        callbacks.on_train_end(logs)
        if done < len(epochs):  # callbacks may have restored the best images
            run_state.settle_averages(self.step.optimizer)
            self._save()
        return self._history

    def _train_epoch(self, number, epoch, callbacks):
        model, logs = self._model, {}
        if epoch.stage != self.stage:
            # A stage starts from the images of the stage before, resized.
            images = self.step.rows.gather(self.step.images)
            self._enter(epoch.stage)
            self.step.reset(resized_z(images, self.step.shape[1:3]))
        # No stage repeats the random numbers of a stage before.
        drawn = sum(self._counts[: epoch.stage]) + epoch.first
        # Epochs differ in length; the bar reads the length here.
        callbacks.params["steps"] = epoch.steps
        callbacks.on_epoch_begin(number)
        for begin in range(0, epoch.steps, model.steps_per_execution):
            end = min(begin + model.steps_per_execution, epoch.steps)
            callbacks.on_train_batch_begin(begin)
            # The graph stops after a step that is not finite.
            ran, finite, values = self.step.run(
                tf.constant(drawn + begin),
                tf.constant(end - begin),
                tf.constant(self.labels),
                tf.constant([model.seed, self._batch_index]),
            )
            logs = _logs(model.terms, values.numpy())
            callbacks.on_train_batch_end(end - 1, logs)
            self._tell(number, end)
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

    def _tell(self, number, steps):
        """Tells whoever waits for the images how much of them is done."""
        if self._model.on_share is not None:
            before = sum(epoch.steps for epoch in self._epochs[:number])
            self._model.on_share((before + steps) / sum(self._counts))

    def _enter(self, stage):
        """Makes a stage the current stage."""
        self.stage = stage
        self.step = self._model.stage_steps.find(
            stage, self._counts[stage], len(self.labels), self._keep
        )
        # Callbacks such as `LearningRateScheduler` look for the optimizer here.
        self._model.optimizer = self.step.optimizer

    def _take_snapshots(self, epoch):
        """Keeps a snapshot of the images, if one is due after this epoch."""
        if epoch.stage == len(self._counts) - 1:
            for _ in range(self._moments.count(epoch.first + epoch.steps)):
                z = self.step.rows.gather(self.step.images)
                self.snapshots.append(self._model.preprocessing.to_pixels(z))

    def _save(self):
        if self._checkpoint is None:
            return
        # Every worker must run this line: it gathers the rows of all workers.
        state = self.step.state()
        if self.step.rows.strategy.extended.should_checkpoint:
            history, ended = self._history, self._model.stop_training
            past = [history.epoch, history.history, ended]
            state["past"] = np.array(json.dumps(past, default=float))
            state["snapshots"] = self._model.snapshots
            run_state.save(self._checkpoint, state, self._identity)

    def _require_agreement(self, done):
        """Checks that all workers resume after the same epoch."""
        strategy = self._model.distribute_strategy
        if self._checkpoint is None or strategy.num_replicas_in_sync == 1:
            return
        found = strategy.run(lambda: tf.constant([done, done * done]))
        # Over R equal numbers (sum)^2 = R x (sum of squares); over different
        # numbers it is smaller.
        count, squares = strategy.reduce("SUM", found, axis=None).numpy()
        if count * count != squares * strategy.num_replicas_in_sync:
            raise ValueError(
                "The workers do not see the same checkpoint: pass the same "
                "file to all workers, on a disk that they share. "
                f"Received: checkpoint={str(self._checkpoint)!r}, here after "
                f"{done} epochs"
            )

    def _raise_not_finite(self, number, logs):
        rate = keras.ops.convert_to_numpy(self.step.optimizer.learning_rate)
        raise FloatingPointError(
            f"The loss or the images are not finite at step {number} of stage "
            f"{self.stage}; `images` holds the images of the step before. "
            f"Lower the learning rate. Received: {logs}, learning_rate={rate:g}"
        )


def _logs(terms, values):
    *values, recognized = values
    logs = {"loss": float(np.sum(values))}
    for term, value in zip(terms, values, strict=True):
        # Terms with the same name, such as two forms of the total variation,
        # are logged as their sum.
        logs[term.name] = logs.get(term.name, 0.0) + float(value)
    return {**logs, "recognized": float(recognized)}


def resized_z(images, size):
    """Resizes images `(n, height, width, channels)`."""
    return keras.ops.image.resize(images, size)


def starting_images(source, model, batch_index) -> np.ndarray:
    """Draws what a new run starts from, in the source's `noise_shape`.

    Args:
        source: An `ImageSource`.
        model: A `DeepInversion`, for its recipe, preprocessing and seed.
        batch_index: Int. The start of an image depends only on the seed, this
            number and the image's place in the batch.
    """
    count, *shape = source.noise_shape
    if source.noise_shape == source.shape:  # pixels, as the first stage has
        shape = model.recipe.stages[0].shape(model.image_shape)
    generators = [
        np.random.default_rng((model.seed, batch_index, index))
        for index in range(count)
    ]
    drawn = model.recipe.start.draw(generators, shape, model.preprocessing)
    return np.asarray(drawn, source.images.dtype)


def _require_policy(checkpoint, dtype):
    """Refuses the state of the other policy that `"auto"` may choose."""
    found = policy_of_run([checkpoint])
    if found not in (None, dtype):
        raise ValueError(
            f"The checkpoint {checkpoint} is of a run in another precision: "
            f"pass dtype={found!r} to go on, or use another file for this run. "
            f"Received: dtype={dtype!r}"
        )


def _open_shape(model) -> dict:
    """Returns the size of the images, as a dict, if the teacher has none."""
    fixed = getattr(model.teacher, "input_shape", (None,))[1:]
    known = len(fixed) == 3 and None not in fixed
    return {} if known else {"image_shape": model.image_shape}
