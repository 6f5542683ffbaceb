"""What the README and the docs show, runs."""

import ast
import inspect
import pathlib
import re
import runpy
import types

import pytest

import tf_deepinversion
import tf_deepinversion_command as command_line

ROOT = pathlib.Path(__file__).parent.parent
INDEX = ROOT / "docs/index.md"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.S)


# Those that train networks, or run under strategies.
LONG = {
    "README.md",
    "distillation.md",
    "incremental.md",
    "index.md",
    "inversion.md",
    "pruning.md",
    "quantization.md",
    "strategies.md",
    "teachers.md",
}


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=pytest.mark.slow if page.name in LONG else ())
        for page in PAGES
        if blocks(page, "python")
    ],
    ids=lambda page: page.name,
)
def test_python_snippets_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(blocks(page, "python"), page)


def run(snippets, page):
    namespace = {}
    for block in snippets:
        exec(compile(block, str(page), "exec"), namespace)  # noqa: S102


def test_the_readme_s_snippets_run_in_one_step(tmp_path, monkeypatch, eagerly):
    monkeypatch.chdir(tmp_path)
    found = "".join(blocks(ROOT / "README.md", "python"))
    short, count = re.subn(r"\bsteps=\d+", "steps=1", found)
    assert count, "The README inverts nothing."
    run([short], ROOT / "README.md")
    assert {path.name for path in tmp_path.iterdir()} == {
        "garments.png",
        "shown.png",
    }


def with_siblings(script):
    """The source of a script and of the modules beside it that it imports."""
    source = script.read_text()
    for name in re.findall(r"^import (\w+)$", source, re.M):
        sibling = script.with_name(f"{name}.py")
        source += sibling.read_text() if sibling.exists() else ""
    return source


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_exist(page):
    makefile = (ROOT / "Makefile").read_text()
    for block in blocks(page, "(?:bash|shell|sh|console)"):
        for command in block.replace("\\\n", " ").splitlines():
            words = command.split()
            if words[:1] == ["make"]:
                assert re.search(rf"^{words[1]}:", makefile, re.M), command
            if words[:1] == ["tf-deepinversion"]:
                assert command_line.parser().parse_args(words[1:])
            if words[:1] == ["python"] and words[1].endswith(".py"):
                source = with_siblings(ROOT / words[1])
                for flag in re.findall(r" --(?:no)?(\w+)", command):
                    assert f'"{flag}"' in source, f"{flag} in: {command}"


def anchors(page):
    """The anchors of a page's headings, as GitHub and MyST make them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    titles = re.findall(r"^#+ (.*)$", text, re.M)
    return {
        re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        for title in titles
    }


def links(page):
    """The relative links of a page, outside of its code: (path, anchor)."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not target.startswith(("http", "mailto")):
            path, _, anchor = target.partition("#")
            yield (page.parent / path if path else page), anchor


LINKED = [
    *PAGES,
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "guides").glob("*.py")),
]


@pytest.mark.parametrize("page", LINKED, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for path, anchor in links(page):
        assert path.exists(), f"{page.name}: {path}"
        if anchor:
            assert anchor in anchors(path), f"{page.name}: {path}#{anchor}"


def test_a_link_that_leads_nowhere_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A title, `here`\n[a](#a-title-here) [b](gone.md#x)\n")
    assert anchors(page) == {"a-title-here"}
    assert list(links(page)) == [
        (page, "a-title-here"),
        (tmp_path / "gone.md", "x"),
    ]


def messages():
    """The texts of the package, `{}` in place of each value."""
    for path in (ROOT / "tf_deepinversion").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                yield "".join(
                    v.value if isinstance(v, ast.Constant) else "{}"
                    for v in node.values
                )
            elif isinstance(node, ast.Constant):
                yield str(node.value)


def test_the_errors_that_the_pages_explain_are_raised():
    """Tables headed "you see" quote errors; `...` stands for other words."""
    texts, quoted = list(messages()), 0
    for page in PAGES:
        for table in re.findall(
            r"^\| you see .*\n((?:\|.*\n)+)", page.read_text(), re.M
        ):
            for cell in re.findall(r"^\|(.*?) \|", table, re.M):
                for quote in re.findall("`([^`]+)`", cell):
                    parts = [part.strip() for part in quote.split("...")]
                    assert any(
                        all(part in text for part in parts) for text in texts
                    ), f"{page.name}: {quote}"
                    quoted += 1
    assert quoted > 10


def test_the_reference_has_a_page_for_each_namespace():
    """Sphinx puts each public name of a namespace on its page."""
    namespaces = {
        name
        for name, value in vars(tf_deepinversion).items()
        if isinstance(value, types.ModuleType)
        and not name.startswith("_")
        and re.search(
            rf"^from tf_deepinversion import {name}$",
            pathlib.Path(tf_deepinversion.__file__).read_text(),
            re.M,
        )
    } - {"backend"}  # it chooses TensorFlow, and holds no name
    conf = runpy.run_path(str(ROOT / "docs/conf.py"))
    assert conf["NAMESPACES"] == namespaces
    for name in namespaces:
        page = (ROOT / f"docs/api/{name}.md").read_text()
        assert f"automodule:: tf_deepinversion.{name}\n" in page


# In reST, a bar opens a substitution, and a quoted name ends at a space or a
# point: `make docs` fails at both.
NOT_REST = re.compile(r"(?<![\w|])\|\w|(?<=`)\w")
CODE = re.compile(r"```.*?```|^ *>>>.*?(\n\n|\Z)|``.*?``", re.M | re.S)


def test_what_the_reference_shows_is_rest():
    spaces = runpy.run_path(str(ROOT / "docs/conf.py"))["NAMESPACES"]
    shown = [vars(tf_deepinversion)[name] for name in spaces]
    public = [
        value
        for space in (tf_deepinversion, *shown)
        for value in vars(space).values()
        if getattr(value, "__module__", "").startswith("tf_deepinversion")
    ]
    public += [
        method
        for value in public
        for name, method in vars(value).items()
        if callable(method) and not name.startswith("_")
    ]
    texts = [inspect.getdoc(value) or "" for value in (*shown, *public)]
    assert len(texts) > 300
    for text in texts:
        plain = re.sub("`[^`]*`", "`", CODE.sub("", text))
        assert not NOT_REST.findall(plain), text


def test_the_index_lists_every_page():
    listed = re.findall(r"^(\w+(?:/\w+)?)$", INDEX.read_text(), re.M)
    pages = [
        str(page.relative_to(INDEX.parent).with_suffix(""))
        for page in (ROOT / "docs").rglob("*.md")
        if "_build" not in page.parts and page != INDEX
    ]
    assert sorted(listed) == sorted(pages)


def test_no_name_of_the_top_level_is_left_out():
    conf = runpy.run_path(str(ROOT / "docs/conf.py"))
    assert conf["shown_by"]("RefreshPool") == "callbacks"
    assert conf["shown_by"]("Pool") == "datasets"
    assert conf["shown_by"]("DeepInversion") == "inversion"
    assert conf["shown_by"]("Preprocessing") == "networks"
    assert conf["shown_by"]("export") is None
