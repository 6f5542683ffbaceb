"""A narrower network that starts with the best channels of another."""

import keras

from tf_deepinversion.core.checks import is_within
from tf_deepinversion.core.checks import require_finite_weights
from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.datasets.streams import stream_for
from tf_deepinversion.networks.preprocessing import Preprocessing
from tf_deepinversion.pruning.channels._shrink import shrink
from tf_deepinversion.pruning.channels.criteria import require_criterion
from tf_deepinversion.pruning.channels.criteria import scores_of
from tf_deepinversion.pruning.channels.graph import ChannelGraph
from tf_deepinversion.pruning.channels.selection import most_important


def narrow(
    model,
    images,
    share=0.5,
    *,
    criterion="fisher",
    ranking_batches=30,
    batch_size=128,
    preprocessing=None,
    seed=0,
) -> keras.Model:
    """Copies a classifier with a share of the channels of each of its groups.

    Layers whose channels are added up form a group, see `ChannelGraph`. Each
    group keeps its most important channels with their weights, so that the copy
    is a narrower member of the model's family: `share=0.5` halves the width of
    a ResNet. The copy starts far better than from random weights; train it
    with `distill` or `recover`.

    Args:
        model: A functional or sequential `keras.Model` classifier with a fixed
            image size.
        images: Synthesized, real or noise images of any kind, see
            `datasets.as_stream`, which rank the channels. Their labels are not
            used.
        share: Float in (0, 1), the share of the channels that each group keeps,
            rounded to the nearest number, at least one channel, and at least
            all channels of infinite importance. Defaults to 0.5.
        criterion: As for `prune`. Defaults to `"fisher"`.
        ranking_batches: Int, number of batches that rank the channels. Defaults
            to 30.
        batch_size: Int, number of images of a batch. Defaults to 128.
        preprocessing: The model's `Preprocessing`, or None if the model is
            known by its name. Defaults to None.
        seed: Int in [0, 2**31), of the random directions of the criterion.
            Defaults to 0.

    Returns:
        A plain functional `keras.Model` with the same preprocessing, not
        compiled.

    Raises:
        TypeError: if the model is subclassed, or as for `as_stream`.
        ValueError: if an argument is out of range, or as for `shrink`.

    Reference:
        - Xu et al., Initializing Models with Larger Ones, arXiv:2311.18823

    Example:
        >>> half = di.pruning.narrow(teacher, (images, labels), 0.5)
        >>> [x.filters for x in half.layers if hasattr(x, "filters")]
        [2]
    """
    if not is_within(share, "(0, 1)"):
        raise ValueError(
            "`share` is the share of the channels that stay, between 0 and 1: "
            f"0.5 halves the width. Received: share={share}"
        )
    require_criterion(criterion)
    require_whole(ranking_batches=ranking_batches, batch_size=batch_size)
    graph = ChannelGraph(model)
    graph.check_size()
    graph.check_channels()
    require_finite_weights(model)
    importance = scores_of(
        graph,
        criterion,
        stream_for(model, images, batch_size, seed)(0).take(ranking_batches),
        seed,
        model,
        Preprocessing.of(model, preprocessing),
        temperature=4.0,
    )
    return shrink(model, most_important(graph, importance, share))
