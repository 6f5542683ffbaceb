"""A shorter network: another network without some of its residual blocks."""

import keras
import numpy as np

from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.core.keras_internals import nodes_of
from tf_deepinversion.datasets.streams import stream_for
from tf_deepinversion.networks import reader
from tf_deepinversion.networks.copies import copy_of
from tf_deepinversion.networks.preprocessing import Preprocessing
from tf_deepinversion.objective.softened_kl import SoftenedKL
from tf_deepinversion.pruning.channels.functional import functional


def shorten(
    model,
    images,
    blocks=1,
    *,
    ranking_batches=4,
    batch_size=128,
    preprocessing=None,
    temperature=4.0,
    seed=0,
) -> keras.Model:
    """Copies a classifier without its least important residual blocks.

    A residual block computes x + f(x). Without f, the block passes x on, and
    the layers of f are gone. The function leaves out the block without which
    the network's softened outputs change least, then the next block, and so on.
    The copy starts far better than from random weights; train it with `distill`
    or `recover`. `narrow` makes layers narrower; the two combine.

    Args:
        model: A functional or sequential `keras.Model` classifier. It stays
            unchanged.
        images: Synthesized, real or noise images of any kind, see
            `datasets.as_stream`, on which the outputs are compared. Their
            labels are not used.
        blocks: Int, number of blocks to leave out. Blocks that change the shape
            of x stay. Defaults to 1.
        ranking_batches: Int, number of batches of images. Defaults to 4.
        batch_size: Int, number of images of a batch. Defaults to 128.
        preprocessing: The model's `Preprocessing`, or None if the model is
            known by its name. Defaults to None.
        temperature: Float, see `SoftenedKL`. Defaults to 4.
        seed: Int in [0, 2**31), of the order of the images. Defaults to 0.

    Returns:
        A plain `keras.Model` with the same names of layers, not compiled.

    Raises:
        TypeError: if the model is subclassed, or as for `as_stream`.
        ValueError: if an argument is out of range, or the model has fewer such
            blocks.

    References:
        - Veit et al., Residual Networks Behave Like Ensembles of Relatively
          Shallow Networks, arXiv:1605.06431

    Example:
        >>> deep = di.models.ResNet14((8, 8, 1), classes=3, width=2)
        >>> deep = di.pruning.shorten(deep, (images, labels), blocks=1)
        >>> len([x for x in deep.layers if isinstance(x, keras.layers.Add)])
        5
    """
    require_whole(
        blocks=blocks, ranking_batches=ranking_batches, batch_size=batch_size
    )
    sums = residual_sums(model)
    if blocks > len(sums):
        raise ValueError(
            f"{model.name!r} has {len(sums)} residual blocks x + f(x) that "
            f"keep the shape of x. Received: blocks={blocks}"
        )
    preprocessing = Preprocessing.of(model, preprocessing)
    stream = stream_for(model, images, batch_size, seed)
    batches = stream(0).take(ranking_batches)
    pixels = np.concatenate([batch[0].numpy() for batch in batches])
    wanted = reader.read_logits(model, pixels, preprocessing)
    left, shorter = {}, None
    for _ in range(blocks):
        tried = {}
        for add in _called(model, left) & (sums.keys() - left.keys()):
            network = _without(model, {**left, add: sums[add]})
            found = reader.read_logits(network, pixels, preprocessing)
            loss = float(SoftenedKL(temperature)(wanted, found))
            tried[add] = loss, network
        if not tried:
            raise ValueError(
                f"{model.name!r} is without residual blocks after "
                f"{len(left)}, because some contain others. "
                f"Received: blocks={blocks}"
            )
        best = min(tried, key=lambda add: (tried[add][0], add.name))
        left[best], shorter = sums[best], tried[best][1]
    return shorter


def residual_sums(model) -> dict:
    """Finds the sums x + f(x) of a network that keep the shape of x.

    Args:
        model: A functional or sequential `keras.Model`. Nested models are not
            searched.

    Returns:
        A dict from each adding layer or operation to the place of x among its
        two summands.

    Raises:
        TypeError: if the model is subclassed.
    """
    # For each tensor, by its id: the ids of the tensors that it depends on.
    behind, sums, calls = {}, {}, {}
    for node in nodes_of(functional(model)):
        given = node.arguments.keras_tensors
        ids = {id(tensor) for tensor in given}
        depends = ids.union(*(behind.get(i, ()) for i in ids))
        for tensor in node.outputs:
            behind[id(tensor)] = depends
        operation = node.operation
        calls[operation] = calls.get(operation, 0) + 1
        if type(operation).__name__ != "Add" or len(given) != 2:
            continue
        if given[0].shape != given[1].shape:
            continue
        for place, (x, f) in enumerate([given, given[::-1]]):
            if id(x) in behind.get(id(f), ()):
                sums[operation] = place
    # What is called twice would be left out in both places.
    return {add: place for add, place in sums.items() if calls[add] == 1}


def _called(model, sums) -> set:
    """Finds what a network still calls in which sums x + f(x) are x."""
    model = functional(model)
    read, called = {id(tensor) for tensor in model.outputs}, set()
    for node in reversed(nodes_of(model)):
        if read.isdisjoint(map(id, node.outputs)):
            continue
        called.add(node.operation)
        given = node.arguments.keras_tensors
        if node.operation in sums:
            given = [given[sums[node.operation]]]
        read |= {id(tensor) for tensor in given}
    return called


def _without(model, sums):
    """Copies a network in which sums x + f(x) are x."""

    def changed(layer):
        if layer not in sums:
            return None
        place = sums[layer]
        # A layer gets a list of summands, an operation gets two arguments.
        return lambda *xs, **_: keras.tree.flatten(xs)[place]

    copy = copy_of(functional(model), changed)
    # The layers of f no longer lead to the outputs.
    return keras.Model(copy.input, copy.output, name=model.name)
