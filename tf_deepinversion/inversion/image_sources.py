"""The sources of an inversion's images: pixels, or a generator.

A source has the variables that the optimizer changes, and computes images in z
from them. Its pullback converts the gradient of the images to the gradient of
the variables. The objective is the same for all sources.
"""

import keras
import tensorflow as tf

from tf_deepinversion.core.random_keys import fold_in
from tf_deepinversion.inversion.rows import Rows


class ImageSource:
    """Base class: the images of an `InversionStep` and their variables.

    Args:
        shape: Tuple `(n, height, width, channels)`, shape of the images of all
            replicas.
        dtype: String, dtype of the images.

    Attributes:
        shape: The argument.
        rows: `Rows`, the assignment of images to replicas.
        images: The variable of this replica's current images.
        variables: List of the variables that the optimizer changes.
        noise_shape: Tuple, shape of the noise that `start` takes.
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
        """Returns all variables that a later run needs to resume, by name."""
        return {"images": self.images}

    def start(self, noise):
        """Restarts from an array of `noise_shape`."""
        raise NotImplementedError

    def noise(self, seed, step):
        """Draws random numbers of a step, a row per image; by default none."""
        return tf.zeros((self.shape[0], 0))

    def make(self, labels, noise):
        """Makes the images of this replica.

        Args:
            labels: Int tensor `(rows,)`.
            noise: Tensor, this replica's rows of the result of `noise`.

        Returns:
            A pair: a float tensor `(rows, height, width, channels)`, and the
            pullback, a function from the gradient of the images to the list
            of the gradients of `variables`.
        """
        raise NotImplementedError

    def after_step(self, images):
        """Returns the images after a step that made `images`."""
        raise NotImplementedError


class Pixels(ImageSource):
    """Images that are themselves the variables."""

    def __init__(self, shape, dtype="float32"):
        super().__init__(shape, dtype)
        self.variables, self.noise_shape = [self.images], self.shape

    def start(self, noise):
        self.rows.scatter(self.images, noise)

    def make(self, labels, noise):
        # The copy keeps its value when the optimizer changes the variable.
        return tf.identity(self.images.value), lambda gradient: [gradient]

    def after_step(self, images):
        return tf.convert_to_tensor(self.images.value)


class Generated(ImageSource):
    """Images that a generator makes, on one device.

    The chain rule takes the gradient of the images through the generator to the
    generator's weights and, if the latents are learned, to the latents. The
    variable `images` holds the generator's newest images.

    Args:
        shape: As for `ImageSource`.
        dtype: String, dtype of the images.
        generator: A `keras.Model`, see `Generator`.
        classes: Int, number of classes.
        bounds: Pair of arrays `(channels,)`, z of black and z of white.
        latent_scale: Float, initial standard deviation of the latents; 0 if the
            latents are not learned.
        latent_noise: Float, standard deviation of the noise that each step adds
            to the latents.
        latent_rate: Float, learning rate of the latents divided by the learning
            rate of the weights.
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
        # The variable is latents / rate: one step of the optimizer moves the
        # latents `rate` times as far, with the learning rate of the weights.
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
        # The variable holds latents / rate.
        self._latents.assign(self._scale * noise / self._rate)

    def noise(self, seed, step):
        # Transforms use the numbers of the steps, from 0 on: negative numbers
        # are free for the source.
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
            # The generator draws in [0, 1]; z lies between black and white.
            images = self._black + (self._white - self._black) * drawn

        def pullback(gradient):
            return tape.gradient(images, variables, output_gradients=gradient)

        return images, pullback

    def after_step(self, images):
        # New images of the updated generator would cost another forward pass.
        return images


def draw(generator, latents, labels, classes):
    """Draws images with a generator in training mode.

    In training mode the generator's BatchNormalization layers use the
    statistics of the batch, so the images of a batch depend on each other.

    Args:
        generator: A `keras.Model`, see `Generator`.
        latents: Float tensor `(batch, latents)`.
        labels: Int tensor `(batch,)`.
        classes: Int.

    Returns:
        A tensor `(batch, height, width, channels)` in [0, 1].
    """
    fed = tf.concat([latents, tf.one_hot(labels, classes)], axis=-1)
    # training=True also when images are drawn for a pool: the generator learned
    # with the statistics of batches, not with moving statistics.
    return generator(fed, training=True)
