"""A page about one run of tasks: figures, the matrix, images of old classes."""

import base64
import html

from tf_deepinversion.checkpoint import write_atomically
from tf_deepinversion.pictures import png
from tf_deepinversion.report import STYLE


def write_report(path, *, title, names, accuracies, figures, pictures):
    """Writes one self-contained HTML page, whole or not at all.

    Args:
        path: Path of the file.
        title: String.
        names: List of the names of the tasks.
        accuracies: List of rows, the accuracies on each task seen so far
            after each task.
        figures: Dict, printed as a list.
        pictures: Dict from captions to uint8 images `(height, width, 1 or 3)`.
    """
    heads = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    lines = [
        f"<tr><td>after {html.escape(name)}</td>"
        + "".join(f"<td>{100 * value:.1f} %</td>" for value in row)
        + "<td></td>" * (len(names) - len(row))
        + "</tr>"
        for name, row in zip(names, accuracies, strict=True)
    ]
    shown = [
        f'<figure><img alt="{html.escape(caption)}" src="data:image/png;base64,'
        f'{base64.b64encode(png(picture)).decode()}">'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
        for caption, picture in pictures.items()
    ]
    items = "".join(
        f"<li>{html.escape(str(k))}: <code>{html.escape(str(v))}</code></li>"
        for k, v in figures.items()
    )
    page = f"""<!doctype html>
<html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{html.escape(title)}</title><style>{STYLE}</style>
<h1>{html.escape(title)}</h1>
<p>Accuracies are of real test images, each taken for one of all classes that
were known by then. Of the classes of earlier tasks no image was read.</p>
<table><tr><th>accuracy on</th>{heads}</tr>{"".join(lines)}</table>
{"".join(shown)}
<h2>Figures</h2><ul>{items}</ul></html>
"""
    write_atomically(path, lambda file: file.write(page.encode()))
