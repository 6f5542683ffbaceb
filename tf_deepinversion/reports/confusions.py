"""The confusion matrix of a student, as a part of a page."""

import numpy as np

from tf_deepinversion.core.pictures import grid
from tf_deepinversion.metrics import recognition
from tf_deepinversion.reports import page


def confusions(answers, labels, names, most=20, drawn=200) -> str:
    """Draws the confusion matrix of a student, and lists its commonest errors.

    Args:
        answers: Int array `(n,)`, the student's predictions.
        labels: Int array `(n,)`, the true classes.
        names: List of the names of all classes.
        most: Int, largest number of classes for which the matrix is a table.
        drawn: Int, largest number of classes for which the matrix is a picture.
            Beyond it no matrix is made: a million classes would take 8 TB.

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
        # Dark pixels stand for large shares of a row.
        shades = np.rint(255 * (1 - shares)).astype("uint8")
        picture = grid(shades[None, ..., None], scale=4)
        shown = _explained(page.picture(picture, "confusion matrix"))
    else:
        shown = f"<p>The matrix of {classes:,} classes is not drawn.</p>"
    worst = recognition.most_confused(
        *pair, classes, 10 if classes <= drawn else 50
    )
    lines = [[names[a], names[b], str(count)] for a, b, count in worst]
    return f"""<h2>What the student predicts for real images</h2>
{shown}
<p>The most frequent errors:</p>
{page.table(["true class", "predicted class", "images"], lines)}"""


def _explained(matrix):
    return f"""<p>Rows: true classes. Columns: predictions of the student.</p>
{matrix}"""
