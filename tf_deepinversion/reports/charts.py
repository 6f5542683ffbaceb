"""Charts: curves for a page, lines and bars as pictures."""

import html

import numpy as np
from PIL import Image
from PIL import ImageDraw

from tf_deepinversion.incremental.evaluation import check_matrix
from tf_deepinversion.incremental.evaluation import seen_accuracies

COLORS = ("#1b6ca8", "#c2571a", "#2e7d32", "#7b1fa2", "#555555", "#b71c1c")

# Of the picture of accuracies.
WIDTH, HEIGHT, LEFT, TOP, RIGHT = 420, 220, 48, 12, 120

# Of the picture of widths: what a layer had, and what is left of it.
WHOLE, KEPT = (215, 222, 230), (27, 108, 168)
ROW, MARGIN, BAR = 16, 8, 360


def curves(lines, caption, *, logarithmic=True, width=800, height=260) -> str:
    """Lines against epochs, as an SVG.

    Args:
        lines: Dict from names to lists of numbers, one an epoch.
        caption: String.
        logarithmic: Bool, of the vertical axis. A line that is nowhere
            positive is then drawn, and named, with its sign changed; what is
            below 1e-5 of the largest number is drawn there.
        width: Int, of the drawing.
        height: Int.
    """
    lines = {name: np.asarray(v, "float64") for name, v in lines.items()}
    if logarithmic:
        lines = dict(_turned_up(*line) for line in lines.items())
        floor = max(1e-30, 1e-5 * max(v.max() for v in lines.values()))
        shown = [np.log10(np.maximum(v, floor)) for v in lines.values()]
    else:
        shown = list(lines.values())
    bottom = min(v.min() for v in shown)
    top = max(v.max() for v in shown)
    span, marks = max(top - bottom, 1e-3), []
    height = max(height, 20 * len(shown) + 30)
    for i, (name, values) in enumerate(zip(lines, shown, strict=True)):
        color = COLORS[i % len(COLORS)]
        values = np.repeat(values, 2) if len(values) == 1 else values
        x = np.linspace(60, width - 220, len(values))
        y = 10 + (top - values) / span * (height - 40)
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
        marks.append(
            f'<polyline fill="none" stroke="{color}" stroke-width="2" '
            f'points="{points}"/>'
            f'<text x="{width - 210}" y="{30 + 20 * i}" '
            f'fill="{color}">{html.escape(name)} {lines[name][-1]:.3g}</text>'
        )
    for value, y in ((top, 16), (bottom, height - 26)):
        value = 10**value if logarithmic else value
        marks.append(f'<text x="0" y="{y}">{value:.2g}</text>')
    return (
        f'<figure><svg viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{html.escape(caption)}" font-size="14">'
        f"{''.join(marks)}</svg><figcaption>{html.escape(caption)}"
        "</figcaption></figure>"
    )


def _turned_up(name, values):
    """A line that is nowhere positive, with its sign and name changed."""
    negative = values.min() < 0 >= values.max()
    return (f"-{name}", -values) if negative else (name, values)


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
        color = "black" if last else COLORS[i % len(COLORS)]
        first = tasks - len(values)
        points = [place(first + t, v) for t, v in enumerate(values)]
        if len(points) > 1:
            draw.line(points, fill=color, width=3 if last else 2)
        for x, y in points:
            draw.ellipse([x - 3, y - 3, x + 3, y + 3], fill=color)
        draw.text((LEFT + WIDTH + 12, TOP + 14 * i), name, fill=color)
    return np.asarray(image)


def widths_picture(widths) -> np.ndarray:
    """A bar for each layer: in gray what it was, in blue what is left.

    All bars are equally long, with the two numbers beside them.

    Args:
        widths: Dict from names to pairs of numbers, before and after.

    Returns:
        A uint8 array `(height, width, 3)`.
    """
    font_width = 6 * max(map(len, widths))
    left = MARGIN + font_width + MARGIN
    size = (left + BAR + 120, ROW * len(widths) + 2 * MARGIN)
    image = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(image)
    for i, (name, (before, after)) in enumerate(widths.items()):
        y = MARGIN + ROW * i
        draw.text((MARGIN, y), name, fill="black")
        box = [left, y, left + BAR - 1, y + ROW - 4]
        draw.rectangle(box, fill=WHOLE)
        length = round(BAR * after / before)
        if length:
            draw.rectangle([*box[:2], left + length - 1, box[3]], fill=KEPT)
        draw.text((left + BAR + MARGIN, y), f"{after} / {before}", fill="black")
    return np.asarray(image)
