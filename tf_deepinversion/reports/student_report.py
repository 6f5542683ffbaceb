"""Measures a student, and writes one self-contained HTML page about it."""

import numpy as np

from tf_deepinversion.core.files import require_local
from tf_deepinversion.core.labels import names_of
from tf_deepinversion.core.pictures import grid
from tf_deepinversion.core.pictures import require_picture
from tf_deepinversion.core.predictions import share_right
from tf_deepinversion.distillation.check_arguments import check_images
from tf_deepinversion.metrics import diversity
from tf_deepinversion.metrics import recognition
from tf_deepinversion.reports import charts
from tf_deepinversion.reports import page
from tf_deepinversion.reports.confusions import confusions

LEGEND = """<p><b>Agreement</b>: the share of images for which student and
teacher predict the same class. <b>Divergence</b>: the mean of
KL(p<sub>T</sub> || p<sub>S</sub>) at temperature 1. <b>Teacher right</b> and
<b>student right</b>: the share of images that the network recognizes as the
true class, or, in the pool, as the requested class. Images between the classes,
as <code>distill</code> makes them, rarely show the requested class: in such a
pool these shares say nothing of the student. <b>Classes</b>: the number of
classes that the teacher sees in the images, computed as the exponential of the
entropy of its predictions. <b>Spread</b>: the spread of the features that feed
the teacher's head, within each class that the teacher predicts.
<b>Diversity</b>: the spread divided by the spread of real images. A pool that
collapsed has few classes, or a diversity near 0.</p>"""


AGE_CAPTION = (
    "Spread of the teacher's features within a class, for ten parts of the "
    "pool, from the oldest to the newest. A line that falls to 0 is a collapse."
)


SHARES = ("agreement", "accuracy")


RECOGNIZED_CAPTION = (
    "The share of synthesized images that the teacher recognizes as the "
    "requested class, for each batch."
)


TERMS_CAPTION = (
    "Each term of the synthesis times its weight, at the last step of each "
    "batch, on a logarithmic axis. Negative terms have their sign changed."
)


def measure_student(distillation, images, labels=None) -> dict:
    """Measures how far a student is from its teacher on images.

    Args:
        distillation: A `Distillation`.
        images: uint8 array `(n, height, width, channels)`.
        labels: Int array `(n,)`, true or requested classes, or None. Defaults
            to None.

    Returns:
        A dict of figures and of `answers`, the student's predictions. Figures
        that need labels are None without labels.

    Example:
        >>> model = di.Distillation(teacher, student)
        >>> found = di.reports.measure_student(model, images, labels)
        >>> found["images"], found["answers"].shape
        (12, (12,))
    """
    # Both networks read each image once; all figures follow from the logits.
    logits = distillation.answers(images)
    said, answers = (each.argmax(-1) for each in logits)
    teacher_accuracy, student_accuracy = (
        None if labels is None else share_right(each, labels) for each in logits
    )
    return {
        "images": len(images),
        "agreement": float((said == answers).mean()),
        "divergence": recognition.divergence(*logits),
        "teacher_accuracy": teacher_accuracy,
        "student_accuracy": student_accuracy,
        **measure_variety(distillation, _evenly(images, 1000)),
        "answers": answers,
    }


def measure_variety(distillation, images) -> dict:
    """Measures whether images collapsed onto few classes, or within classes.

    Both figures use the teacher's predictions, not the requested classes.

    Args:
        distillation: A `Distillation`.
        images: uint8 array `(n, height, width, channels)`.

    Returns:
        A dict of `classes`, see `metrics.effective_classes`, and `spread`, see
        `metrics.within_class_spread`, of the inputs of the teacher's head.
        `spread` is None if no class has two images.

    Example:
        >>> model = di.Distillation(teacher, student)
        >>> 1 <= di.reports.measure_variety(model, images)["classes"] <= 3
        True
    """
    logits, features = distillation.teacher_features(images)
    said = logits.argmax(-1)
    spread = None
    if np.bincount(said).max() > 1:
        spread = diversity.within_class_spread(features, said)
    return {"classes": diversity.effective_classes(said), "spread": spread}


def report_student(
    path,
    distillation,
    history,
    pool,
    *,
    synthesis=None,
    real=None,
    names=None,
    figures=None,
) -> dict:
    """Measures a student, and writes the page about it atomically.

    Args:
        path: Path of the HTML file.
        distillation: A `Distillation`, after `fit`.
        history: Dict from names to lists with one number per round, as
            `distill` returns.
        pool: The `Pool` of the student's images.
        synthesis: Dict from names to lists with one number per batch, as
            `RefreshPool.synthesis` returns; or None. Defaults to None.
        real: A pair, real images and labels, or None. Defaults to None.
        names: List of the names of the classes, or None. Defaults to None.
        figures: Dict of further figures for the page, or None. Defaults to
            None.

    Returns:
        A dict of figures: of the newest images of the pool (`pool_...`) and,
        with real images, `agreement`, `divergence`, the accuracies and the
        number of images.

    Raises:
        ValueError: if images have another shape than the teacher's, or
            channels that no picture has, or if there are fewer names than
            classes.

    Example:
        ```python
        model = di.Distillation(teacher, result.student)
        di.reports.report_student(
            "report.html", model, result.history, result.pool
        )
        ```
    """
    require_local(path=path)
    check_images("pool", pool, distillation)
    if real is not None:
        check_images("real", real, distillation)
    classes = pool.classes
    names = names_of(names, classes)
    require_picture(pool.image_shape)
    newest = pool.images[-1000:]
    # A fixed seed: all students of equal pools see the same noise.
    noise = np.random.default_rng(0).integers(0, 256, newest.shape, "uint8")
    requested = pool.requested[-1000:]
    rows = {"pool": measure_student(distillation, newest, requested)}
    if real is not None:
        rows["real images"] = measure_student(distillation, *real)
    rows["uniform noise"] = measure_student(distillation, noise)
    found = _figures(rows)
    ages = [
        measure_variety(distillation, part) for part in _by_age(pool.images)
    ]
    # Sorted by class, the picture is easy to read.
    order = np.argsort(pool.labels[-100:], kind="stable")
    body = f"""<p>The page compares the student with its teacher on images of a
pool, on real images if there are any, and on noise. The page trains no
network.</p>
<h2>How far the student is from its teacher</h2>
{_table(rows)}
{LEGEND}
{_round_curves(history, synthesis or {})}
<h2>The newest images of the pool</h2>
{page.picture(grid(pool.images[-100:][order], 20, 2), "newest images")}
<h2>The pool, from its oldest images to its newest</h2>
{_age_curves(ages, rows)}
{_confusions(rows, real, names)}
<h2>Figures</h2>
{page.listed({**found, **(figures or {})})}
<p><code>docs/distillation.md</code> explains the figures.</p>"""
    page.write_page(path, f"What {distillation.student.name} learned", body)
    return found


def _figures(rows):
    ours, noise = rows["pool"], rows["uniform noise"]
    real = rows.get("real images")
    figures = {
        f"pool_{name}": ours[name]
        for name in ("agreement", "divergence", "classes", "spread")
    }
    figures["pool_diversity"] = _relative(ours, real)
    figures["pool_diversity_to_noise"] = _relative(ours, noise)
    if real is not None:
        figures |= {
            "agreement": real["agreement"],
            "divergence": real["divergence"],
            "teacher_test_accuracy": real["teacher_accuracy"],
            "student_test_accuracy": real["student_accuracy"],
            "test_images": real["images"],
        }
    return figures


def _relative(row, base):
    return page.ratio(row["spread"], base and base["spread"])


def _table(rows):
    lines = [
        [
            f"{name} ({row['images']})",
            page.percent(row["agreement"]),
            page.number(row["divergence"], 3),
            page.percent(row["teacher_accuracy"]),
            page.percent(row["student_accuracy"]),
            page.number(row["classes"]),
            page.number(row["spread"], 2),
            page.number(_relative(row, rows.get("real images")), 2),
        ]
        for name, row in rows.items()
    ]
    heads = ["images", "agreement", "divergence", "teacher right"]
    heads += ["student right", "classes", "spread", "diversity"]
    return page.table(heads, lines)


def _round_curves(history, synthesis):
    shares = {k: v for k, v in history.items() if k.endswith(SHARES)}
    recognized = synthesis.get("recognized", ())
    losses = {k: v for k, v in history.items() if k in ("loss", "val_loss")}
    # `loss`, the sum of the terms, may change its sign: a logarithmic axis
    # cannot show it.
    terms = {
        k: v
        for k, v in synthesis.items()
        if k not in ("batch", "loss", "recognized") and len(v) > 1
    }
    drawn = []
    if shares:
        caption = "Shares of images, for each round."
        drawn.append(
            charts.curves(shares, caption, logarithmic=False, along="round")
        )
    if losses:
        caption = "The student's loss in each round, on a logarithmic axis."
        drawn.append(charts.curves(losses, caption, along="round"))
    if terms:
        drawn.append(charts.curves(terms, TERMS_CAPTION, along="batch"))
    if len(recognized) > 1:
        lines = {"recognized": recognized}
        drawn.append(
            charts.curves(
                lines, RECOGNIZED_CAPTION, logarithmic=False, along="batch"
            )
        )
    return "".join(["<h2>The rounds</h2>", *drawn] if drawn else [])


def _evenly(images, most):
    """Selects at most `most` images, evenly, because they may be sorted."""
    chosen = np.linspace(0, len(images) - 1, min(most, len(images)))
    return images[chosen.astype(int)]


def _by_age(images, parts=10, each=200):
    """Yields some images of each part of a pool, the oldest part first."""
    for rows in np.array_split(np.arange(len(images)), parts):
        if len(rows):
            yield images[_evenly(rows, each)]


def _age_curves(ages, rows):
    # Parts with too few images of any class have no spread.
    known = [age["spread"] for age in ages if age["spread"] is not None]
    lines = {"pool": known}
    for name in ("real images", "uniform noise"):
        if name in rows and rows[name]["spread"]:
            lines[name] = [rows[name]["spread"]] * len(known)
    return charts.curves(lines, AGE_CAPTION, logarithmic=False, along="part")


def _confusions(rows, real, names):
    if real is None:
        return ""
    return confusions(rows["real images"]["answers"], real[1], names)
