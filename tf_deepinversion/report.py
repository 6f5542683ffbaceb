"""One self-contained HTML page about one inversion."""

import base64
import html

import numpy as np

from tf_deepinversion import metrics
from tf_deepinversion.checkpoint import write_atomically
from tf_deepinversion.pictures import grid
from tf_deepinversion.pictures import png

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto;
       max-width: 62rem; padding: 0 1rem; color: #222; }
h1, h2 { line-height: 1.2; }
table { border-collapse: collapse; width: 100%; }
th, td { padding: .35rem .7rem; text-align: right;
         border-bottom: 1px solid #ddd; }
th:first-child, td:first-child { text-align: left; }
tr.ours td { font-weight: 600; background: #f2f7f2; }
img { image-rendering: pixelated; max-width: 100%; }
.class { display: grid; grid-template-columns: 9rem 1fr 1fr; gap: .8rem;
         align-items: center; border-top: 1px solid #ddd; padding: .3rem 0; }
svg { width: 100%; height: auto; }
figure { margin: 1rem 0; }
code { background: #f3f3f3; padding: .1rem .3rem; }
"""
COLOURS = ("#1b6ca8", "#c2571a", "#2e7d32", "#7b1fa2", "#555555", "#b71c1c")


def measure(
    images, labels, teacher, preprocessing, verifier=None, seconds=None
) -> dict:
    """The figures of one set of images; what cannot be measured is None.

    Args:
        images: uint8 array `(n, height, width, channels)`.
        labels: Int array `(n,)`.
        teacher: A `keras.Model` with BatchNormalization layers.
        preprocessing: The teacher's `Preprocessing`.
        verifier: Another network with the teacher's classes, known by name.
        seconds: Float, what the images took to make.
    """
    spread = None
    if verifier is not None and np.bincount(labels).max() > 1:
        spread = metrics.within_class_spread(
            metrics.penultimate_features(verifier, images), labels
        )
    return {
        "teacher_accuracy": metrics.accuracy(
            teacher, images, labels, preprocessing
        ),
        "verifier_accuracy": verifier
        and metrics.accuracy(verifier, images, labels),
        "feature_distance": metrics.feature_distance(
            teacher, images, preprocessing
        ),
        "spread": spread,
        "seconds": seconds,
    }


def write_report(path, *, title, sets, rows, labels, names, history, figures):
    """Writes the page, whole or not at all.

    Args:
        path: Path of the HTML file.
        title: String.
        sets: Dict from names to uint8 images `(n, height, width, channels)`;
            those of `"DeepInversion"` and, if there, `"real images"` are
            shown class by class.
        rows: Dict from the same names to what `measure` gave.
        labels: Int array `(n,)`, of every set.
        names: List of the names of the classes.
        history: Dict from the names of terms to lists, one value an epoch.
        figures: Dict, printed as a list.
    """
    page = f"""<!doctype html>
<html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{html.escape(title)}</title><style>{STYLE}</style>
<h1>{html.escape(title)}</h1>
<p>These images were made from a trained network alone: no image it was
trained on was read. Each was asked to be of one class; what makes it look so
is what the network's weights and its BatchNormalization statistics remember.
</p>
<h2>How good they are</h2>
{_table(rows)}
<p><b>Teacher</b> and <b>verifier</b>: the share of images that the inverted
network, and a network of another family that it never saw, take for the class
asked for. <b>Statistics distance</b>: the paper's R<sub>feature</sub>, of the
pixels as saved; real images are not at zero, since a batch is a sample.
<b>Diversity</b>: the spread within a class of the verifier's features,
relative to real images; copies of one picture would have 0.</p>
<h2>What the network remembers, class by class</h2>
{_classes(sets, labels, names)}
<h2>The terms of the objective</h2>
{_curves(history)}
<h2>Figures</h2>
<ul>{"".join(f"<li>{k}: <code>{v}</code></li>" for k, v in figures.items())}
</ul>
<h2>What to do next</h2>
<ul>
<li>Your own network: <code>python examples/invert.py --teacher=FILE.keras
--mean=... --std=... --pixel_range=0,255</code></li>
<li>The images as data: <code>keras.utils.image_dataset_from_directory</code>
reads the folder <code>images</code> beside this page.</li>
<li>What the terms mean, and what to do when it goes wrong:
<code>docs/inversion.md</code>.</li>
<li>Synthesised images can show what the training data showed. Treat those of
a network trained on private data as private.</li>
</ul></html>
"""
    write_atomically(path, lambda file: file.write(page.encode()))


def _number(value, digits=1, factor=1.0, unit=""):
    return "" if value is None else f"{value * factor:.{digits}f}{unit}"


def _table(rows):
    real = rows.get("real images", {}).get("spread")
    lines = []
    for name, row in rows.items():
        diversity = row["spread"] / real if real and row["spread"] else None
        cells = (
            html.escape(name),
            _number(row["teacher_accuracy"], 1, 100, " %"),
            _number(row["verifier_accuracy"], 1, 100, " %"),
            _number(row["feature_distance"], 2),
            _number(diversity, 2),
            _number(row["seconds"], 0, 1, " s"),
        )
        ours = ' class="ours"' if name == "DeepInversion" else ""
        lines.append(
            f"<tr{ours}>{''.join(f'<td>{c}</td>' for c in cells)}</tr>"
        )
    return f"""<table><tr><th>images</th><th>teacher</th><th>verifier</th>
<th>statistics distance</th><th>diversity</th><th>time</th></tr>
{"".join(lines)}</table>"""


def _picture(images, columns, alt):
    content = base64.b64encode(png(grid(images, columns, scale=2))).decode()
    return (
        f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{content}">'
    )


def _classes(sets, labels, names, shown=10):
    lines = [
        '<div class="class"><b>class</b><b>synthesised</b><b>real</b></div>'
    ]
    for c in np.unique(labels):
        ours = sets["DeepInversion"][labels == c][:shown]
        line = f"<span>{html.escape(names[c])}</span>"
        line += _picture(ours, 5, f"synthesised {names[c]}")
        if "real images" in sets:
            real = sets["real images"][labels == c][:shown]
            line += _picture(real, 5, f"real {names[c]}")
        lines.append(f'<div class="class">{line}</div>')
    return "\n".join(lines)


def _curves(history, width=800, height=260):
    """The weighted terms against epochs, as an SVG on a logarithmic scale."""
    terms = {k: np.maximum(v, 1e-6) for k, v in history.items()}
    top = np.log10(max(v.max() for v in terms.values()))
    bottom = np.log10(min(v.min() for v in terms.values()))
    span = max(top - bottom, 1e-3)
    marks = []
    for (name, values), colour in zip(terms.items(), COLOURS * 3, strict=False):
        x = np.linspace(60, width - 220, len(values))
        y = 10 + (top - np.log10(values)) / span * (height - 40)
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
        marks.append(
            f'<polyline fill="none" stroke="{colour}" stroke-width="2" '
            f'points="{points}"/>'
        )
        marks.append(
            f'<text x="{width - 210}" y="{20 + 20 * len(marks) / 2}" '
            f'fill="{colour}">{html.escape(name)} {values[-1]:.3g}</text>'
        )
    for value, y in ((top, 16), (bottom, height - 26)):
        marks.append(f'<text x="0" y="{y}">{10**value:.2g}</text>')
    return (
        f'<figure><svg viewBox="0 0 {width} {height}" role="img" '
        'aria-label="weighted terms against epochs" font-size="14">'
        f"{''.join(marks)}</svg><figcaption>Each weighted term at the end of "
        "each epoch, logarithmic; at the right its last value.</figcaption>"
        "</figure>"
    )
