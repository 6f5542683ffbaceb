"""The synthesizer that a recipe is for."""

from tf_deepinversion.inversion import recipes
from tf_deepinversion.inversion.deep_inversion import DeepInversion
from tf_deepinversion.inversion.fast_inversion import FastInversion


def make_synthesizer(
    teacher, preprocessing=None, *, recipe="generator", draws=0, **kwargs
) -> DeepInversion:
    """A synthesizer by any recipe.

    Args:
        teacher: As for `DeepInversion`.
        preprocessing: As for `DeepInversion`.
        recipe: A name in `RECIPES`, or a `Recipe`.
        draws: Int, as for `FastInversion`.
        **kwargs: As for `DeepInversion`.

    Returns:
        A `FastInversion` if the recipe moves a generator, or else a
        `DeepInversion`.

    Raises:
        ValueError: as for both, and if a recipe of pixels is asked to draw.
    """
    recipe = recipes.find(recipe)
    if recipe.generator:
        return FastInversion(
            teacher, preprocessing, recipe=recipe, draws=draws, **kwargs
        )
    if draws:
        raise ValueError(
            "Only a generator draws images: leave `draws` out, or take a "
            f"recipe of a generator. Received: draws={draws}, the recipe from "
            f"{recipe.source!r}"
        )
    return DeepInversion(teacher, preprocessing, recipe=recipe, **kwargs)
