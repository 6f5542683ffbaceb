"""The page about a student, and figures that reveal a collapse."""

import re

import keras
import numpy as np
import pytest
from inversions import NORMALIZED
from tiny import CLASSES
from tiny import SHAPE
from tiny import learned_teacher
from tiny import tiny_teacher

from tf_deepinversion import Pool
from tf_deepinversion.distillation import Distilled
from tf_deepinversion.distillation import _distillation
from tf_deepinversion.metrics import diversity
from tf_deepinversion.metrics import recognition
from tf_deepinversion.networks import reader
from tf_deepinversion.reports import save_student
from tf_deepinversion.reports import student_report
from tf_deepinversion.reports.confusions import confusions as of_student
from tf_deepinversion.reports.student_report import measure_student
from tf_deepinversion.reports.student_report import measure_variety
from tf_deepinversion.reports.student_report import report_student

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (90, *SHAPE), "uint8")
LABELS = RANDOM.integers(0, CLASSES, 90)


def some_distillation(all_classes=True):
    """A teacher sees all classes in the images, or one."""
    teacher = learned_teacher()
    if all_classes:
        head = teacher.layers[-1]
        head.bias.assign(head.bias - logits_of(teacher, IMAGES).mean(0))
    return _distillation.Distillation(
        teacher, tiny_teacher(1), NORMALIZED, NORMALIZED
    )


def logits_of(network, images):
    return network(NORMALIZED.normalize(images), training=False).numpy()


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_a_student_is_measured_by_its_logits():
    model = some_distillation()
    t = logits_of(model.teacher, IMAGES)
    s = logits_of(model.student, IMAGES)
    found = measure_student(model, IMAGES, LABELS)
    p, q = softmax(t), softmax(s)
    kl = (p * np.log(p / q)).sum(-1).mean()
    assert found["divergence"] == pytest.approx(kl, rel=1e-4)
    same = t.argmax(-1) == s.argmax(-1)
    assert found["agreement"] == pytest.approx(same.mean())
    right = (s.argmax(-1) == LABELS).mean()
    assert found["student_accuracy"] == pytest.approx(right)
    right = (t.argmax(-1) == LABELS).mean()
    assert found["teacher_accuracy"] == pytest.approx(right)
    np.testing.assert_array_equal(found["answers"], s.argmax(-1))
    features = reader.penultimate_features(model.teacher, IMAGES, NORMALIZED)
    assert found["classes"] > 2
    assert found["spread"] == pytest.approx(
        diversity.within_class_spread(features, t.argmax(-1))
    )
    assert measure_student(model, IMAGES)["teacher_accuracy"] is None


@pytest.mark.parametrize(
    ("outputs", "activation"),
    [(CLASSES, None), (CLASSES, "softmax"), (1, None), (1, "sigmoid")],
)
def test_the_saved_model_is_compared_with_the_outputs_of_the_student(
    tmp_path, outputs, activation
):
    """Not with the logits of the library, which probabilities are not."""
    layers = keras.layers
    teacher, student = (
        keras.Sequential(
            [
                keras.Input(SHAPE),
                layers.Conv2D(3, 3),
                layers.BatchNormalization(),
                layers.GlobalAveragePooling2D(),
                layers.Dense(outputs, activation=activation),
            ]
        )
        for _ in range(2)
    )
    model = _distillation.Distillation(teacher, student, NORMALIZED, NORMALIZED)
    pool = Pool.of(IMAGES, LABELS % 2, 2 if outputs == 1 else CLASSES)
    distilled = Distilled(student, {"agreement": [0.5]}, pool, None)
    found = save_student(tmp_path, model, distilled)
    assert found["saved_model_max_difference"] < 1e-5


def test_floats_are_refused_where_they_would_be_black():
    model = some_distillation()
    for measure in (measure_student, measure_variety):
        with pytest.raises(TypeError, match="images of dtype float64"):
            measure(model, IMAGES / 255.0)


def test_the_spread_is_of_all_parts_of_sorted_images():
    model = some_distillation()
    many = np.repeat(IMAGES, 20, axis=0)  # 1,800: the last 40 are no 1,000
    said = logits_of(model.teacher, IMAGES).argmax(-1)
    order = np.argsort(np.repeat(said, 20), kind="stable")
    found = measure_student(model, many[order])
    assert found["classes"] == pytest.approx(
        diversity.effective_classes(said), rel=0.01
    )


def test_a_collapse_is_seen_where_pixels_do_not_show_it():
    """One picture again and again, each time with noise of its own."""
    model = some_distillation(all_classes=False)
    scale = np.linspace(0, 255, 60)[RANDOM.permutation(60), None, None, None]
    wide = (scale + 0.05 * IMAGES[:60]).clip(0, 255).astype("uint8")
    noise = RANDOM.normal(size=wide.shape) * 60
    narrow = (wide[:1] + noise).clip(0, 255).astype("uint8")
    one = np.repeat(wide[:1], 60, axis=0)
    figures = {
        name: measure_variety(model, images)
        for name, images in (("wide", wide), ("narrow", narrow), ("one", one))
    }
    assert figures["one"]["spread"] == pytest.approx(0, abs=1e-5)
    assert figures["one"]["classes"] == 1
    same = np.zeros(60, int)

    def of_pixels(images):
        flat = images.reshape(60, -1) / 255
        return diversity.within_class_spread(flat, same)

    ratio = figures["narrow"]["spread"] / figures["wide"]["spread"]
    assert ratio < 0.25
    assert of_pixels(narrow) / of_pixels(wide) > 0.5


def write(path, **kwargs):
    pool = Pool(200, SHAPE, CLASSES)
    pool.add(IMAGES, (LABELS + 1) % CLASSES, requested=LABELS)
    history = {
        "loss": [3.0, 2.0],
        "agreement": [0.4, 0.5],
    }
    synthesis = {
        "batch": [0, 1],
        "loss": [1.0, -1.0],
        "cross_entropy": [2.0, 1.0],
        "agreed_divergence": [0.0, -2.0],
    }
    model = some_distillation()
    figures = report_student(
        path, model, history, pool, synthesis=synthesis, **kwargs
    )
    return model, figures, path.read_text()


def test_the_page_holds_it_all_and_needs_no_other_file(tmp_path):
    real = IMAGES[::-1][:50], LABELS[:50]
    names = ["one", "two", "<three>"]
    model, figures, page = write(
        tmp_path / "report.html", real=real, names=names, figures={"x": 17}
    )
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert page.count("data:image/png;base64,") == 1  # the newest images
    assert page.count("<polyline") == 1 + 1 + 2 + 3
    for text in (">agreement 0.5<", ">loss 2<", ">-agreed_divergence 2<"):
        assert text in page
    assert "&lt;three&gt;" in page and "<code>17</code>" in page
    said = logits_of(model.student, real[0]).argmax(-1)
    oracle = np.zeros((3, 3), int)
    for row, column in zip(real[1], said, strict=True):
        oracle[row, column] += 1
    cells = re.findall(r'<td style="[^"]*">(\d+)<', page)
    np.testing.assert_array_equal(np.array(cells, int).reshape(3, 3), oracle)
    assert figures["student_test_accuracy"] == np.trace(oracle) / 50
    assert figures["test_images"] == 50
    ours = measure_variety(model, IMAGES)["spread"]
    theirs = measure_variety(model, real[0])["spread"]
    assert figures["pool_diversity"] == pytest.approx(ours / theirs)


def test_names_are_checked_before_anything_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(student_report, "measure_student", None)
    for names, error in ((["a", "b"], "all 3 classes"), ("ab", "all 3")):
        with pytest.raises(ValueError, match=error):
            write(tmp_path / "report.html", names=names)


def test_names_may_be_an_array(tmp_path):
    real = IMAGES[:20], LABELS[:20]
    for names in (np.array(["one", "two", "three"]), [1, 2, 3]):
        page = write(tmp_path / "report.html", real=real, names=names)[2]
        assert all(f"<th>{name}</th>" in page for name in names)


def test_without_real_images(tmp_path):
    model, figures, page = write(tmp_path / "report.html")
    # The share that is recognized: by what was asked for.
    said = logits_of(model.teacher, IMAGES).argmax(-1)
    row = page.split("pool (90)")[1].split("</tr>")[0]
    assert f">{100 * (said == LABELS).mean():.1f} %<" in row
    assert figures["pool_diversity"] is None and "agreement" not in figures
    assert figures["pool_diversity_to_noise"] > 0
    assert 0 <= figures["pool_agreement"] <= 1
    assert "predicts for real images" not in page and "class 2" not in page


def confusions(classes, images=300):
    labels, said = RANDOM.integers(0, classes, (2, images))
    names = [f"<{c}>" for c in range(classes)]
    shown = of_student(said, labels, names)
    cells = re.findall("<td>&lt;(.*?)&gt;</td><td>&lt;(.*?)&gt;</td>", shown)
    counts = recognition.confusion(labels, said, classes)
    return shown, [counts[int(a), int(b)] for a, b in cells], counts


@pytest.mark.parametrize(
    ("classes", "text", "pairs"),
    [
        (20, 'class="matrix"', 10),
        (21, "<img", 10),
        (200, "<img", 10),
        (201, "matrix of 201 classes is not drawn", 50),
    ],
)
def test_few_classes_are_drawn_and_of_many_the_most_confused(
    classes, text, pairs
):
    shown, listed, counts = confusions(classes)
    assert text in shown and len(listed) == pairs
    np.fill_diagonal(counts, 0)
    assert listed == sorted(counts.ravel(), reverse=True)[:pairs]


def test_no_matrix_of_all_classes_is_made():
    labels = np.array([0, 999_999, 999_999])  # its square has 8 TB
    names = [str(c) for c in range(1_000_000)]
    shown = of_student(labels[::-1], labels, names)
    assert "<td>999999</td><td>0</td><td>1</td>" in shown


def test_parts_without_two_images_of_a_class_are_no_collapse(monkeypatch):
    drawn = []
    monkeypatch.setattr(
        student_report.charts,
        "curves",
        lambda lines, *_, **__: drawn.append(lines),
    )
    ages = [{"spread": 2.0}, {"spread": None}, {"spread": 0.0}]
    student_report._age_curves(ages, {"real images": {"spread": 3.0}})
    assert drawn == [{"pool": [2.0, 0.0], "real images": [3.0, 3.0]}]
