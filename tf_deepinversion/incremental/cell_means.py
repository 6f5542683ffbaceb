"""Means of maps over the cells of a grid."""

from keras import layers


def cell_means(maps, places, name=None):
    """Averages maps over each cell of a grid.

    Args:
        maps: Keras tensor `(batch, height, width, channels)` without open
            sizes.
        places: Int, cells along each axis, fewer for maps too small. Cells at
            the edge may be of fewer places of the maps.
        name: String or None, name of the pooling layer.

    Returns:
        A Keras tensor `(batch, cells * channels)`.
    """
    sizes = [-(-side // places) for side in maps.shape[1:3]]
    pooling = layers.AveragePooling2D(sizes, padding="same", name=name)
    return layers.Flatten()(pooling(maps))
