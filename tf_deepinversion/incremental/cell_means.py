"""Means of maps over the cells of a grid."""

from keras import layers


def cell_means(maps, places, name=None):
    """Averages maps over each cell of a grid.

    Args:
        maps: Keras tensor `(batch, height, width, channels)` without open
            sizes.
        places: Int, the most cells along each axis. A cell has ceil(side /
            places) places of the maps, at the edge fewer: 14 makes 4 cells of
            at most 4 places, and 5 makes 3 of at most 2.
        name: String or None, name of the pooling layer.

    Returns:
        A Keras tensor `(batch, cells * channels)`.
    """
    sizes = [-(-side // places) for side in maps.shape[1:3]]
    pooling = layers.AveragePooling2D(sizes, padding="same", name=name)
    return layers.Flatten()(pooling(maps))
