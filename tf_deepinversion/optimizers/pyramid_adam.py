"""Adam in every level of an image pyramid."""

import math

import keras
from keras import ops

from tf_deepinversion.core.checks import is_within
from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.core.keras_internals import index_of


@keras.saving.register_keras_serializable("tf_deepinversion")
class PyramidAdam(keras.optimizers.Optimizer):
    """Adam whose step is the sum of Adam's steps at several resolutions.

    The optimizer averages the gradient over 1x1, 2x2, 4x4, ... pixels and runs
    one Adam per resolution. A pixel moves by the sum of these steps, enlarged
    bilinearly. Plain Adam moves each pixel by the sign of its own gradient,
    which is mostly noise, and learns slowly what a region has in common. The
    coarse levels learn it at once. Not in the paper.

    Args:
        learning_rate: Float or a schedule. Defaults to 0.2.
        beta_1: Float in [0, 1), decay of the mean gradient. Defaults to 0.5.
        beta_2: Float in [0, 1), decay of the mean squared gradient. Defaults
            to 0.9.
        epsilon: Float, positive. Defaults to 1e-8.
        levels: Int, number of resolutions; 1 is plain Adam. The coarsest
            resolution of an image is one pixel. Defaults to the largest number
            n with side / 2^(n - 1) >= 7 pixels.
        **kwargs: Arguments of `keras.optimizers.Optimizer`.

    Raises:
        ValueError: if a number is out of range.

    Example:
        >>> optimizer = di.PyramidAdam(0.1, levels=2)
        >>> image = keras.Variable(np.zeros((1, 4, 4, 1)))
        >>> optimizer.apply([keras.ops.ones_like(image)], [image])
        >>> image.numpy().ravel()[:2].tolist()
        [-0.2, -0.2]
    """

    def __init__(
        self,
        learning_rate=0.2,
        beta_1=0.5,
        beta_2=0.9,
        epsilon=1e-8,
        levels=None,
        name="pyramid_adam",
        **kwargs,
    ):
        super().__init__(learning_rate, name=name, **kwargs)
        if levels is not None:
            require_whole(levels=levels)
        for beta, value in (("beta_1", beta_1), ("beta_2", beta_2)):
            if not is_within(value, "[0, 1)"):
                raise ValueError(
                    f"`{beta}` must lie in [0, 1): the share of the running "
                    f"mean that each step keeps. Received: {beta}={value}"
                )
        if not is_within(epsilon, "(0, inf)"):
            raise ValueError(
                "`epsilon` must be positive: a gradient of 0 is divided by it. "
                f"Received: epsilon={epsilon}"
            )
        self.beta_1, self.beta_2 = beta_1, beta_2
        self.epsilon = epsilon
        self.levels = levels

    def build(self, variables):
        if self.built:
            return
        for variable in variables:
            self._shapes(variable.shape)  # refuses what is no image
        super().build(variables)
        # Mean and mean square of the gradient, for each variable and each
        # level.
        self._moments = [
            [
                tuple(
                    self.add_variable(shape, dtype=variable.dtype, name=name)
                    for name in (f"mean_{level}", f"square_{level}")
                )
                for level, shape in enumerate(self._shapes(variable.shape))
            ]
            for variable in variables
        ]

    def _shapes(self, shape):
        if len(shape) != 4:
            raise ValueError(
                "PyramidAdam moves images (batch, height, width, channels); "
                "the weights of a network need another optimizer, as Adam. "
                f"Received: a variable of shape {tuple(shape)}"
            )
        batch, height, width, channels = shape
        levels = self.levels
        if levels is None:
            levels = max(1, 1 + int(math.log2(min(height, width) / 7)))
        levels = min(levels, 1 + math.ceil(math.log2(max(height, width))))
        # Rounded up, as `average_pool` with padding does.
        return [
            (batch, -(-height // 2**i), -(-width // 2**i), channels)
            for i in range(levels)
        ]

    def update_step(self, gradient, variable, learning_rate):
        dtype = variable.dtype
        t = ops.cast(self.iterations + 1, dtype)
        beta_1, beta_2 = (
            ops.cast(b, dtype) for b in (self.beta_1, self.beta_2)
        )
        gradient = ops.cast(gradient, dtype)
        size = variable.shape[1:3]
        step = 0.0
        index = index_of(self, variable)
        for level, (mean, square) in enumerate(self._moments[index]):
            g = gradient
            if level:
                # The mean gradient of each square of 2^level pixels.
                g = ops.average_pool(g, 2**level, padding="same")
            self.assign(mean, beta_1 * mean + (1 - beta_1) * g)
            self.assign(square, beta_2 * square + (1 - beta_2) * ops.square(g))
            # As in Adam, both means start at 0 and are corrected for this.
            corrected = ops.sqrt(square / (1 - ops.power(beta_2, t)))
            part = (
                mean / (1 - ops.power(beta_1, t)) / (corrected + self.epsilon)
            )
            if level:
                # Bilinear, so that squares leave no edges in the image.
                part = ops.image.resize(part, size, "bilinear")
            step = step + part
        self.assign_sub(variable, ops.cast(learning_rate, dtype) * step)

    def get_config(self):
        return {
            **super().get_config(),
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
            "levels": self.levels,
        }
