"""Accuracy after each task, forgetting, and the picture of both."""

import numpy as np
import pytest

from tf_deepinversion.incremental import average_incremental_accuracy
from tf_deepinversion.incremental import forgetting
from tf_deepinversion.incremental import seen_accuracies
from tf_deepinversion.reports import accuracy_picture
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
    for measure in (seen_accuracies, forgetting, accuracy_picture):
        with pytest.raises(ValueError, match="Received"):
            measure(matrix)


def test_the_picture_shows_each_line_at_its_height():
    picture = accuracy_picture(MATRIX, ["a", "b", "c"])
    assert picture.dtype == np.uint8 and picture.shape[2] == 3
    black = (picture == 0).all(-1)
    # The dot of "all seen" at the end: 60 % of 220 pixels up.
    assert black[12 + round(220 * 0.4), 48 + 420]
    assert not np.array_equal(picture, accuracy_picture(np.eye(3)))


def test_the_report_holds_every_figure(tmp_path):
    rows = [row[: i + 1] for i, row in enumerate(MATRIX)]
    write_report(
        tmp_path / "report.html",
        title="a & b",
        names=["one", "two", "three"],
        accuracies=rows,
        figures={"forgetting": forgetting(MATRIX)},
        pictures={"lines": accuracy_picture(MATRIX)},
    )
    page = (tmp_path / "report.html").read_text()
    for row in rows:
        for value in row:
            assert f"<td>{100 * value:.1f} %</td>" in page
    assert "a &amp; b" in page and "data:image/png;base64," in page
