"""Several pools as one, with the labels that each image was requested for."""

from tf_deepinversion.datasets.pool import Pool


def join_pools(pools) -> Pool:
    """Copies the images of several pools to one pool in memory.

    Args:
        pools: List of pools of images of one shape.

    Returns:
        A `Pool`, with the images of the first pool first.

    Raises:
        ValueError: if there is no pool.

    Example:
        >>> pool = di.Pool.of(np.zeros((3, 2, 2, 1), "uint8"), [0, 4, 1])
        >>> len(di.datasets.join_pools([pool, pool]))
        6
    """
    if not len(pools):
        raise ValueError("Expected one pool or more. Received: pools=[]")
    # A pool of arrays knows no class above its largest label.
    most = max(pool.classes for pool in pools)
    size = max(1, sum(map(len, pools)))
    made = Pool(size, pools[0].images.shape[1:], most)
    for pool in pools:
        if len(pool):
            made.add(pool.images, pool.labels, requested=pool.requested)
    return made
