"""Writes one self-contained HTML page about one inversion."""

import html

import numpy as np

from tf_deepinversion.core.labels import names_of
from tf_deepinversion.core.pictures import grid
from tf_deepinversion.core.pictures import require_picture
from tf_deepinversion.metrics import diversity
from tf_deepinversion.metrics import recognition
from tf_deepinversion.networks import reader
from tf_deepinversion.networks.batch_norm_moments import batch_norms
from tf_deepinversion.reports import charts
from tf_deepinversion.reports import page
from tf_deepinversion.reports.confusions import confusions

SHARES_CAPTION = (
    "Shares of the images at the last step of each epoch. Recognized: the "
    "teacher predicts the label. Accuracy: a verifier predicts the label."
)


CAPTION = (
    "Each term times its weight, at the end of each epoch, on a logarithmic "
    "axis. The last value stands at the right."
)


def measure_images(
    images,
    labels,
    teacher,
    preprocessing,
    verifier=None,
    seconds=None,
    *,
    targets=None,
) -> dict:
    """Measures a set of images; figures that need missing data are None.

    Args:
        images: uint8 array `(n, height, width, channels)`.
        labels: Int array `(n,)`.
        teacher: A `keras.Model`.
        preprocessing: The teacher's `Preprocessing`.
        verifier: Another network with the teacher's classes, known by its name,
            which sees the images at its own size; or None. Defaults to None.
        seconds: Float, duration of the synthesis in seconds, or None. Defaults
            to None.
        targets: `FeatureTargets` of the teacher, or None. Without them and
            without BatchNormalization there is no `feature_distance`. Defaults
            to None.

    Returns:
        A dict of figures.

    Example:
        >>> given = di.Preprocessing.of(teacher)
        >>> row = di.reports.measure_images(images, labels, teacher, given)
        >>> sorted(row)[:3]
        ['feature_distance', 'seconds', 'spread']
    """
    spread = verified = None
    if verifier is not None:
        shown = reader.resized(images, verifier)
        verified = recognition.accuracy(verifier, shown, labels)
        # The spread within a class needs a class with two images.
        if np.bincount(labels).max() > 1:
            features = reader.penultimate_features(verifier, shown)
            spread = diversity.within_class_spread(features, labels)
    distance = None
    if targets is not None or batch_norms(teacher):
        distance = recognition.feature_distance(
            teacher, images, preprocessing, targets
        )
    return {
        "teacher_accuracy": recognition.accuracy(
            teacher, images, labels, preprocessing
        ),
        "verifier_accuracy": verified,
        "feature_distance": distance,
        "spread": spread,
        "seconds": seconds,
    }


def report_inversion(
    path,
    *,
    title,
    sets,
    rows,
    labels,
    names,
    history,
    figures,
    student=None,
):
    """Writes the page, atomically.

    Args:
        path: Path of the HTML file.
        title: String.
        sets: Dict from names to uint8 images `(n, height, width, channels)`.
            The page shows `"DeepInversion"` and, if present, `"real images"`
            class by class: at least 20 classes, and up to 100 classes of small
            images.
        rows: Dict from the same names to results of `measure_images`.
        labels: Int array `(n,)`, the labels of every set.
        names: List of the names of the classes, or None.
        history: Dict from names of terms to lists with one value per epoch.
        figures: Dict, printed as a list.
        student: String of HTML, a part of the page about a student, or None.
            Defaults to None.

    Raises:
        ValueError: if there are fewer names than classes, or images have
            channels that no picture has.

    Example:
        ```python
        di.reports.report_inversion(
            "report.html",
            title="What my network remembers",
            sets={"DeepInversion": images},
            rows={"DeepInversion": row},
            labels=labels,
            names=names,
            history=history.history,
            figures={"steps": 500},
        )
        ```
    """
    names = names_of(names, int(np.max(labels)) + 1)
    for images in sets.values():
        require_picture(np.shape(images)[1:])
    body = f"""<p>The library synthesized these images from a trained network
alone. It read no image that the network was trained on. Each image was
optimized for one class, with nothing but the network's weights and its
BatchNormalization statistics.</p>
<h2>How good the images are</h2>
{_table(rows)}
<p><b>Teacher</b>: the share of images that the inverted network recognizes as
the requested class. <b>Verifier</b>: the same share for another network, which
took no part in the synthesis. <b>Statistics distance</b>: the paper's
R<sub>feature</sub> of the pixels as saved; real images have a distance above 0,
because a batch is a sample. <b>Diversity</b>: the spread of the verifier's
features within a class, divided by the spread of real images; copies of one
picture have a diversity of 0.</p>
<h2>What the network remembers, class by class</h2>
{_classes(sets, labels, names)}
<h2>The terms of the objective</h2>
{_curves(history)}
{student or ""}
<h2>Figures</h2>
{page.listed(figures)}
<h2>What to do next</h2>
<ul>
<li>Invert your own network: <code>python examples/invert.py
--teacher=FILE.keras --mean=... --std=... --pixel_range=0,255</code></li>
<li>Use the images as data:
<code>keras.utils.image_dataset_from_directory</code> reads the folder
<code>images</code> beside this page.</li>
<li>Read what the terms mean, and what to do when something goes wrong:
<code>docs/inversion.md</code>.</li>
<li>Protect private data: synthesized images can show what the training data
showed. If a network was trained on private data, keep its images private.</li>
</ul>"""
    page.write_page(path, title, body)


def _table(rows):
    # Diversity is relative to real images, so it needs them.
    real = rows.get("real images", {}).get("spread")
    lines = []
    for name, row in rows.items():
        diversity = page.ratio(row["spread"], real)
        lines.append(
            [
                name,
                page.percent(row["teacher_accuracy"]),
                page.percent(row["verifier_accuracy"]),
                page.number(row["feature_distance"], 2),
                page.number(diversity, 2),
                page.number(row["seconds"], 0, 1, " s"),
            ]
        )
    heads = ["images", "teacher", "verifier"]
    heads += ["statistics distance", "diversity", "time"]
    return page.table(heads, lines, ours="DeepInversion")


def _classes(sets, labels, names, shown=10):
    classes, lines = np.unique(labels), []
    most = _most_classes(sets["DeepInversion"][0].shape, shown)
    if len(classes) > most:
        lines.append(
            f"<p>{most} of {len(classes):,} classes, evenly chosen. A page "
            "with all classes would be too large to open.</p>"
        )
        # Evenly spaced, so that every part of the list of classes is shown.
        places = np.linspace(0, len(classes) - 1, most).astype(int)
        classes = classes[places]
    lines.append(
        '<div class="class"><b>class</b><b>synthesized</b><b>real</b></div>'
    )
    for c in classes:
        ours = sets["DeepInversion"][labels == c][:shown]
        line = f"<span>{html.escape(names[c])}</span>"
        line += page.picture(grid(ours, 5, scale=2), f"synthesized {names[c]}")
        if "real images" in sets:
            real = sets["real images"][labels == c][:shown]
            line += page.picture(grid(real, 5, scale=2), f"real {names[c]}")
        lines.append(f'<div class="class">{line}</div>')
    return "\n".join(lines)


def _most_classes(image_shape, shown, pixels=2**24):
    """Returns the number of classes on a page, 20 for large images."""
    height, width, _ = image_shape
    return min(100, max(20, pixels // (height * width * shown)))


def _curves(history):
    shares = {
        name: values
        for name, values in history.items()
        if name == "recognized" or name.endswith("accuracy")
    }
    # Shares need a linear axis, loss terms a logarithmic axis.
    terms = {k: v for k, v in history.items() if k not in shares}
    drawn = charts.curves(terms, CAPTION)
    if shares:
        drawn += charts.curves(shares, SHARES_CAPTION, logarithmic=False)
    return drawn


def student_part(figures, labels, answers, names) -> str:
    """Builds the part of the page about a student.

    Args:
        figures: Dict of `teacher_test_accuracy`, `student_test_accuracy`,
            `student_agreement`, `student_parameters_ratio` and
            `student_seconds`.
        labels: Int array `(n,)`, the true classes of the real images.
        answers: Int array `(n,)`, the student's predictions for them.
        names: List of the names of the classes.

    Returns:
        HTML.
    """
    share = figures["student_parameters_ratio"]
    lines = [
        [
            "teacher",
            page.percent(1.0),
            page.percent(figures["teacher_test_accuracy"]),
            "",
        ],
        [
            "student",
            page.percent(share),
            page.percent(figures["student_test_accuracy"]),
            page.percent(figures["student_agreement"]),
        ],
    ]
    heads = ["network", "weights", "real images", "agreement"]
    return f"""<h2>A smaller network, trained on synthesized images alone</h2>
<p>The student trained on synthesized images for
{figures["student_seconds"]:.0f} seconds. <b>Real images</b>: the share of
{len(labels):,} real images that the network recognizes; nothing here trained on
these images. <b>Agreement</b>: the share of these images for which student and
teacher predict the same class.</p>
{page.table(heads, lines, ours="student")}
{confusions(answers, labels, names)}"""
