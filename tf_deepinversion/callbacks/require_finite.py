"""A callback that stops training when a network is no longer finite."""

import keras

from tf_deepinversion.core.checks import not_finite


class RequireFinite(keras.callbacks.Callback):
    """Raises an error once a value of a network is not finite.

    Put callbacks that save the network after this one. The newest saved state
    is then from an epoch before the failure.

    Args:
        network: The `keras.Model` that is trained.

    Raises:
        FloatingPointError: at the end of an epoch, if a variable is not finite.

    Example:
        >>> callback = di.callbacks.RequireFinite(student)
        >>> callback.on_epoch_end(0)  # `fit` calls it; all is finite
    """

    def __init__(self, network):
        super().__init__()
        self.network = network

    def on_epoch_end(self, epoch, logs=None):
        variable = not_finite(self.network.variables)
        if variable is not None:
            rate = float(self.model.optimizer.learning_rate)
            raise FloatingPointError(
                f"{self.network.name!r} is no longer finite in epoch "
                f"{epoch + 1}: lower the learning rate. Received: "
                f"{variable.path}, learning_rate={rate:g}, {logs}"
            )
