"""Accuracy after each task, forgetting, and the picture of both."""

import re

import numpy as np
import pytest

from tf_deepinversion.incremental import average_incremental_accuracy
from tf_deepinversion.incremental import forgetting
from tf_deepinversion.incremental import seen_accuracies
from tf_deepinversion.reports import accuracy_curves
from tf_deepinversion.reports.tasks_report import write_report

NAN = np.nan
MATRIX = [[0.9, NAN, NAN], [0.95, 0.8, NAN], [0.5, 0.7, 0.6]]


def test_by_hand():
    np.testing.assert_allclose(seen_accuracies(MATRIX), [0.9, 0.875, 0.6])
    found = average_incremental_accuracy(MATRIX)
    assert found == pytest.approx((0.9 + 0.875 + 0.6) / 3)
    # The first task was best after the second.
    assert forgetting(MATRIX) == pytest.approx(((0.95 - 0.5) + 0.1) / 2)


def test_one_task_forgets_nothing_and_gains_count():
    assert forgetting([[0.7]]) == 0
    assert forgetting([[0.5, NAN], [0.6, 0.9]]) == pytest.approx(-0.1)


def test_any_matrix():
    random = np.random.default_rng(0)
    matrix = random.random((6, 6))
    falls = [
        max(matrix[t][i] for t in range(i, 5)) - matrix[5][i] for i in range(5)
    ]
    assert forgetting(matrix) == pytest.approx(sum(falls) / 5)


@pytest.mark.parametrize("matrix", [[], [[0.5, 0.5]], [[NAN]], [[1.5]]])
def test_no_matrix(matrix):
    for measure in (seen_accuracies, forgetting, accuracy_curves):
        with pytest.raises(ValueError, match="Received"):
            measure(matrix)


def test_the_picture_shows_each_line_at_its_height():
    picture = accuracy_curves(MATRIX, ["a", "b", "c"])
    dots = re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', picture)
    x, y = np.array(dots, float).T
    assert set(x) == {580}  # all end with the last task
    # From 95 % at the top, in pixel 10, to 50 % in pixel 230.
    at = 10 + 220 * (0.95 - np.array([0.5, 0.7, 0.6, 0.6])) / 0.45
    np.testing.assert_allclose(y, at, atol=0.06)
    points = re.findall(r'points="([^"]*)"', picture)
    assert [len(line.split()) for line in points] == [3, 2, 1, 3]
    assert ">all seen 0.6<" in picture and ">b 0.7<" in picture
    assert picture != accuracy_curves(np.eye(3))


def test_the_report_holds_every_figure(tmp_path):
    rows = [row[: i + 1] for i, row in enumerate(MATRIX)]
    write_report(
        tmp_path / "report.html",
        title="a & b",
        names=["one", "two", "three"],
        accuracies=rows,
        figures={"forgetting": forgetting(MATRIX)},
    )
    page = (tmp_path / "report.html").read_text()
    for row in rows:
        for value in row:
            assert f"<td>{100 * value:.1f} %</td>" in page
    assert "a &amp; b" in page and "<svg" in page
