"""A page about one run of tasks: figures, the matrix, images of old classes."""

import html

from tf_deepinversion.reports import page


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
    lines = [
        [f"after {name}", *map(page.percent, row)]
        + [""] * (len(names) - len(row))
        for name, row in zip(names, accuracies, strict=True)
    ]
    shown = [
        f"<figure>{page.picture(image, caption)}"
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
        for caption, image in pictures.items()
    ]
    body = f"""<p>Accuracies are of real test images, each taken for one of all
classes that were known by then. Of the classes of earlier tasks no image was
read.</p>
{page.table(["accuracy on", *names], lines)}
{"".join(shown)}
<h2>Figures</h2>{page.listed(figures)}"""
    page.write_page(path, title, body)
