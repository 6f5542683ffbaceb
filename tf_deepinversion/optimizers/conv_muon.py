"""Muon for convolutions: steps with equal singular values."""

import types

import keras
from keras import ops


@keras.saving.register_keras_serializable("tf_deepinversion")
class ConvMuon(keras.optimizers.Muon):
    """`keras.optimizers.Muon` that also orthogonalizes convolution kernels.

    `keras.optimizers.Muon` leaves kernels with four axes to AdamW.
    `ConvMuon` treats a kernel `(height, width, in, out)` as a matrix
    `(height * width * in, out)`, which multiplies patches of the input. The
    step is the momentum of the gradient with all singular values set to about
    1, times `rms_rate` and the root of the matrix's larger side. AdamW moves
    all other variables, including the `Dense` head, with `adam_lr_ratio` times
    the learning rate. AdamW also moves depthwise kernels with one output a
    channel, and convolutions that match `exclude_layers` or
    `exclude_embeddings`. A depthwise kernel with more outputs, and the kernels
    of a grouped convolution, count as one matrix unless they are excluded.

    Args:
        *args: Arguments of `keras.optimizers.Muon`.
        **kwargs: Arguments of `keras.optimizers.Muon`.

    Example:
        >>> kernel = keras.Variable(np.zeros((1, 1, 2, 2)))
        >>> gradient = np.diag([5.0, 1.0])[None, None]
        >>> optimizer = di.ConvMuon(0.1, ns_steps=10)
        >>> optimizer.apply([keras.ops.convert_to_tensor(gradient)], [kernel])
        >>> moved = kernel[0, 0] / (0.02 * 2**0.5)
        >>> bool((np.abs(moved + np.eye(2)) < 0.4).all())
        True

    Reference:
        - Liu et al., arXiv:2502.16982
    """

    def _should_use_adamw(self, variable):
        # The matrix of a depthwise convolution is one column: there is only
        # one singular value, so nothing to equalize.
        if len(variable.shape) != 4 or 1 in _sides(variable):
            return True
        matrix = types.SimpleNamespace(
            shape=_sides(variable), path=variable.path
        )
        return super()._should_use_adamw(matrix)

    def update_step(self, gradient, variable, learning_rate):
        # Muon does not cast the rate; a schedule may return another dtype.
        rate = ops.cast(learning_rate, variable.dtype)
        super().update_step(gradient, variable, rate)

    def zeropower_via_newtonschulz5(self, x, steps):
        # Keras's iteration needs a matrix; the kernel keeps its own shape.
        matrix = ops.reshape(x, _sides(x))
        made = super().zeropower_via_newtonschulz5(matrix, steps)
        return ops.reshape(made, x.shape)

    def lr_adjust(self, x):
        if self.rms_rate is None:
            return x
        return x * (self.rms_rate * max(_sides(x)) ** 0.5)


def _sides(kernel):
    # Height, width and inputs together are the rows of the matrix.
    *window, channels, kernels = kernel.shape
    for size in window:
        channels *= size
    return channels, kernels
