"""A head of sums for `incremental.py`: as a method, and as a router."""

import time

import keras

import tf_deepinversion as di
from tf_deepinversion import incremental
from tf_deepinversion.metrics import accuracy


def statistics(case) -> tuple:
    """Returns mean and deviation of the first task's pixels, by channel."""
    images, _ = case.train[0]
    return tuple(
        part.round(2).tolist()
        for part in (images.mean((0, 1, 2)), images.std((0, 1, 2)))
    )


def fed_pixels(case) -> di.Preprocessing:
    """Returns the preprocessing of networks that take pixels."""
    return di.Preprocessing(*statistics(case))


def random_features(case, filters, seed) -> keras.Model:
    """Returns the features of random filters, for the pixels of a case."""
    mean, std = statistics(case)
    return incremental.random_features(
        case.train[0][0].shape[1:],
        filters=filters,
        mean=mean,
        std=std,
        seed=seed,
    )


def learn(case, features) -> tuple:
    """Learns all tasks by an `AnalyticHead`.

    Args:
        case: A `Case`.
        features: A `keras.Model` from pixels to features.

    Returns:
        A pair: a `LearnedTasks`, and a list of the networks after each task.
    """
    head = incremental.AnalyticHead(features)
    networks, rows, seconds = [], [], []
    for task in case.train:
        begin = time.monotonic()
        head.update(*task)
        networks.append(head.classifier())
        seconds.append(time.monotonic() - begin)
        rows.append(_row(networks[-1], case, len(networks)))
    found = incremental.LearnedTasks.of(
        networks[-1], [], _ends(case), seconds, rows, head.kept_bytes
    )
    return found, networks


def route(case, learned, head, routers, base, folder):
    """Lets the head choose the task, and a method's networks the class.

    Args:
        case: A `Case`.
        learned: The `LearnedTasks` of the method.
        head: The `LearnedTasks` of `learn`.
        routers: The networks of `learn`.
        base: Path of the first network.
        folder: Path of the method's networks.

    Returns:
        A `LearnedTasks`.
    """
    paths = [base / "first.keras"]
    paths += [folder / f"task_{i}.keras" for i in range(1, len(routers))]
    ends, rows = _ends(case), learned.accuracies[:1]
    sizes = [end - start for start, end in zip([0, *ends], ends, strict=False)]
    # After the first task there is one task to choose from.
    for number in range(2, len(routers) + 1):
        network = incremental.routed(
            keras.models.load_model(paths[number - 1], compile=False),
            routers[number - 1],
            sizes[:number],
        )
        rows.append(_row(network, case, number))
    pairs = zip([0.0, *learned.seconds], head.seconds, strict=True)
    return incremental.LearnedTasks.of(
        network,
        learned.history,
        ends,
        [sum(pair) for pair in pairs],
        rows,
        learned.kept_bytes + head.kept_bytes,
    )


def _ends(case) -> list:
    """The number of known classes after each task."""
    return [int(labels.max()) + 1 for _, labels in case.train]


def _row(network, case, count) -> list:
    fed = fed_pixels(case)
    return [accuracy(network, *test, fed) for test in case.test[:count]]
