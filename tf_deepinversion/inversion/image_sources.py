"""Where the images of an inversion come from: pixels, or a generator.

A source has the variables that the optimizer moves, the images that these make
in z, and the pullback: from the gradient of the images to that of the
variables. What the objective asks of the images is the same for all sources.
"""

import keras
import tensorflow as tf

from tf_deepinversion.core.random_keys import fold_in
from tf_deepinversion.inversion.rows import Rows


class ImageSource:
    """What an `InversionStep` moves.

    Args:
        shape: Tuple `(n, height, width, channels)`, of the images of all
            replicas.
        dtype: String, of the images.

    Attributes:
        shape: As given.
        rows: `Rows`, which of the images each replica holds.
        images: The variable of this replica's images, as they are now.
        variables: List of the variables that the optimizer moves.
        noise_shape: Tuple, of the noise that `start` is given.
    """

    variables, noise_shape = (), ()

    def __init__(self, shape, dtype="float32"):
        self.shape = tuple(shape)
        self.rows = Rows(tf.distribute.get_strategy())
        own = shape[0] // self.rows.replicas, *shape[1:]
        self.images = keras.Variable(
            tf.zeros(own, dtype), trainable=True, name="images"
        )

    def state(self) -> dict:
        """All variables that a later run needs to go on, by name."""
        return {"images": self.images}

    def start(self, noise):
        """Begins anew from an array of `noise_shape`."""
        raise NotImplementedError

    def noise(self, seed, step):
        """Random numbers of a step, a row for each image; by default none."""
        return tf.zeros((self.shape[0], 0))

    def make(self, labels, noise):
        """The images of this replica.

        Args:
            labels: Int tensor `(rows,)`.
            noise: Tensor of as many rows, of what `noise` gave.

        Returns:
            A pair: float tensor `(rows, height, width, channels)`, and the
            pullback, a function from the gradient of the images to the list
            of the gradients of `variables`.
        """
        raise NotImplementedError

    def after_step(self, images):
        """The images that a step leaves, in which it made `images`."""
        raise NotImplementedError


class Pixels(ImageSource):
    """The images are themselves the variables."""

    def __init__(self, shape, dtype="float32"):
        super().__init__(shape, dtype)
        self.variables, self.noise_shape = [self.images], self.shape

    def start(self, noise):
        self.rows.scatter(self.images, noise)

    def make(self, labels, noise):
        return tf.identity(self.images.value), lambda gradient: [gradient]

    def after_step(self, images):
        return tf.convert_to_tensor(self.images.value)


class Generated(ImageSource):
    """The images are a generator's, on one device.

    The gradient of the images is pulled back through the generator to its
    weights and, where these are learned, to the latents. The variable `images`
    holds the newest that the generator has made.

    Args:
        shape: As for `ImageSource`.
        dtype: String, of the images.
        generator: A `keras.Model`, see `Generator`.
        classes: Int, how many classes there are.
        bounds: Pair of arrays `(channels,)`, z of black and of white.
        latent_scale: Float, the standard deviation of the latents at first;
            0: they are not learned.
        latent_noise: Float, that of the noise which they get anew every step.
        latent_rate: Float, how much faster than weights latents are learned.
    """

    def __init__(
        self,
        shape,
        dtype,
        generator,
        classes,
        bounds,
        *,
        latent_scale,
        latent_noise,
        latent_rate,
    ):
        super().__init__(shape, dtype)
        self._generator, self._classes = generator, classes
        self._black, self._white = (tf.constant(b, dtype) for b in bounds)
        self._scale, self._noise = latent_scale, latent_noise
        self._rate = latent_rate
        self.noise_shape = shape[0], generator.input_shape[-1] - classes
        # Scaled, so that one learning rate serves weights and latents.
        self._latents = keras.Variable(
            tf.zeros(self.noise_shape), name="latents"
        )
        weights = generator.trainable_variables
        self.variables = [self._latents, *weights] if latent_scale else weights

    def state(self):
        weights = enumerate(self._generator.variables)
        return {
            **super().state(),
            "latents": self._latents,
            **{f"generator_{i}": variable for i, variable in weights},
        }

    def start(self, noise):
        self._latents.assign(self._scale * noise / self._rate)

    def noise(self, seed, step):
        # Numbers below 0: those of the steps are the transforms'.
        key = fold_in(fold_in(seed, -1 - step), 1)
        return self._noise * tf.random.stateless_normal(
            self.noise_shape, key, alg="philox"
        )

    def make(self, labels, noise):
        variables = [variable.value for variable in self.variables]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            latents = self._rate * self._latents.value + noise
            drawn = draw(self._generator, latents, labels, self._classes)
            drawn = tf.cast(drawn, self._black.dtype)
            images = self._black + (self._white - self._black) * drawn

        def pullback(gradient):
            return tape.gradient(images, variables, output_gradients=gradient)

        return images, pullback

    def after_step(self, images):
        return images


def draw(generator, latents, labels, classes):
    """What a generator makes of latents and labels, as it does in training.

    In training the batch itself gives the statistics of its layers, so the
    images of a batch depend on each other.

    Args:
        generator: A `keras.Model`, see `Generator`.
        latents: Float tensor `(batch, latents)`.
        labels: Int tensor `(batch,)`.
        classes: Int.

    Returns:
        A tensor `(batch, height, width, channels)` in [0, 1].
    """
    fed = tf.concat([latents, tf.one_hot(labels, classes)], axis=-1)
    return generator(fed, training=True)
