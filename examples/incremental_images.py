"""Makes images of old classes for `incremental.py`."""

import json
import typing

import keras

import tf_deepinversion as di
from tf_deepinversion.inversion import make_synthesizer


class Images(typing.NamedTuple):
    """The kinds and numbers of images, and how to make them.

    Attributes:
        kinds: List of `"generator"` (recipe `replay`) and `"pixels"` (recipe
            `replay_pixels`).
        batches: Int, number of batches of each kind for each task.
        images: Int, number of images in a batch.
        steps: Int, steps for a batch; None for 30 steps of a generator and 150
            steps of pixels.
        first_steps: Int, steps for a generator's first batch.
        draws: Int, number of batches that a generator draws after each batch.
        class_weight: Float, weight of the cross-entropy.
        mirrored: Bool, whether a mirrored image keeps its class.
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
        """Returns the recipe of a kind, with its weight and transforms."""
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
        """Describes these images, to tell one run from another."""
        recipes = map(self.recipe, self.kinds)
        configs = [keras.saving.serialize_keras_object(r) for r in recipes]
        return json.dumps([list(self), configs])

    def make(self, model, classes, folder, seed, targets=None) -> di.Pool:
        """Makes a pool; `learn_tasks` takes this method as `synthesize`."""
        pools = [
            self._of_kind(
                kind,
                model,
                classes,
                folder and (folder / kind if len(self.kinds) > 1 else folder),
                seed,
                targets,
            )
            for kind in self.kinds
        ]
        if len(pools) == 1:
            return pools[0]
        return di.datasets.join_pools(pools)

    def _of_kind(self, kind, model, classes, folder, seed, targets):
        drawn = kind == "generator"
        steps = self.steps or (30 if drawn else 150)
        return di.synthesize(
            make_synthesizer(
                model,
                recipe=self.recipe(kind),
                targets=targets,
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
