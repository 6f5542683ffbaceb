"""`fit` that saves its state and resumes."""

import keras

from tf_deepinversion.callbacks.require_finite import RequireFinite
from tf_deepinversion.callbacks.training_state import TrainingState
from tf_deepinversion.core import run_state
from tf_deepinversion.core.progress import TrainingProgress
from tf_deepinversion.core.progress import tell_done_before
from tf_deepinversion.core.progress import verbosity


class _EarlyEnd(keras.callbacks.Callback):
    """Keeps the averages that callbacks before it have swapped in."""

    def __init__(self, others):
        super().__init__()
        self.others = others

    def on_epoch_end(self, epoch, logs=None):
        if self.model.stop_training:
            run_state.keep_averages(self.others, self.model.optimizer)


class _WholeEpochs(keras.callbacks.Callback):
    """Raises an error where the images end before the steps of an epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        self._done = 0

    def on_train_batch_end(self, batch, logs=None):
        self._done = batch + 1

    def on_epoch_end(self, epoch, logs=None):
        steps = self.params["steps"]
        if self._done < steps and not self.model.stop_training:
            raise ValueError(
                f"Expected images for {steps} steps of an epoch: pass a data "
                f"set that does not end. Received: {self._done} steps"
            )


def fit_resumable(
    model,
    batches,
    *,
    network,
    epochs,
    steps_per_epoch,
    path=None,
    run="",
    others=(),
    ring=None,
    callbacks=None,
    verbose="auto",
    validation_data=None,
    title="Training",
) -> dict:
    """Trains a compiled model and saves the state after each epoch.

    All callbacks see the end of an epoch before the state is saved. A network
    with values that are not finite is never saved. With `path`, repeating the
    same call resumes after an interruption and gives the same network.

    Args:
        model: A compiled `keras.Model`, whose `fit` is called.
        batches: Function from a step to an endless `tf.data.Dataset` for
            `model.fit` that starts at that step.
        network: The `keras.Model` that is trained: `model` or a part of it.
        epochs: Int.
        steps_per_epoch: Int.
        path: Path of the state file, or None to save nothing.
        run: String that identifies the run, see `core.run_state.fingerprint`.
        others: List of `keras.Variable` that training changes besides those
            of the network and of the optimizer.
        ring: As for `TrainingState`.
        callbacks: List of `keras.callbacks.Callback`, or None.
        verbose: As in `keras.Model.fit`.
        validation_data: As in `keras.Model.fit`.
        title: String, name of the bar. Defaults to `"Training"`.

    Returns:
        A dict with the history of all epochs, including epochs before an
        interruption.

    Raises:
        FloatingPointError: if a value of the network is no longer finite.
        ValueError: if the file is damaged or belongs to another run, or the
            batches end.
    """
    # `TrainingState` restores the optimizer's variables, which must exist
    # first.
    model.optimizer.build(network.trainable_variables)
    given, state, done = list(callbacks or []), None, 0
    # The order matters: a network that is not finite raises before its state is
    # saved, and the state is saved after all other callbacks.
    callbacks = [
        *given,
        _WholeEpochs(),
        RequireFinite(network),
        _EarlyEnd(given),
    ]
    if path is not None:
        variables = [*network.variables, *model.optimizer.variables, *others]
        state = TrainingState(path, variables, run, ring)
        state.others, done = given, state.epoch
        callbacks.append(state)
    verbose = verbosity(verbose)
    # A caller that shows one bar for several trainings brings it along.
    bars = [
        c for c in callbacks if isinstance(c, keras.callbacks.ProgbarLogger)
    ]
    if verbose and not bars:
        bars = [TrainingProgress(title)]
        callbacks = [*bars, *callbacks]
    # Other bars count what was done before.
    if any(isinstance(bar, TrainingProgress) for bar in bars):
        tell_done_before(title, done, epochs, "epochs", verbose)
    history = model.fit(
        batches(done * steps_per_epoch),
        epochs=epochs,
        initial_epoch=done,
        steps_per_epoch=steps_per_epoch,
        shuffle=False,
        callbacks=callbacks,
        verbose=verbose,
        validation_data=validation_data,
    ).history
    return history if state is None else state.history
