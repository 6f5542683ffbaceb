"""Muon for convolutions: steps whose directions all count alike."""

import types

import keras
from keras import ops


@keras.saving.register_keras_serializable("tf_deepinversion")
class ConvMuon(keras.optimizers.Muon):
    """`keras.optimizers.Muon` for the kernels of convolutions.

    Keras leaves these to AdamW. Here a kernel `(height, width, in, out)` is
    the matrix `(height * width * in, out)`, by which it multiplies patches.
    The step is the momentum of its gradient with all singular values made
    about 1, times the root of the matrix' larger side and `rms_rate`. All
    other variables, the `Dense` head among them, are AdamW's, with
    `adam_lr_ratio` times the learning rate; so are convolutions that
    `exclude_layers` or `exclude_embeddings` name.

    Args:
        *args: As for `keras.optimizers.Muon`.
        **kwargs: The same.

    Reference:
        - Liu et al., arXiv:2502.16982

    >>> kernel = keras.Variable(np.zeros((1, 1, 2, 2)))
    >>> gradient = np.diag([5.0, 1.0])[None, None]
    >>> optimizer = ConvMuon(0.1, ns_steps=10)
    >>> optimizer.apply([keras.ops.convert_to_tensor(gradient)], [kernel])
    >>> bool((np.abs(kernel[0, 0] / (0.02 * 2**0.5) + np.eye(2)) < 0.4).all())
    True
    """

    def _should_use_adamw(self, variable):
        # The matrix of a depthwise convolution is a column: it has no
        # directions to tell apart.
        if len(variable.shape) != 4 or 1 in _sides(variable):
            return True
        matrix = types.SimpleNamespace(
            shape=_sides(variable), path=variable.path
        )
        return super()._should_use_adamw(matrix)

    def update_step(self, gradient, variable, learning_rate):
        # Muon takes it as it is, and a schedule's may be of another dtype.
        rate = ops.cast(learning_rate, variable.dtype)
        super().update_step(gradient, variable, rate)

    def zeropower_via_newtonschulz5(self, x, steps):
        matrix = ops.reshape(x, _sides(x))
        made = super().zeropower_via_newtonschulz5(matrix, steps)
        return ops.reshape(made, x.shape)

    def lr_adjust(self, x):
        if self.rms_rate is None:
            return x
        return x * (self.rms_rate * max(_sides(x)) ** 0.5)


def _sides(kernel):
    *window, channels, kernels = kernel.shape
    for size in window:
        channels *= size
    return channels, kernels
