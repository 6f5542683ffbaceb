"""A chart of accuracies over tasks."""

import numpy as np
from PIL import Image
from PIL import ImageDraw

from tf_deepinversion.incremental.evaluation import check_matrix
from tf_deepinversion.incremental.evaluation import seen_accuracies

COLOURS = ("#1b6ca8", "#c2571a", "#2e7d32", "#7b1fa2", "#555555", "#b71c1c")


WIDTH, HEIGHT, LEFT, TOP, RIGHT = 420, 220, 48, 12, 120


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
