"""A training that goes on where it was stopped: `fit`, with its state saved."""

from tf_deepinversion.callbacks.require_finite import RequireFinite
from tf_deepinversion.callbacks.training_state import TrainingState


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
    callbacks=None,
    verbose="auto",
    validation_data=None,
) -> dict:
    """Trains a compiled model, and saves the state after each epoch.

    The state is saved after all callbacks have seen the epoch, and only while
    the network is finite. With `path`, the same call goes on after any
    interruption, to the same network.

    Args:
        model: A compiled `keras.Model`; its `fit` is called.
        batches: Function from a step to an endless `tf.data.Dataset` of what
            `model.fit` takes, that starts at that step.
        network: The `keras.Model` that is trained: `model` or a part of it.
        epochs: Int.
        steps_per_epoch: Int.
        path: Path of the file of the state, or None.
        run: String that tells this run from others, see
            `core.run_state.fingerprint`.
        others: List of `keras.Variable`: what training changes beside the
            variables of the network and of the optimizer.
        callbacks: List of `keras.callbacks.Callback`, or None.
        verbose: As in Keras.
        validation_data: As in Keras.

    Returns:
        The dict of the history of all epochs, those before an interruption
        among them.

    Raises:
        FloatingPointError: if the network comes to be not finite.
        ValueError: if the file is damaged or another run's.
    """
    model.optimizer.build(network.trainable_variables)
    callbacks, state, done = (
        [*(callbacks or []), RequireFinite(network)],
        None,
        0,
    )
    if path is not None:
        variables = [*network.variables, *model.optimizer.variables, *others]
        state = TrainingState(path, variables, run)
        state.others, done = list(callbacks), state.epoch
        callbacks.append(state)
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
