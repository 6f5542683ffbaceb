"""The work of a batch of images, to predict when a job ends."""

from tf_deepinversion.networks.forward_work import forward_work

# A gradient of the inputs takes about the work of the forward pass; one of the
# weights takes as much again.
INPUT_GRADIENT, ALL_GRADIENTS = 2, 3


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
    each = [
        forward_work(network.model, network.image_shape)
        for network in networks.classifiers
    ]
    drawn = 0
    if generator is not None:
        drawn = forward_work(generator, generator.input_shape[1:])
    if None in (*each, drawn):
        return None
    work = INPUT_GRADIENT * sum(each) + ALL_GRADIENTS * drawn
    counts = recipe.steps_of_stages(steps)
    # The work of a convolution grows with the number of positions.
    sizes = [stage.scale**2 for stage in recipe.stages]
    positions = sum(n * size for n, size in zip(counts, sizes, strict=True))
    return images * work * positions
