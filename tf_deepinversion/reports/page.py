"""Builds HTML pages that need no other file."""

import base64
import html

import numpy as np

from tf_deepinversion.core.files import write_content
from tf_deepinversion.core.pictures import png

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto;
       max-width: 62rem; padding: 0 1rem; color: #222; }
h1, h2 { line-height: 1.2; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; }
th, td { padding: .35rem .7rem; text-align: right;
         border-bottom: 1px solid #ddd; }
th:first-child, td:first-child { text-align: left; }
tr.ours td { font-weight: 600; background: #f2f7f2; }
table.matrix { width: auto; font-size: .8rem; }
table.matrix th, table.matrix td { padding: .25rem .4rem; }
img { image-rendering: pixelated; max-width: 100%; }
.class { display: grid; grid-template-columns: 9rem 1fr 1fr; gap: .8rem;
         align-items: center; border-top: 1px solid #ddd; padding: .3rem 0; }
figure, .wide { margin: 1rem 0; overflow-x: auto; }
svg { width: 100%; min-width: 36rem; height: auto; }
code { background: #f3f3f3; padding: .1rem .3rem; overflow-wrap: anywhere; }
@media (max-width: 40rem) {
  body { margin: 1rem auto; }
  th, td { padding: .3rem .35rem; font-size: .85rem; }
  .class { grid-template-columns: 1fr 1fr; }
  .class > :first-child { grid-column: 1 / -1; font-weight: 600; }
}
"""


SHADE = np.array([27, 108, 168])  # of a matrix cell that holds 100 % of its row


def write_page(path, title, body):
    """Writes a page, whole or not at all.

    Args:
        path: Path of the HTML file.
        title: String.
        body: String, HTML that follows the title.
    """
    page = f"""<!doctype html>
<html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{html.escape(title)}</title><style>{STYLE}</style>
<h1>{html.escape(title)}</h1>
{body}
</html>
"""
    write_content(path, page)


def number(value, digits=1, factor=1.0, unit="") -> str:
    """Returns a number as text, and an empty string for None."""
    return "" if value is None else f"{value * factor:.{digits}f}{unit}"


def ratio(value, base):
    """Returns value / base, or None if one is unknown or the base is 0."""
    return None if value is None or not base else value / base


def percent(value) -> str:
    """Returns a share as a percentage, and an empty string for None."""
    return number(value, 1, 100, " %")


def table(heads, rows, ours=None) -> str:
    """Builds a table of text, with the row that begins with `ours` in bold.

    Args:
        heads: List of strings.
        rows: List of lists of strings.
        ours: String, or None.
    """
    lines = []
    for row in rows:
        cells = "".join(f"<td>{html.escape(cell)}</td>" for cell in row)
        marked = ' class="ours"' if ours is not None and row[0] == ours else ""
        lines.append(f"<tr{marked}>{cells}</tr>")
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in heads)
    return scrolling(f"<table><tr>{head}</tr>\n{''.join(lines)}</table>")


def scrolling(content) -> str:
    """Puts content wider than a phone into a box of its own that scrolls."""
    return f'<div class="wide">{content}</div>'


def picture(image, alt) -> str:
    """Embeds a uint8 image `(height, width, 1 or 3)` into the page."""
    # An embedded picture keeps the page in a single file.
    content = base64.b64encode(png(image)).decode()
    return (
        f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{content}">'
    )


def listed(figures) -> str:
    """Builds a list of the names and values of a dict."""
    items = "".join(
        f"<li>{html.escape(str(k))}: <code>{html.escape(str(v))}</code></li>"
        for k, v in figures.items()
    )
    return f"<ul>{items}</ul>"


def matrix(counts, names) -> str:
    """Builds a matrix of counts; cells with a larger share of a row are darker.

    Args:
        counts: Int array `(classes, classes)`.
        names: List of the names of the classes.
    """
    counts = np.asarray(counts)
    # A class without images has a row of zeros.
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    heads = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    lines = []
    for name, row, part in zip(names, counts, shares, strict=True):
        cells = "".join(
            f'<td style="{_shade(share)}">{count}</td>'
            for count, share in zip(row, part, strict=True)
        )
        lines.append(f"<tr><th>{html.escape(name)}</th>{cells}</tr>")
    return (
        f'<table class="matrix"><tr><th></th>{heads}</tr>\n'
        f"{''.join(lines)}</table>"
    )


def _shade(share):
    red, green, blue = np.rint(255 + (SHADE - 255) * share).astype(int)
    # White digits on dark cells.
    ink = "#fff" if share > 0.6 else "#222"
    return f"background: rgb({red}, {green}, {blue}); color: {ink}"
