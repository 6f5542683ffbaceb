"""The work of a batch of images, to predict when a job ends."""

from tf_deepinversion.networks.forward_work import PASSES
from tf_deepinversion.networks.forward_work import forward_work


def batch_work(networks, recipe, images, steps, generator=None) -> float | None:
    """Estimates the work of a batch.

    Args:
        networks: `Networks`, which read the images.
        recipe: A `Recipe`.
        images: Int, number of images.
        steps: As for `Recipe.steps_of_stages`.
        generator: The `keras.Model` that draws the images, or None.

    Returns:
        A float, in multiplications; None if it is unknown.
    """
    read = [(x.model, x.image_shape) for x in networks.classifiers]
    if generator is not None:
        read.append((generator, generator.input_shape[1:]))
    each = [forward_work(*pair) for pair in read]
    if None in each:
        return None
    counts = recipe.steps_of_stages(steps)
    # The work of a convolution grows with the number of positions.
    sizes = [stage.scale**2 for stage in recipe.stages]
    positions = sum(n * size for n, size in zip(counts, sizes, strict=True))
    return images * PASSES * sum(each) * positions
