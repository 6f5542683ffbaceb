"""Writes the page about one run of tasks."""

import json
import pathlib

import numpy as np

from tf_deepinversion.core.files import require_local
from tf_deepinversion.core.files import save_network
from tf_deepinversion.core.files import write_content
from tf_deepinversion.networks.preprocessing import Preprocessing
from tf_deepinversion.reports import page
from tf_deepinversion.reports.charts import accuracy_curves
from tf_deepinversion.serving import Served
from tf_deepinversion.serving import export


def write_report(path, *, title, names, accuracies, figures):
    """Writes one self-contained HTML page, atomically.

    Args:
        path: Path of the file.
        title: String.
        names: List of the names of the tasks.
        accuracies: List of rows, the accuracies on each task so far after each
            task.
        figures: Dict, printed as a list.
    """
    lines = [
        [f"after {name}", *map(page.percent, row)]
        + [""] * (len(names) - len(row))
        for name, row in zip(names, accuracies, strict=True)
    ]
    size = len(accuracies)
    # The chart reads the lower triangle only.
    matrix = [row + [0.0] * (size - len(row)) for row in accuracies]
    body = f"""<p>The accuracies are measured on real test images. The network
predicts among all classes learned so far. While it learned a task, it read no
real image of earlier tasks.</p>
{page.table(["accuracy on", *names], lines)}
{accuracy_curves(matrix, names)}
<h2>Figures</h2>{page.listed(figures)}"""
    page.write_page(path, title, body)


def report_tasks(
    folder, learned, names, tests, figures, title, preprocessing=None
) -> dict:
    """Saves the network of a run of tasks, with its figures and a page.

    Args:
        folder: Path of a folder for `network.keras`; for `saved_model/`, whose
            serving signature takes uint8 pixels; for `figures.json`; and, if
            there are accuracies after each task, for `report.html`.
        learned: A `LearnedTasks`.
        names: List of the names of the tasks.
        tests: List of pairs of uint8 images and labels, one per task.
        figures: Dict of further figures.
        title: String, title of the page.
        preprocessing: The network's `Preprocessing`, or None if the network is
            known by its name. Defaults to None.

    Returns:
        A dict of `saved_model_max_difference`, the largest difference between
        the logits of the SavedModel and those in Keras.

    Example:
        ```python
        di.reports.report_tasks(
            "output", learned, ["garments", "digits"], tests, {}, "Two tasks"
        )
        ```
    """
    require_local(folder=folder)
    folder, network = pathlib.Path(folder), learned.network
    save_network(folder / "network.keras", network)
    export(network, folder / "saved_model", preprocessing)
    images = tests[-1][0][:100]
    fed = Preprocessing.of(network, preprocessing).fed(images)
    expected = network(fed, training=False)
    difference = np.abs(Served(folder / "saved_model")(images) - expected)
    found = {"saved_model_max_difference": float(difference.max())}
    figures, rows = {**figures, **found}, learned.accuracies or []
    if len(rows) == len(names):
        write_report(
            folder / "report.html",
            title=title,
            names=names,
            accuracies=rows,
            figures=figures,
        )
    write_content(folder / "figures.json", json.dumps(figures))
    return found
