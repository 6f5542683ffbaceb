"""How an inversion trains a generator of its images."""

import dataclasses

import keras

from tf_deepinversion.core.checks import is_within
from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.inversion.settings import Settings


@keras.saving.register_keras_serializable("tf_deepinversion")
@dataclasses.dataclass(frozen=True, eq=False)
class GeneratorTraining(Settings):
    """The settings of a generator and of its training.

    Args:
        latent_scale: Float, not negative, the initial standard deviation of the
            latents. A small value makes the images of a class alike. With 0 no
            latents are learned: each step draws new latents, and
            `FastInversion.draw` makes any number of images. Defaults to 0.5.
        latent_noise: Float, positive, the standard deviation of the noise that
            each step adds to the latents. The generator must then draw good
            images around each latent and cannot memorize collages. Defaults to
            0.3.
        latent_rate: Float, positive, the learning rate of the latents divided
            by the learning rate of the generator's weights. Defaults to 1.
        meta_rate: Float in (0, 1]. After a batch, the generator's weights move
            by this share from their values before the batch to their values
            after it. Defaults to 1.
        width: Int, width of the `Generator`. Defaults to 64.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> training = di.GeneratorTraining(latent_scale=0.0, width=8)
        >>> recipe = di.RECIPES["generator"].replace(generator=training)
        >>> recipe.generator.width
        8

    References:
        - Fang et al., Up to 100x Faster Data-free Knowledge Distillation,
          arXiv:2112.06253, for learned latents
        - Nichol et al., On First-Order Meta-Learning Algorithms,
          arXiv:1803.02999, for `meta_rate`
    """

    latent_scale: float = 0.5
    latent_noise: float = 0.3
    latent_rate: float = 1.0
    meta_rate: float = 1.0
    width: int = 64

    def __post_init__(self):
        require_whole(width=self.width)
        if not is_within(self.latent_scale, "[0, inf)"):
            raise ValueError(
                "`latent_scale` must be 0 or more. "
                f"Received: latent_scale={self.latent_scale}"
            )
        for name, interval in (
            ("latent_noise", "(0, inf)"),
            ("latent_rate", "(0, inf)"),
            ("meta_rate", "(0, 1]"),
        ):
            if not is_within(getattr(self, name), interval):
                raise ValueError(
                    f"`{name}` must lie in {interval}. "
                    f"Received: {name}={getattr(self, name)}"
                )
