"""The guides run, and their notebooks are in step with them."""

import json
import pathlib
import re
import runpy

import pytest

GUIDES = pathlib.Path(__file__).parent.parent / "guides"
NOTEBOOKS = runpy.run_path(str(GUIDES / "notebooks.py"))
NAMES = NOTEBOOKS["NAMES"]


def smaller(source):
    """A guide with 2 steps and rounds, and an image of each of ten classes."""
    small, count = re.subn(
        r"^((?:STEPS|ROUNDS)\w*) = \d+", r"\1 = 2", source, flags=re.M
    )
    assert count, "The guide has no constant that makes it small."
    return re.sub(r"^(IMAGES\w*) = \d+", r"\1 = 10", small, flags=re.M)


def test_every_guide_has_a_notebook():
    found = {path.stem for path in GUIDES.glob("*.py")} - {"notebooks"}
    assert found == set(NAMES) == {x.stem for x in GUIDES.glob("*.ipynb")}


@pytest.mark.parametrize("name", NAMES)
def test_notebooks_are_in_step(name):
    """`python guides/notebooks.py` makes them."""
    source = (GUIDES / f"{name}.py").read_text()
    notebook = (GUIDES / f"{name}.ipynb").read_text()
    assert notebook == NOTEBOOKS["notebook"](source)


def test_text_and_code_are_told_apart():
    source = '"""\nTitle: T\nAuthor: A\nDate created: 1\nLast modified: 2\n'
    source += 'Description: D\n"""\n\nx = 1\n\n"""\n## Two\n"""\n\n"a" + "b"\n'
    cells = json.loads(NOTEBOOKS["notebook"](source))["cells"]
    assert [cell["cell_type"] for cell in cells] == [
        "markdown",
        "code",
        "markdown",
        "code",
    ]
    assert cells[0]["source"][0] == "# T\n"
    texts = ["".join(cell["source"]) for cell in cells[1:]]
    assert texts == ["x = 1", "## Two", '"a" + "b"']


@pytest.mark.parametrize(
    "name",
    [
        # It distills, prunes and quantizes.
        pytest.param(name, marks=pytest.mark.slow if "smaller" in name else ())
        for name in NAMES
    ],
)
def test_guides_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = GUIDES / f"{name}.py"
    exec(compile(smaller(path.read_text()), str(path), "exec"), {})  # noqa: S102
