"""Draws curves and bars as SVG, for a page."""

import html
import math

import numpy as np

from tf_deepinversion.incremental.evaluation import check_matrix
from tf_deepinversion.incremental.evaluation import seen_accuracies

COLORS = ("#1b6ca8", "#c2571a", "#2e7d32", "#7b1fa2", "#555555", "#b71c1c")

# Colors of `bars`: the channels that a layer had, and those that are left.
WHOLE, KEPT = "#d7dee6", "#1b6ca8"
ROW, BAR = 20, 360


def curves(
    lines,
    caption,
    *,
    logarithmic=True,
    along="epoch",
    width=800,
    height=260,
) -> str:
    """Draws lines against epochs, as an SVG with two axes.

    Args:
        lines: Dict from names to lists of numbers, one number per epoch. All
            lists end with the last epoch, shorter lists begin later. A number
            that is not finite leaves a gap. Without any finite number there is
            no drawing.
        caption: String.
        logarithmic: Bool, whether the vertical axis is logarithmic. A line
            without positive numbers is then drawn with its sign changed, and
            its name gets a minus. Numbers below 1e-5 of the largest number are
            drawn at 1e-5 of the largest number.
        along: String, name of the horizontal axis, which counts from 1.
        width: Int, width of the drawing.
        height: Int, height of the drawing.
    """
    lines = {k: np.asarray(v, "float64") for k, v in lines.items()}
    lines = {k: v for k, v in lines.items() if np.isfinite(v).any()}
    if not lines:
        return ""
    if logarithmic:
        lines = dict(_turned_up(*line) for line in lines.items())
        # Zeros and tiny numbers have no place on a logarithmic axis.
        floor = max(1e-30, 1e-5 * max(_limits(*lines.values())))
        shown = [np.log10(np.maximum(_gaps(v), floor)) for v in lines.values()]
    else:
        shown = [_gaps(v) for v in lines.values()]
    # The legend takes a line of 20 pixels for each name.
    height = max(height, 20 * len(shown) + 30)
    # 220 pixels at the right belong to the legend, 30 below to the axis.
    axes = _Axes(shown, width - 220, height - 30)
    marks = axes.marks(along, logarithmic)
    for i, (name, values) in enumerate(zip(lines, shown, strict=True)):
        color = COLORS[i % len(COLORS)]
        marks.append(
            axes.line(values, color)
            + f'<text x="{width - 210}" y="{30 + 20 * i}" '
            f'fill="{color}">{html.escape(name)} {lines[name][-1]:.3g}</text>'
        )
    return _figure(marks, caption, width, height)


class _Axes:
    """Converts the numbers of a chart to positions in the drawing.

    Args:
        lines: List of arrays, one number per epoch, NaN for a gap; all end
            with the last epoch.
        right: Int, the right end of the horizontal axis.
        under: Int, vertical position of the smallest number.
    """

    def __init__(self, lines, right, under):
        self._bottom, self._top = _limits(*lines)
        self._count = max(map(len, lines))
        self._right, self._under = right, under

    def _place(self, epoch, value):
        # 60 pixels at the left belong to the numbers of the axis.
        x = 60 + (self._right - 60) * (epoch - 1) / max(1, self._count - 1)
        # A constant line has no span.
        span = max(self._top - self._bottom, 1e-3)
        return x, 10 + (self._top - value) / span * (self._under - 10)

    def line(self, values, color) -> str:
        # All lines end with the last epoch, so shorter lines begin later.
        first, drawn = 1 + self._count - len(values), ""
        parts = np.ma.clump_unmasked(np.ma.masked_invalid(values))
        for part in parts:
            epochs = range(first + part.start, first + part.stop)
            points = [*map(self._place, epochs, values[part])]
            if self._count == 1:  # a line as wide as the chart
                points.append((self._right, points[0][1]))
            x, y = points[-1]
            if len(points) == 1 and part != parts[-1]:  # no line between gaps
                drawn += _dot(x, y, 2, color)
            points = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
            drawn += (
                f'<polyline fill="none" stroke="{color}" stroke-width="2" '
                f'points="{points}"/>'
            )
        return drawn + _dot(x, y, 4, color)

    def marks(self, along, logarithmic) -> list:
        """Draws grid lines with numbers, and names the horizontal axis."""
        right, under = self._right, self._under
        marks = [
            f'<text x="{right}" y="{under + 28}" text-anchor="end">{along}'
            "</text>"
        ]
        # Horizontal lines at round values, and marks at round numbers of
        # epochs.
        for value in _ticks(self._bottom, self._top, logarithmic):
            x, y = self._place(1, np.log10(value) if logarithmic else value)
            marks.append(
                f'<line x1="{x}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" '
                'stroke="#ddd"/>'
                f'<text x="{x - 8}" y="{y + 5:.1f}" text-anchor="end">'
                f"{value:g}</text>"
            )
        epochs = {e for e in round_numbers(1, self._count, 8) if e % 1 == 0}
        for epoch in sorted({1, *epochs}):
            x, _ = self._place(epoch, self._bottom)
            marks.append(
                f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{under}" '
                f'y2="{under + 4}" stroke="#222"/>'
                f'<text x="{x:.1f}" y="{under + 17}" text-anchor="middle">'
                f"{epoch:g}</text>"
            )
        return marks


def _dot(x, y, radius, color) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{color}"/>'


def round_numbers(low, high, most=6) -> list:
    """Returns multiples of 1, 2 or 5 times a power of ten.

    Args:
        low: Float, lower limit of the numbers.
        high: Float, upper limit of the numbers.
        most: Int, approximate largest number of numbers.

    >>> [float(n) for n in round_numbers(0.13, 0.97)]
    [0.2, 0.4, 0.6, 0.8]
    """
    rough = max(high - low, 1e-12) / most
    power = 10.0 ** math.floor(math.log10(rough))
    # The factor 0.999 and the 1e-6 below absorb rounding errors.
    step = next(power * f for f in (1, 2, 5, 10) if power * f >= 0.999 * rough)
    first, last = math.ceil(low / step - 1e-6), math.floor(high / step + 1e-6)
    return [step * i for i in range(first, last + 1)]


def _ticks(bottom, top, logarithmic):
    if not logarithmic:
        return round_numbers(bottom, top)
    decades = [n for n in round_numbers(bottom, top) if abs(n - round(n)) < 0.1]
    # Whole powers of ten suffice if there are two of them.
    if len(decades) > 1:
        return [10.0 ** round(n) for n in decades]
    return [n for n in round_numbers(10**bottom, 10**top) if n > 0]


def _gaps(values):
    """Returns a line with NaN for each number that is not finite."""
    return np.where(np.isfinite(values), values, np.nan)


def _limits(*lines) -> tuple:
    """Returns the smallest and the largest finite number of lines."""
    values = np.concatenate(lines)
    values = values[np.isfinite(values)]
    return values.min(), values.max()


def _turned_up(name, values):
    """Returns a line; one without positive numbers gets its sign changed."""
    low, high = _limits(values)
    negative = low < 0 >= high
    return (f"-{name}", -values) if negative else (name, values)


def accuracy_curves(matrix, names=None) -> str:
    """Draws the accuracy on each task, and the mean of the tasks so far.

    Args:
        matrix: As for `incremental.seen_accuracies`.
        names: List of the names of the tasks, or None. Defaults to None.

    Raises:
        ValueError: if there is not one name for each task.

    Example:
        >>> di.reports.accuracy_curves([[0.9, 0], [0.5, 0.8]])[:13]
        '<figure><svg '
    """
    matrix = check_matrix(matrix)
    if names is None:
        names = [f"task {i + 1}" for i in range(len(matrix))]
    names = list(names)
    if len({*names, "all seen"}) != len(matrix) + 1:
        raise ValueError(
            f"`names` must name the {len(matrix)} tasks, each by another name "
            f'than "all seen". Received: names={names}'
        )
    lines = {name: matrix[i:, i] for i, name in enumerate(names)}
    lines["all seen"] = seen_accuracies(matrix)
    caption = "Accuracy after each task."
    return curves(lines, caption, logarithmic=False, along="task")


def bars(widths, caption) -> str:
    """Draws a bar for each layer: gray for all channels, blue for those left.

    All gray bars have the same length. The two numbers stand beside each bar.

    Args:
        widths: Dict from names to pairs of numbers, before and after.
        caption: String.

    Example:
        >>> di.reports.bars({"conv": (8, 2)}, "Channels")[:13]
        '<figure><svg '
    """
    if not widths:
        return ""
    # The names stand left of the bars, with about 8 pixels per character.
    left, marks = 8 * max(map(len, widths)), []
    for i, (name, (before, after)) in enumerate(widths.items()):
        y, length = ROW * i, BAR * after / max(1, before)
        marks.append(
            f'<text x="0" y="{y + 14}">{html.escape(name)}</text>'
            f'<rect x="{left}" y="{y + 2}" width="{BAR}" height="{ROW - 4}" '
            f'fill="{WHOLE}"/>'
            f'<rect x="{left}" y="{y + 2}" width="{length:g}" '
            f'height="{ROW - 4}" fill="{KEPT}"/>'
            f'<text x="{left + BAR + 8}" y="{y + 14}">{after} / {before}</text>'
        )
    return _figure(marks, caption, left + BAR + 120, ROW * len(widths))


def ratio_bars(ratios, caption) -> str:
    """Draws a bar for each layer, as long as its signal-to-noise ratio.

    Args:
        ratios: Dict from names to numbers in dB, as `quantization.compare`
            returns. Numbers below zero and NaN have no bar; infinity has the
            longest.
        caption: String.

    Example:
        >>> di.reports.ratio_bars({"conv": 31.5}, "Error of int8")[:13]
        '<figure><svg '
    """
    if not ratios:
        return ""
    # The names stand left of the bars, with about 8 pixels per character.
    left, marks = 8 * max(map(len, ratios)), []
    finite = [r for r in ratios.values() if np.isfinite(r)]
    longest = max([1.0, *finite])
    for i, (name, ratio) in enumerate(ratios.items()):
        y = ROW * i
        share = 0 if np.isnan(ratio) else np.clip(ratio / longest, 0, 1)
        length = BAR * float(share)
        text = "no error" if ratio == np.inf else f"{ratio:.1f} dB"
        marks.append(
            f'<text x="0" y="{y + 14}">{html.escape(name)}</text>'
            f'<rect x="{left}" y="{y + 2}" width="{length:g}" '
            f'height="{ROW - 4}" fill="{KEPT}"/>'
            f'<text x="{left + length + 8:g}" y="{y + 14}">{text}</text>'
        )
    return _figure(marks, caption, left + BAR + 120, ROW * len(ratios))


def _figure(marks, caption, width, height):
    caption = html.escape(caption)
    return (
        f'<figure><svg viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{caption}" font-size="14">{"".join(marks)}</svg>'
        f"<figcaption>{caption}</figcaption></figure>"
    )
