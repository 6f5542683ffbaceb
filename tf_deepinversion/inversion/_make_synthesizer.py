"""Creates the synthesizer for a recipe."""

from tf_deepinversion.inversion import recipes
from tf_deepinversion.inversion.deep_inversion import DeepInversion
from tf_deepinversion.inversion.fast_inversion import FastInversion


def make_synthesizer(
    teacher, preprocessing=None, *, recipe="generator", draws=0, **kwargs
) -> DeepInversion:
    """Creates a synthesizer with any recipe.

    Args:
        teacher: As for `DeepInversion`.
        preprocessing: As for `DeepInversion`. Defaults to None.
        recipe: A name in `RECIPES`, or a `Recipe`. Defaults to `"generator"`.
        draws: Int, as for `FastInversion`. Defaults to 0.
        **kwargs: As for `DeepInversion`.

    Returns:
        A `FastInversion` if the recipe trains a generator, otherwise a
        `DeepInversion`.

    Raises:
        ValueError: as for both classes, or if `draws` is positive and the
            recipe optimizes pixels.

    Example:
        >>> preprocessing = di.Preprocessing.of(teacher)
        >>> synthesizer = di.inversion.make_synthesizer(
        ...     teacher, preprocessing, recipe="cifar10_paper"
        ... )
        >>> type(synthesizer).__name__
        'DeepInversion'
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
