"""One step of inversion that moves a generator instead of pixels."""

import keras
import tensorflow as tf

from tf_deepinversion.inversion.step import InversionStep


class GeneratorStep(InversionStep):
    """As `InversionStep`, where the images are a generator's.

    The gradient of the objective with respect to the images, whatever its
    terms, is pulled back through the generator to its weights and latents.

    Args:
        *args: As for `InversionStep`.
        generator: A `keras.Model`, see `Generator`.
        latent_scale: Float, the standard deviation of the latents at first;
            0: they are not learnt.
        latent_noise: Float, that of the noise which they get anew every step.
        latent_rate: Float, how much faster than weights latents are learnt.
        **kwargs: As for `InversionStep`.
    """

    def __init__(
        self,
        *args,
        generator,
        latent_scale,
        latent_noise,
        latent_rate,
        **kwargs,
    ):
        self.generator, self.latent_noise = generator, latent_noise
        self.latent_scale, self.latent_rate = latent_scale, latent_rate
        super().__init__(*args, **kwargs)

    @property
    def start_shape(self):
        classes = self.teacher.classes
        return self.share, self.generator.input_shape[-1] - classes

    def _make_moved(self):
        # Scaled, so that one learning rate serves weights and latents.
        self.latents = keras.Variable(
            tf.zeros(self.start_shape), name="latents"
        )
        weights = self.generator.trainable_variables
        return [self.latents, *weights] if self.latent_scale else weights

    def _set_start(self, noise):
        self.latents.assign(self.latent_scale * noise / self.latent_rate)

    def _variables(self):
        weights = enumerate(self.generator.variables)
        return {
            **super()._variables(),
            "latents": self.latents,
            **{f"generator_{i}": variable for i, variable in weights},
        }

    def draws(self, seed, step):
        key = tf.random.experimental.stateless_fold_in(seed, -1 - step)
        key = tf.random.experimental.stateless_fold_in(key, 1)
        drawn = tf.random.stateless_normal(self.start_shape, key, alg="philox")
        noise = self.latent_noise * drawn
        return super().draws(seed, step)._replace(noise=noise)

    def _move(self, labels, draws):
        moved = [variable.value for variable in self.moved]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(moved)
            images = self._generate(labels, draws.noise)
        values, gradient = self.gradient(images, labels, draws)
        gradient = self.optimizer.scale_loss(gradient)  # `apply` unscales it
        gradients = tape.gradient(images, moved, output_gradients=gradient)
        self.optimizer.apply(gradients, self.moved)
        finite = [tf.reduce_all(tf.math.is_finite(v.value)) for v in self.moved]
        return images, images, values, tf.reduce_all(finite)

    def _generate(self, labels, noise):
        classes = tf.one_hot(labels, self.teacher.classes)
        latents = self.latent_rate * self.latents.value + noise
        drawn = self.generator(
            tf.concat([latents, classes], axis=-1), training=True
        )
        black, white = (
            tf.constant(bound, self.images.dtype)
            for bound in self.preprocessing.bounds()
        )
        return black + (white - black) * tf.cast(drawn, self.images.dtype)
