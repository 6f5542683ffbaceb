"""FastInversion: a generator that learns to draw images of a network."""

import pathlib

import keras
import numpy as np
import tensorflow as tf

from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.core.described import architecture
from tf_deepinversion.core.labels import check_labels
from tf_deepinversion.inversion import image_sources
from tf_deepinversion.inversion.batch_work import batch_work
from tf_deepinversion.inversion.deep_inversion import DeepInversion
from tf_deepinversion.inversion.image_sources import Generated
from tf_deepinversion.models.generator import Generator


class FastInversion(DeepInversion):
    """Synthesizes images with a generator: better images, soon in few steps.

    `FastInversion` works like `DeepInversion`, but its variables are a
    generator's weights and one latent per image, not pixels. The generator
    keeps what it learned from batch to batch, so later batches need few steps:
    call `fit` again with another `batch_index`.

    Args:
        teacher: As for `DeepInversion`.
        preprocessing: As for `DeepInversion`. Defaults to None.
        generator: A `keras.Model` from `(batch, latents + classes)` to images
            in [0, 1]. Defaults to a new `Generator`, which computes in the
            dtype of the images, float32 or float64.
        draws: Int, number of images per label that `make` draws anew after the
            generator learned from a batch; they replace the batch. Needs a
            recipe with `latent_scale` 0. Defaults to 0, the batch itself.
        recipe: A name in `RECIPES`, or a `Recipe`, that trains a generator.
            Defaults to `"generator"`.
        seed: Int in [0, 2**31). Together with `batch_index` (see `fit`) it
            determines all random numbers, and the first weights of a new
            generator. Defaults to 0.
        **kwargs: Further arguments of `DeepInversion`.

    Raises:
        ValueError: as for `DeepInversion`, and if the generator does not fit,
            or `draws` is used with learned latents.

    Example:
        ```python
        model = di.FastInversion(di.load_pretrained("fashion_mnist_resnet20"))
        model.fit(di.balanced_labels(10, 100), steps=500)
        model.fit(di.balanced_labels(10, 100), steps=50, batch_index=1)
        ```

    Reference:
        - Fang et al., Up to 100x Faster Data-free Knowledge Distillation,
          arXiv:2112.06253, for latents and the meta-learned generator. Classes
          as input, the recipe's numbers and the generator are this library's.
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
                self.image_shape,
                self.classes,
                width=training.width,
                seed=seed,
                dtype=self.variable_dtype,
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

    def work(self, images, steps=None):
        return batch_work(
            self.networks, self.recipe, images, steps, self.generator
        )

    def _made(self, batch_index):
        if not self._draws:
            return super()._made(batch_index)
        # Each drawn batch has its own number, so no latents repeat.
        first = batch_index * self._draws
        return np.concatenate(
            [self.draw(self.labels, first + i) for i in range(self._draws)]
        )

    def draw(self, labels, batch_index=0):
        """Draws images from new latents with the current generator.

        Args:
            labels: Int array `(n,)` in [0, classes). The generator gets all
                labels as one batch, as in `fit`.
            batch_index: Int; another number gives other images. Defaults to 0.

        Returns:
            uint8 array `(n, height, width, channels)`.

        Raises:
            ValueError: if a label is out of range, or the recipe learns
                latents: new latents would then give bad images.
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
        # Drawing in training mode changes the moving statistics: restore them.
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
                "FastInversion needs a recipe that trains a generator, such as "
                'recipe="generator"; DeepInversion optimizes pixels. '
                f"Received: the recipe from {self.recipe.source!r}"
            )

    def fit(self, *args, checkpoint=None, **kwargs):
        """Works like `DeepInversion.fit`; the generator keeps what it learns.

        A failed or interrupted run leaves the generator unchanged. Repeating
        the same call with the same `checkpoint` repeats the same run, from the
        generator's weights at its start.

        Args:
            *args: Arguments of `DeepInversion.fit`.
            checkpoint: As for `DeepInversion.fit`. Defaults to None.
            **kwargs: Further arguments of `DeepInversion.fit`.

        Returns:
            A `keras.callbacks.History`, as `DeepInversion.fit` does.

        Raises:
            ValueError: as for `DeepInversion.fit`.
            FloatingPointError: as for `DeepInversion.fit`.
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
            # After an error, `after` is still `found`.
            self.generator.set_weights(after)
        self._last_run = checkpoint, before, after
        return history

    def _start_of(self, checkpoint, found):
        """Returns the generator's weights at the start of a saved run."""
        path, before, after = self._last_run
        again = checkpoint is not None and str(path) == str(checkpoint)
        if again and pathlib.Path(checkpoint).exists():
            # The generator is as the last run left it: the call is repeated.
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
        """Returns the settings of `DeepInversion` and of the generator."""
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
