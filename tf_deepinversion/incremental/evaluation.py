"""How much of old classes is left when new ones are learned."""

import numpy as np


def check_matrix(matrix) -> np.ndarray:
    """`matrix` as float64 `(tasks, tasks)`, in the lower triangle of [0, 1].

    Raises:
        ValueError: if it is no such matrix.
    """
    matrix = np.asarray(matrix, "float64")
    if matrix.ndim != 2 or len(set(matrix.shape)) != 1 or not matrix.size:
        raise ValueError(
            "Expected a square matrix, a row for each task that was learned. "
            f"Received: shape {matrix.shape}"
        )
    known = matrix[np.tril_indices(len(matrix))]
    if not ((known >= 0) & (known <= 1)).all():
        raise ValueError(
            "Accuracies lie in [0, 1]: row t has those of tasks 0 to t after "
            f"task t was learned. Received: {matrix.tolist()}"
        )
    return matrix


def seen_accuracies(matrix) -> np.ndarray:
    """After each task, the mean accuracy of the tasks seen until then.

    Args:
        matrix: Float array `(tasks, tasks)`; entry [t, i] is the accuracy on
            task i after task t; above the diagonal it is not looked at.

    Returns:
        A float array `(tasks,)`.

    >>> seen_accuracies([[0.9, 0], [0.5, 0.8]]).tolist()
    [0.9, 0.65]
    """
    matrix = check_matrix(matrix)
    return np.array([row[: t + 1].mean() for t, row in enumerate(matrix)])


def average_incremental_accuracy(matrix) -> float:
    """The mean of `seen_accuracies`, that of the first task included.

    Args:
        matrix: As for `seen_accuracies`.

    Reference:
        - Rebuffi et al., iCaRL, arXiv:1611.07725

    >>> round(average_incremental_accuracy([[0.9, 0], [0.5, 0.8]]), 3)
    0.775
    """
    return float(seen_accuracies(matrix).mean())


def forgetting(matrix) -> float:
    """By how much old tasks fell from their best, the mean over old tasks.

    For an old task i, max over t < T of [t, i], minus [T, i], where T is the
    last task. 0 where there is one task alone; negative if old tasks gained.

    Args:
        matrix: As for `seen_accuracies`.

    Reference:
        - Chaudhry et al., Riemannian Walk, arXiv:1801.10112, section 3

    >>> round(forgetting([[0.9, 0], [0.5, 0.8]]), 3)
    0.4
    """
    matrix = check_matrix(matrix)
    last = len(matrix) - 1
    falls = [matrix[i:last, i].max() - matrix[last, i] for i in range(last)]
    return float(np.mean(falls)) if falls else 0.0
