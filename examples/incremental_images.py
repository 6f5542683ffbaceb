"""Images of old classes for `incremental.py`: drawn, of pixels, or both."""

import json
import typing

import keras
import numpy as np

import tf_deepinversion as di
from tf_deepinversion.inversion import make_synthesizer


class Images(typing.NamedTuple):
    """How many images are made, and how.

    Attributes:
        kinds: List of `"generator"` (recipe `replay`) and `"pixels"` (recipe
            `replay_pixels`).
        batches: Int, for each task, of each kind.
        images: Int, a batch.
        steps: Int, a batch; None for 30 of a generator, and of pixels 150.
        first_steps: Int, of a generator's first batch.
        draws: Int, batches that a generator draws after each batch.
        class_weight: Float, of the cross-entropy.
        mirrored: Bool, whether an image mirrored is one of its class.
    """

    kinds: list
    batches: int
    images: int
    steps: int | None
    first_steps: int
    draws: int
    class_weight: float
    mirrored: bool

    def recipe(self, kind):
        """The recipe of a kind, with this weight and these transforms."""
        recipe = di.RECIPES[
            "replay" if kind == "generator" else "replay_pixels"
        ]
        _, *others = recipe.loss
        loss = [di.CrossEntropy(self.class_weight), *others]
        (stage,) = recipe.stages
        kept = [
            transform
            for transform in stage.transforms
            if self.mirrored or not isinstance(transform, di.HorizontalFlip)
        ]
        return recipe.replace(loss=loss, transforms=kept)

    def run(self) -> str:
        """What tells these images from others."""
        recipes = map(self.recipe, self.kinds)
        configs = [keras.saving.serialize_keras_object(r) for r in recipes]
        return json.dumps([list(self), configs])

    def make(self, model, classes, folder, seed) -> di.Pool:
        """A pool, as `learn_tasks(synthesize=)` wants one."""
        pools = [
            self._of_kind(
                kind,
                model,
                classes,
                folder and (folder / kind if len(self.kinds) > 1 else folder),
                seed,
            )
            for kind in self.kinds
        ]
        if len(pools) == 1:
            return pools[0]
        images = np.concatenate([pool.images for pool in pools])
        labels = np.concatenate([pool.labels for pool in pools])
        return di.Pool.of(images, labels, pools[0].classes)

    def _of_kind(self, kind, model, classes, folder, seed):
        drawn = kind == "generator"
        steps = self.steps or (30 if drawn else 150)
        return di.synthesize(
            make_synthesizer(
                model,
                recipe=self.recipe(kind),
                seed=seed,
                draws=self.draws if drawn else 0,
            ),
            classes,
            folder=folder,
            batches=self.batches,
            images=self.images,
            steps=steps,
            first_steps=self.first_steps if drawn else steps,
        )
