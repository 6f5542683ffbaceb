"""How much of old classes is left when new ones are learnt."""

import numpy as np
from PIL import Image
from PIL import ImageDraw

COLOURS = ("#1b6ca8", "#c2571a", "#2e7d32", "#7b1fa2", "#555555", "#b71c1c")
WIDTH, HEIGHT, LEFT, TOP, RIGHT = 420, 220, 48, 12, 120


def check_matrix(matrix) -> np.ndarray:
    """`matrix` as float64 `(tasks, tasks)`, in the lower triangle of [0, 1].

    Raises:
        ValueError: if it is no such matrix.
    """
    matrix = np.asarray(matrix, "float64")
    if matrix.ndim != 2 or len(set(matrix.shape)) != 1 or not matrix.size:
        raise ValueError(
            "Expected a square matrix, a row for each task that was learnt. "
            f"Received: shape {matrix.shape}"
        )
    known = matrix[np.tril_indices(len(matrix))]
    if not ((known >= 0) & (known <= 1)).all():
        raise ValueError(
            "Accuracies lie in [0, 1]: row t has those of tasks 0 to t after "
            f"task t was learnt. Received: {matrix.tolist()}"
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


def accuracy_picture(matrix, names=None) -> np.ndarray:
    """Lines of the accuracy of each task, and in black of all seen so far.

    Args:
        matrix: As for `seen_accuracies`.
        names: List of the names of the tasks, or None.

    Returns:
        A uint8 array `(height, width, 3)`.
    """
    matrix = check_matrix(matrix)
    tasks = len(matrix)
    names = names or [f"task {i + 1}" for i in range(tasks)]
    size = (LEFT + WIDTH + RIGHT, TOP + HEIGHT + 2 * TOP)
    image = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(image)

    def place(t, value):
        return LEFT + WIDTH * t / max(1, tasks - 1), TOP + HEIGHT * (1 - value)

    for tenths in range(0, 11, 2):
        x, y = place(0, tenths / 10)
        draw.line([x, y, x + WIDTH, y], fill="#dddddd")
        draw.text((8, y - 6), f"{10 * tenths} %", fill="black")
    for t in range(tasks):
        draw.text((place(t, 0)[0] - 3, TOP + HEIGHT + 4), str(t + 1), "black")
    lines = {name: matrix[i:, i] for i, name in enumerate(names)}
    lines["all seen"] = seen_accuracies(matrix)
    for i, (name, values) in enumerate(lines.items()):
        last = i == len(lines) - 1
        colour = "black" if last else COLOURS[i % len(COLOURS)]
        first = tasks - len(values)
        points = [place(first + t, v) for t, v in enumerate(values)]
        if len(points) > 1:
            draw.line(points, fill=colour, width=3 if last else 2)
        for x, y in points:
            draw.ellipse([x - 3, y - 3, x + 3, y + 3], fill=colour)
        draw.text((LEFT + WIDTH + 12, TOP + 14 * i), name, fill=colour)
    return np.asarray(image)
