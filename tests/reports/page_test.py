"""Pieces of pages: what they draw is what they are given."""

import re

import numpy as np
import pytest

from tf_deepinversion.reports import charts
from tf_deepinversion.reports import page


def points_of(svg):
    return [
        np.array([point.split(",") for point in line.split()], float)
        for line in re.findall(r'points="([^"]*)"', svg)
    ]


def test_curves_are_linear_or_logarithmic():
    lines = {"a": [0.0, 0.5, 1.0], "b": [1.0, 0.25, 0.0]}
    rise, fall = points_of(charts.curves(lines, "", logarithmic=False))
    np.testing.assert_allclose(rise[:, 0], [60, 320, 580])
    # 220 pixels high, from 10 at the top.
    np.testing.assert_allclose(rise[:, 1], [230, 120, 10])
    np.testing.assert_allclose(fall[:, 1], [10, 175, 230])
    svg = charts.curves({"a": [1.0, 10.0, 100.0], "b": [-100.0, -1.0]}, "")
    rise, fall = points_of(svg)
    np.testing.assert_allclose(rise[:, 1], [230, 120, 10])
    np.testing.assert_allclose(fall[:, 1], [10, 230])
    assert ">a 100<" in svg and ">-b 1<" in svg


def test_no_numbers_no_curve():
    assert charts.curves({}, "") == charts.curves({"a": []}, "caption") == ""
    some = {"a": [3.0]}
    assert charts.curves({**some, "b": []}, "") == charts.curves(some, "")


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_a_gap(wrong):
    assert charts.curves({"a": [wrong]}, "") == ""
    for logarithmic, middle in ((True, 120), (False, 10 + 220 * 90 / 99)):
        lines = {"a": [1.0, 10.0, wrong, 100.0], "b": [wrong]}
        svg = charts.curves(lines, "", logarithmic=logarithmic)
        first, last = points_of(svg)
        np.testing.assert_allclose(
            first, [[60, 230], [233.3, middle]], atol=0.06
        )
        np.testing.assert_allclose(last, [[580, 10]])
        assert ">a 100<" in svg and ">b " not in svg
    svg = charts.curves({"a": [1.0, wrong, 2.0, wrong, 3.0]}, "")
    dots = re.findall('cx="([0-9.]+)" cy="[0-9.]+" r="2"', svg)
    assert dots == ["60.0", "320.0"]  # the last one has a larger dot
    svg = charts.curves({"a": [1.0, wrong]}, "")
    assert f">a {wrong:.3g}<" in svg and 'cx="60.0"' in svg


def test_bars_of_what_is_no_ratio():
    svg = charts.ratio_bars({"a": np.nan, "b": -np.inf, "c": np.inf}, "")
    assert re.findall(r">(\S+ \S+)</text>", svg) == [
        "nan dB",
        "-inf dB",
        "no error",
    ]
    lengths = re.findall(r'width="(\S+)"', svg)
    assert lengths == ["0", "0", f"{charts.BAR}"]
    assert 'width="0"' in charts.bars({"a": (0, 0)}, "")


def test_a_curve_of_one_epoch_is_seen():
    (line,) = points_of(charts.curves({"a": [3.0]}, "caption <&>"))
    assert len(line) == 2 and np.isfinite(line).all()
    assert "caption &lt;&amp;&gt;" in charts.curves({"a": [3.0]}, "caption <&>")


def ticks_of(svg, anchor):
    """The numbers beside an axis, and where they stand."""
    pattern = (
        rf'<text x="(\S+)" y="(\S+)" text-anchor="{anchor}">(-?[\d.e+-]+)<'
    )
    return [tuple(map(float, found)) for found in re.findall(pattern, svg)]


def test_axes_have_round_numbers_where_their_values_are_drawn():
    lines = {"a": list(np.linspace(0, 1, 41))}
    svg = charts.curves(lines, "", logarithmic=False, along="round")
    # 220 pixels high, from 10 at the top; the text is 5 below its line.
    assert ticks_of(svg, "end") == [
        (52, pytest.approx(235 - 220 * v, abs=0.1), v)
        for v in (0, 0.2, 0.4, 0.6, 0.8, 1)
    ]
    at = {v: x for x, _, v in ticks_of(svg, "middle")}
    assert at == pytest.approx(
        {
            v: 60 + 520 * (v - 1) / 40
            for v in (1, 5, 10, 15, 20, 25, 30, 35, 40)
        },
        abs=0.1,
    )
    assert ">round<" in svg


def test_a_logarithmic_axis_has_powers_of_ten():
    svg = charts.curves({"a": [0.02, 3.0, 700.0]}, "")
    decades = np.log10(700 / 0.02)
    assert ticks_of(svg, "end") == [
        (52, pytest.approx(15 + 220 * np.log10(700 / v) / decades, abs=0.1), v)
        for v in (0.1, 1, 10, 100)
    ]
    assert [v for *_, v in ticks_of(svg, "middle")] == [1, 2, 3]
    # Within one power of ten there are round numbers.
    svg = charts.curves({"a": [2.0, 5.0]}, "")
    assert [v for *_, v in ticks_of(svg, "end")] == [
        2,
        2.5,
        3,
        3.5,
        4,
        4.5,
        5,
    ]


def test_zero_does_not_stretch_the_logarithm():
    (line,) = points_of(charts.curves({"a": [0.0, 1.0, 100.0]}, ""))
    # Five powers of ten below the largest are the bottom.
    np.testing.assert_allclose(line[:, 1], [230, 10 + 220 * 2 / 5, 10])


def test_the_darker_the_larger_its_share_of_the_row():
    counts = np.array([[3, 1], [0, 0]])
    shown = page.matrix(counts, ["a", "<b>"])
    cells = re.findall(
        r"rgb\((\d+), (\d+), (\d+)\); color: (\S+?)\">(\d+)", shown
    )
    assert [cell[-1] for cell in cells] == ["3", "1", "0", "0"]
    colors = np.array([cell[:3] for cell in cells], float)
    for color, share in zip(colors, [0.75, 0.25, 0, 0], strict=True):
        expected = (1 - share) * 255 + share * np.array([27, 108, 168])
        np.testing.assert_allclose(color, expected, atol=0.5)
    assert [cell[3] for cell in cells] == ["#fff", "#222", "#222", "#222"]
    assert "&lt;b&gt;" in shown and "<b>" not in shown


def test_tables_lists_and_numbers():
    shown = page.table(["x", "y"], [["a<", "1"], ["b", "2"]], ours="b")
    assert "<tr><td>a&lt;</td><td>1</td></tr>" in shown
    assert '<tr class="ours"><td>b</td><td>2</td></tr>' in shown
    assert page.listed({"a": 1}) == "<ul><li>a: <code>1</code></li></ul>"
    assert (page.percent(0.5), page.percent(None)) == ("50.0 %", "")


def test_a_page_appears_whole(tmp_path):
    path = tmp_path / "deep" / "page.html"
    page.write_page(path, "a & b", "<p>body</p>")
    assert path.read_text().startswith("<!doctype html>")
    assert "<title>a &amp; b</title>" in path.read_text()
    assert "<p>body</p>" in path.read_text()
    assert [p.name for p in path.parent.iterdir()] == ["page.html"]


def test_each_task_has_a_line_of_its_own():
    matrix = [[0.9, 0.0], [0.5, 0.8]]
    assert ">second 0.8<" in charts.accuracy_curves(matrix, ["first", "second"])
    for wrong in (["first"], ["one", "one"], ["one", "all seen"]):
        with pytest.raises(ValueError, match="`names` must name the 2 tasks"):
            charts.accuracy_curves(matrix, wrong)
    assert charts.bars({}, "Nothing") == ""
