"""An error in place of a network that is not finite."""

import keras

from tf_deepinversion.core.checks import not_finite


class RequireFinite(keras.callbacks.Callback):
    """Ends training by an error once a network is no longer finite.

    What saves the network comes after it in the list of callbacks, so that
    the newest state on disk is of an epoch before.

    Args:
        network: The `keras.Model` that is trained.

    Raises:
        FloatingPointError: at the end of an epoch, if a variable is not finite.
    """

    def __init__(self, network):
        super().__init__()
        self.network = network

    def on_epoch_end(self, epoch, logs=None):
        variable = not_finite(self.network.variables)
        if variable is not None:
            rate = float(self.model.optimizer.learning_rate)
            raise FloatingPointError(
                f"{self.network.name!r} came to be not finite in epoch "
                f"{epoch + 1}: lower the learning rate. Received: "
                f"{variable.path}, learning_rate={rate:g}, {logs}"
            )
