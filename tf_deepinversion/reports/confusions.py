"""What a network takes images for, as a part of a page."""

import numpy as np

from tf_deepinversion.core.pictures import grid
from tf_deepinversion.metrics import recognition
from tf_deepinversion.reports import page


def confusions(answers, labels, names, most=20, drawn=200) -> str:
    """Draws the confusion matrix of a student, and lists its commonest faults.

    Args:
        answers: Int array `(n,)`, the student's classes of the images.
        labels: Int array `(n,)`, the true classes.
        names: List of the names of all classes.
        most: Int, up to how many classes the matrix is a table.
        drawn: Int, up to how many classes the matrix is a picture.

    Returns:
        HTML.
    """
    pair, classes = (labels, answers), len(names)
    if classes <= most:
        counts = recognition.confusion(*pair, classes)
        shown = _explained(page.scrolling(page.matrix(counts, names)))
    elif classes <= drawn:
        counts = recognition.confusion(*pair, classes)
        shares = counts / np.maximum(1, counts.sum(1, keepdims=True))
        shades = np.rint(255 * (1 - shares)).astype("uint8")
        picture = grid(shades[None, ..., None], scale=4)
        shown = _explained(page.picture(picture, "confusion matrix"))
    else:
        shown = f"<p>The matrix of {classes:,} classes is not drawn.</p>"
    worst = recognition.most_confused(
        *pair, classes, 10 if classes <= drawn else 50
    )
    lines = [[names[a], names[b], str(count)] for a, b, count in worst]
    return f"""<h2>What the student takes real images for</h2>
{shown}
<p>Most often:</p>
{page.table(["shown", "taken for", "images"], lines)}"""


def _explained(matrix):
    return f"""<p>Rows: what images show. Columns: what the student says.</p>
{matrix}"""
