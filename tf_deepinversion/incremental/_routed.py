"""One model chooses the task, another the class within the task."""

import keras
import numpy as np
from keras import ops

from tf_deepinversion.core.checks import require_whole
from tf_deepinversion.incremental.head import Head
from tf_deepinversion.networks.copies import copy_of
from tf_deepinversion.networks.preprocessing import Preprocessing

# Far below the logarithm of any probability of a class within its task.
ELSEWHERE = -1000.0


def routed(network, router, tasks, preprocessing=None) -> keras.Model:
    """Builds a classifier of two: a router's task, and a network's class.

    The task is that of the router's largest score. The class is that of the
    network's largest logit among the classes of this task. The logits are the
    logarithms of the network's probabilities among these classes, and less by
    1000 for the classes of other tasks.

    A network that learned tasks one after another still tells the classes of
    one task apart, but confuses tasks. An `AnalyticHead` forgets no task.

    Args:
        network: A `keras.Model` classifier, see `Head`.
        router: A `keras.Model` from pixels in [0, 255] to scores of the same
            classes, such as `AnalyticHead.classifier()`.
        tasks: List of ints, number of classes of each task, in the order of the
            labels.
        preprocessing: The network's `Preprocessing`, or None if the network is
            known by its name. Defaults to None.

    Returns:
        A plain `keras.Model` from pixels in [0, 255] to logits, of copies.

    Raises:
        TypeError: as for `Head`.
        ValueError: as for `Head`, or if images or classes of the two models and
            of `tasks` do not fit together.

    Example:
        >>> features = di.incremental.random_features((8, 8, 1), filters=2)
        >>> head = di.incremental.AnalyticHead(features)
        >>> head.update(images, labels)
        >>> model = di.incremental.routed(teacher, head.classifier(), [2, 1])
        >>> model.output_shape
        (None, 3)
    """
    require_whole(**{f"tasks[{i}]": size for i, size in enumerate(tasks)})
    if len(tasks) < 2:
        raise ValueError(
            "With a single task there is nothing to choose from: use the "
            f"network alone. Received: tasks={list(tasks)}"
        )
    _check(network, router, tasks)
    preprocessing = Preprocessing.of(network, preprocessing)
    pixels = keras.Input(network.input_shape[1:], name="pixels")
    # Of probabilities, the small ones of another task may be rounded to 0.
    router, network = copy_of(router), Head(network).logits_model()
    router.name, network.name = "router", "network"
    scores = router(pixels, training=False)
    logits = network(preprocessing.fed(pixels), training=False)
    logits = ops.cast(logits, "float32")
    ends = np.cumsum(tasks)[:-1].tolist()
    best = ops.stack(
        [ops.max(part, -1) for part in ops.split(scores, ends, -1)], -1
    )
    chosen = ops.one_hot(ops.argmax(best, -1), len(tasks))
    within = [
        ops.log_softmax(part, -1) + ELSEWHERE * (1 - chosen[:, i : i + 1])
        for i, part in enumerate(ops.split(logits, ends, -1))
    ]
    return keras.Model(pixels, ops.concatenate(within, -1), name="routed")


def _check(network, router, tasks):
    shapes = [tuple(model.input_shape[1:]) for model in (network, router)]
    classes = [model.output_shape[-1] for model in (network, router)]
    if shapes[0] != shapes[1] or classes != [sum(tasks)] * 2:
        raise ValueError(
            "The network and the router must take the same images and have the "
            f"classes of all tasks. Received: images {shapes}, classes "
            f"{classes} and tasks={list(tasks)}"
        )
