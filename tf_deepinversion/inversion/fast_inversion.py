"""FastInversion: a generator that learns to draw what a network remembers."""

import pathlib

import keras
import numpy as np
import tensorflow as tf

from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.core.described import architecture
from tf_deepinversion.core.labels import check_labels
from tf_deepinversion.inversion import image_sources
from tf_deepinversion.inversion.deep_inversion import DeepInversion
from tf_deepinversion.inversion.image_sources import Generated
from tf_deepinversion.models.generator import Generator


class FastInversion(DeepInversion):
    """Synthesizes images by a generator: better ones, and soon in few steps.

    As `DeepInversion`, but what moves are a generator's weights and its
    latents, one for each image, not pixels. From one batch to the next the
    generator keeps what it has learned, so that later ones need few steps: call
    `fit` again, with another `batch_index`.

    Args:
        teacher: As for `DeepInversion`, and so are `preprocessing` and the
            other arguments.
        generator: A `keras.Model` from `(batch, latents + classes)` to images
            in [0, 1]; None for a new `Generator`.
        draws: Int, how many images of each label `make` draws anew once the
            generator has worked on a batch; they take the place of those that
            it worked on. Needs a `latent_scale` of 0. Defaults to 0: none.

    Raises:
        ValueError: as `DeepInversion`, and if the generator does not fit, or
            is to draw and learns its latents.

    Reference:
        - Fang et al., Up to 100x Faster Data-free Knowledge Distillation,
          arXiv:2112.06253, for the latents and the meta-learned generator;
          classes as input, all of its recipe's numbers and the generator are
          ours

    Example:

    ```python
    model = FastInversion(load_pretrained("fashion_mnist_resnet20"))
    model.fit(balanced_labels(10, 100), steps=500)
    model.fit(balanced_labels(10, 100), steps=50, batch_index=1)
    ```
    """

    def __init__(
        self,
        teacher,
        preprocessing=None,
        *,
        generator=None,
        draws=0,
        recipe="generator",
        seed=0,
        **kwargs,
    ):
        super().__init__(
            teacher, preprocessing, recipe=recipe, seed=seed, **kwargs
        )
        if self.distribute_strategy.num_replicas_in_sync > 1:
            raise ValueError(
                "FastInversion runs on one device: its generator sees the "
                "whole batch. Make images in several processes instead. "
                f"Received: {self.distribute_strategy.num_replicas_in_sync} "
                "replicas"
            )
        require_whole(0, draws=draws)
        training = self.recipe.generator
        if draws and training.latent_scale:
            raise _cannot_draw(f"draws={draws}", training.latent_scale)
        if generator is None:
            generator = Generator(
                self.image_shape, self.classes, width=training.width, seed=seed
            )
        _require_fitting(generator, self.image_shape, self.classes)
        self.generator = generator
        self._draws = int(draws)
        self.images_per_label = self._draws or self.images_per_label
        self._last_run = None, [], []

    @property
    def state_variables(self) -> list:
        """The variables that one batch leaves to the next: the generator's."""
        return self.generator.variables

    def _made(self, batch_index):
        if not self._draws:
            return super()._made(batch_index)
        first = batch_index * self._draws
        return np.concatenate(
            [self.draw(self.labels, first + i) for i in range(self._draws)]
        )

    def draw(self, labels, batch_index=0):
        """Images of new latents, by the generator as it is: no step is made.

        Args:
            labels: Int array `(n,)` in [0, classes). All of them are one batch
                to the generator, as those of `fit` are.
            batch_index: Int; another one gives other images.

        Returns:
            uint8 array `(n, height, width, channels)`.

        Raises:
            ValueError: if a label is out of range, or the latents are learned:
                then those of new ones would be no good images.
        """
        training = self.recipe.generator
        if training.latent_scale:
            raise _cannot_draw("draw", training.latent_scale)
        labels = check_labels(labels, self.classes)
        latents = self.generator.input_shape[-1] - self.classes
        key = tf.constant([self.seed, batch_index])
        drawn = tf.random.stateless_normal(
            (len(labels), latents), key, alg="philox"
        )
        latents = training.latent_noise * drawn
        before = self.generator.get_weights()
        images = image_sources.draw(
            self.generator, latents, labels, self.classes
        )
        self.generator.set_weights(before)
        return np.round(255 * keras.ops.convert_to_numpy(images)).astype(
            "uint8"
        )

    def _check_recipe(self):
        if not self.recipe.generator:
            raise ValueError(
                "FastInversion needs a recipe that moves a generator, such as "
                'recipe="generator", and DeepInversion moves pixels. '
                f"Received: the recipe from {self.recipe.source!r}"
            )

    def fit(self, *args, checkpoint=None, **kwargs):
        """As `DeepInversion.fit`; the generator keeps what it learns.

        A run that fails or is interrupted leaves the generator as it was. The
        same call once more, by the same `checkpoint`, is the same run: the
        generator starts from where that did, not from where it has led.
        """
        found = self.generator.get_weights()
        before, after = self._start_of(checkpoint, found), found
        self.generator.set_weights(before)
        try:
            history = super().fit(*args, checkpoint=checkpoint, **kwargs)
            after = [
                old + self.recipe.generator.meta_rate * (new - old)
                for old, new in zip(
                    before, self.generator.get_weights(), strict=True
                )
            ]
        finally:
            self.generator.set_weights(after)
        self._last_run = checkpoint, before, after
        return history

    def _start_of(self, checkpoint, found):
        """The generator's weights that the run of a checkpoint began with."""
        path, before, after = self._last_run
        again = checkpoint is not None and str(path) == str(checkpoint)
        if again and pathlib.Path(checkpoint).exists():
            pairs = zip(found, after, strict=True)
            if all(np.array_equal(*pair) for pair in pairs):
                return before
        return found

    def _source(self, shape):
        training = self.recipe.generator
        return Generated(
            shape,
            self.variable_dtype,
            self.generator,
            self.classes,
            self.preprocessing.bounds(),
            latent_scale=training.latent_scale,
            latent_noise=training.latent_noise,
            latent_rate=training.latent_rate,
        )

    def settings(self) -> dict:
        """As those of `DeepInversion`, and what the generator is."""
        return {
            **super().settings(),
            "draws": self._draws,
            "generator": architecture(self.generator),
            "generator weights": self.generator.get_weights(),
        }


def _require_fitting(generator, image_shape, classes):
    inputs, outputs = generator.input_shape, generator.output_shape
    if tuple(outputs[1:]) != image_shape or not inputs[-1] > classes:
        raise ValueError(
            "Expected a generator from (batch, latents + "
            f"{classes}) to (batch, {', '.join(map(str, image_shape))}). "
            f"Received: from {inputs} to {outputs}"
        )


def _cannot_draw(received, latent_scale):
    return ValueError(
        "Only a generator that learned with new latents every step can draw "
        'images: take recipe="distillation", or one with latent_scale=0. '
        f"Received: {received}, latent_scale={latent_scale:g}"
    )
