"""Saves the result of one distillation in a folder."""

import json
import pathlib

import numpy as np

from tf_deepinversion.core.files import require_local
from tf_deepinversion.core.files import save_network
from tf_deepinversion.core.files import write_content
from tf_deepinversion.core.pictures import grid
from tf_deepinversion.core.pictures import save_png
from tf_deepinversion.networks.reader import resized
from tf_deepinversion.reports.student_report import report_student
from tf_deepinversion.serving import Served
from tf_deepinversion.serving import export


def save_student(
    folder, distillation, distilled, *, real=None, names=None, figures=None
) -> dict:
    """Saves a student as Keras file and SavedModel, and writes its report.

    Args:
        folder: Path of the folder for the files: `student.keras`;
            `saved_model/`, whose serving signature takes uint8 pixels;
            `curves.json`, the history; `grid.png`, the newest 100 images; and
            `report.html`, see `report_student`.
        distillation: The `Distillation` of teacher and student.
        distilled: A `Distilled` with a pool, as `distill` returns.
        real: A pair, real images and labels to score by, or None. Defaults to
            None.
        names: List of the names of the classes, or None. Defaults to None.
        figures: Dict of further figures for the page, or None. Defaults to
            None.

    Returns:
        A dict of figures: those of `report_student`; `agreement_on_pool`, the
        agreement in the last round; `images`, the number of images in the pool;
        `parameters_ratio`, the student's number of parameters divided by the
        teacher's; and `saved_model_max_difference`, the largest difference
        between the outputs of the SavedModel and those in Keras.

    Example:
        ```python
        distilled = di.distill(teacher, student, rounds=20)
        di.reports.save_student(
            "student", di.Distillation(teacher, student), distilled
        )
        ```
    """
    require_local(folder=folder)
    folder, (student, history, pool, synthesis) = (
        pathlib.Path(folder),
        distilled,
    )
    save_network(folder / "student.keras", student)
    write_content(folder / "curves.json", json.dumps(history))
    # Sorted by class, the picture is easy to read.
    order = np.argsort(pool.labels[-100:], kind="stable")
    save_png(folder / "grid.png", grid(pool.images[-100:][order], 10, 2))
    fed = distillation.student_preprocessing
    export(student, folder / "saved_model", fed)
    # The SavedModel takes images of the student's size.
    shown = resized(pool.images[-250:], student)
    served = Served(folder / "saved_model")(shown)
    exact = student.predict(fed.fed(shown), verbose=0)
    difference = np.abs(served - exact).max()
    teacher = distillation.teacher
    found = {
        "agreement_on_pool": history["agreement"][-1],
        "images": len(pool),
        "parameters_ratio": student.count_params() / teacher.count_params(),
        "saved_model_max_difference": float(difference),
    }
    found |= report_student(
        folder / "report.html",
        distillation,
        history,
        pool,
        synthesis=synthesis,
        real=real,
        names=names,
        figures={**(figures or {}), **found},
    )
    return found
