"""Measures of accuracy over tasks, and of forgetting."""

import numpy as np


def check_matrix(matrix) -> np.ndarray:
    """Returns `matrix` as float64 `(tasks, tasks)`, lower triangle in [0, 1].

    Raises:
        ValueError: if shape or values do not fit.
    """
    matrix = np.asarray(matrix, "float64")
    if matrix.ndim != 2 or len(set(matrix.shape)) != 1 or not matrix.size:
        raise ValueError(
            "Expected a square matrix with one row for each learned task. "
            f"Received: shape {matrix.shape}"
        )
    # Entries above the diagonal are tasks that are not learned yet.
    known = matrix[np.tril_indices(len(matrix))]
    if not ((known >= 0) & (known <= 1)).all():
        raise ValueError(
            "Accuracies must lie in [0, 1]: row t holds the accuracies on "
            "tasks 0 to t after learning task t. "
            f"Received: {matrix.tolist()}"
        )
    return matrix


def seen_accuracies(matrix) -> np.ndarray:
    """Computes, after each task, the mean accuracy over the tasks so far.

    Args:
        matrix: Float array `(tasks, tasks)`; entry [t, i] is the accuracy on
            task i after task t. Entries above the diagonal are ignored.

    Returns:
        A float array `(tasks,)`.

    Example:
        >>> di.incremental.seen_accuracies([[0.9, 0], [0.5, 0.8]]).tolist()
        [0.9, 0.65]
    """
    matrix = check_matrix(matrix)
    return np.array([row[: t + 1].mean() for t, row in enumerate(matrix)])


def average_incremental_accuracy(matrix) -> float:
    """Computes the mean of `seen_accuracies`, including the first task.

    Args:
        matrix: As for `seen_accuracies`.

    Returns:
        A float.

    Example:
        >>> matrix = [[0.9, 0], [0.5, 0.8]]
        >>> round(di.incremental.average_incremental_accuracy(matrix), 3)
        0.775

    Reference:
        - Rebuffi et al., iCaRL, arXiv:1611.07725
    """
    return float(seen_accuracies(matrix).mean())


def forgetting(matrix) -> float:
    """Computes the mean drop of old tasks from their best accuracy.

    For an old task i the drop is the maximum over t < T of [t, i], minus
    [T, i], where T is the last task. The result is 0 with a single task, and
    negative if old tasks improved.

    Args:
        matrix: As for `seen_accuracies`.

    Returns:
        A float.

    Example:
        >>> round(di.incremental.forgetting([[0.9, 0], [0.5, 0.8]]), 3)
        0.4

    Reference:
        - Chaudhry et al., Riemannian Walk, arXiv:1801.10112, section 3
    """
    matrix = check_matrix(matrix)
    last = len(matrix) - 1
    # The best accuracy before the last task, minus the last accuracy.
    falls = [matrix[i:last, i].max() - matrix[last, i] for i in range(last)]
    return float(np.mean(falls)) if falls else 0.0
