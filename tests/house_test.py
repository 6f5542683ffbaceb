"""The house is in order: targets, imports, versions, nothing of one machine."""

import ast
import configparser
import fnmatch
import functools
import graphlib
import os
import pathlib
import re
import tomllib

import mutants
import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGE = "tf_deepinversion"

# The lowest floor first. A room is a folder or a file of the package; its
# modules import from their own room and from rooms on lower floors.
FLOORS = (
    ("backend", "version", "core"),
    ("networks",),
    ("objective", "transforms", "optimizers", "models"),
    ("checkpoints",),
    ("datasets", "metrics"),
    ("inversion",),
    ("callbacks",),
    ("distillation",),
    ("pruning", "incremental", "serving", "quantization"),
    ("reports",),
    ("demo",),
    ("__init__",),
    ("commands",),
)

# The only file that may name what is private of Keras or TensorFlow.
INTERNALS = f"{PACKAGE}/core/keras_internals.py"
# Public in spite of the underscore: the methods of a NamedTuple.
NAMED_TUPLE = {"_asdict", "_fields", "_make", "_replace"}
READERS = {"getattr", "hasattr", "setattr", "original", "replace"}

# A path that only one machine has, but not the middle of a longer path.
ONE_MACHINE = re.compile(rb"(?<![\w.-])/(tmp/bash_jobs|work/|root/)")


def read(name) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def files(pattern="*") -> list[str]:
    """Paths of all files here, those aside that .gitignore leaves out."""
    ignored = {
        ".git",
        *(
            line.strip("/").split("/")[-1]
            for line in read(".gitignore").split()
        ),
    }

    def kept(names):
        return [
            n for n in names if not any(fnmatch.fnmatch(n, i) for i in ignored)
        ]

    found = []
    for folder, folders, names in os.walk(ROOT):
        folders[:] = kept(folders)
        here = pathlib.Path(folder).relative_to(ROOT)
        found += [(here / name).as_posix() for name in kept(names)]
    return sorted(fnmatch.filter(found, pattern))


@functools.cache
def sources() -> dict[str, ast.Module]:
    """The syntax trees of the package by path."""
    return {path: ast.parse(read(path)) for path in files(f"{PACKAGE}/*.py")}


def module_of(path) -> str:
    """The dotted name of a file of the package."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def room(module) -> str:
    """The folder or file of the package that a dotted name lies in."""
    return module.split(".")[1] if "." in module else "__init__"


def floor(module) -> int | None:
    """The floor of a dotted name, or None where FLOORS does not place it."""
    found = [i for i, rooms in enumerate(FLOORS) if room(module) in rooms]
    return found[0] if found else None


def imports(path, tree, modules) -> set[str]:
    """The modules of the package that a file imports, wherever it does."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                pytest.fail(
                    f"{path}:{node.lineno} imports relatively: write "
                    f"`from {PACKAGE}.module import name`."
                )
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                found.add(name if name in modules else node.module)
    return {m for m in found if m.split(".")[0] == PACKAGE}


def evaluate_build() -> dict[str, dict]:
    """The targets of BUILD by name: Starlark is close enough to Python."""
    present, targets = set(files()), {}

    def matching(patterns):
        found = {p for pattern in patterns for p in ROOT.glob(pattern)}
        return {p.relative_to(ROOT).as_posix() for p in found} & present

    def glob(include, exclude=(), allow_empty=False):
        found = matching(include) - matching(exclude)
        if not (found or allow_empty):
            pytest.fail(f"BUILD: glob({include}) finds nothing: mend it.")
        return sorted(found)

    def rule(name, **attributes):
        if name in targets:
            pytest.fail(f"BUILD has two targets named {name!r}: rename one.")
        targets[name] = attributes

    def load(_, *rules):
        known.update(dict.fromkeys(rules, rule))

    known = {"glob": glob, "load": load, "package": lambda **_: None}
    exec(compile(read("BUILD"), "BUILD", "exec"), known)
    return targets


def test_every_python_file_is_in_exactly_one_target():
    targets_of = {path: [] for path in files("*.py")}
    for name, target in evaluate_build().items():
        for path in target.get("srcs", ()):
            targets_of.setdefault(path, []).append(name)
    wrong = {p: t for p, t in targets_of.items() if len(t) != 1}
    assert not wrong, (
        "Each .py file must be in the `srcs` of exactly one target of BUILD. "
        f"Add or remove these there (path: its targets): {wrong}"
    )
    gone = [path for path in targets_of if not (ROOT / path).is_file()]
    assert not gone, f"BUILD names files that are not here: remove {gone}"


def test_imports_point_one_way():
    trees = sources()
    modules = {module_of(path): path for path in trees}
    graph = {
        module: imports(path, trees[path], modules)
        for module, path in modules.items()
    }
    for module, imported in graph.items():
        assert floor(module) is not None, (
            f"{modules[module]} lies in no room of FLOORS in "
            "tests/house_test.py: move it into the folder of its subject."
        )
        for other in imported:
            assert floor(other) is not None, (
                f"{modules[module]} imports {other}, which is not there."
            )
            assert room(other) == room(module) or floor(other) < floor(
                module
            ), (
                f"{modules[module]} imports {other}, whose room is not on a "
                "lower floor. Move what it needs down, hand it in as an "
                "argument, or import from the module that defines it."
            )
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(f"Break the circle of imports: {error.args[1]}")


@pytest.mark.parametrize("path", sources())
def test_source_has_no_assert_and_nothing_private_of_keras(path):
    tree = sources()[path]
    lines = [n.lineno for n in ast.walk(tree) if isinstance(n, ast.Assert)]
    assert not lines, (
        f"`python -O` drops asserts: raise ValueError or TypeError in {path}, "
        f"lines {lines}"
    )
    assert "keras.src" not in ast.unparse(tree), (
        f"{path} names keras.src, which changes without notice: use the "
        "public name, `keras.<...>`."
    )


def private_names(tree, own) -> list[str]:
    """Private names in a file that are not of this package, with lines.

    Attributes of any object, and strings that are such a name as a whole, by
    which `getattr` and the like read one.
    """
    found = []
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(attr=name):
                pass
            case ast.Call(
                func=ast.Name(id=reader), args=[_, ast.Constant(name)]
            ):
                name = name if reader in READERS else ""
            case ast.ImportFrom(module=str(name)) if "." in name:
                name = "_" * name.startswith("tensorflow.python") + name
            case _:
                continue
        private = isinstance(name, str) and re.match("_[^_]", name)
        if private and name not in own | NAMED_TUPLE:
            found.append(f"{name} in line {node.lineno}")
    return found


def test_private_names_are_in_one_file():
    trees = sources()
    own = set()
    for tree in trees.values():
        for node in ast.walk(tree):
            match node:
                case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                    own.add(name)
                case ast.Attribute(ast.Name("self"), name, ast.Store()):
                    own.add(name)
    wrong = {
        path: found
        for path, tree in trees.items()
        if path != INTERNALS and (found := private_names(tree, own))
    }
    assert not wrong, (
        "Keras and TensorFlow may rename what is private without notice: read "
        f"it by a function in {INTERNALS}, with a test. Found: {wrong}"
    )
    assert private_names(trees[INTERNALS], own)


def test_no_paths_of_one_machine():
    found = {
        path: match.group().decode()
        for path in files()
        if (match := ONE_MACHINE.search((ROOT / path).read_bytes()))
    }
    assert not found, (
        "Paths of one machine: write them relative to the repository, or take "
        f"them from a flag. Found: {found}"
    )


def literal_version() -> str:
    """The version as setuptools reads it: without importing the package."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    attribute = config["metadata"]["version"].removeprefix("attr:").strip()
    module, name = attribute.rsplit(".", 1)
    for node in ast.parse(read(module.replace(".", "/") + ".py")).body:
        match node:
            case ast.Assign([ast.Name(id)], ast.Constant(value)) if id == name:
                return value
    pytest.fail(
        f"setup.cfg takes the version from {attribute}: assign it there, as a "
        "literal string."
    )


def test_version_is_one():
    from tf_deepinversion.version import __version__

    assert literal_version() == __version__, (
        "setup.cfg must take the version from tf_deepinversion/version.py, "
        "where it is a literal string."
    )
    for name, pattern in {
        "CHANGELOG.md": r"^## (\S+)",
        "CITATION.cff": r"^version: (\S+)",
        "MODULE.bazel": r'version = "(\S+)"',
    }.items():
        match = re.search(pattern, read(name), re.MULTILINE)
        assert match and match[1] == __version__, (
            f"The first version in {name} must be {__version__}, as in "
            f"tf_deepinversion/version.py. Found: {match and match[1]}"
        )


def test_metadata_is_in_setup_cfg():
    assert "project" not in tomllib.loads(read("pyproject.toml")), (
        "A [project] table in pyproject.toml makes setuptools ignore the "
        "metadata in setup.cfg: move it there."
    )


def test_each_mutant_is_of_the_present_code():
    mutants.require_planted()


def test_no_two_files_of_tests_have_one_name():
    """Pytest imports them by their names alone."""
    names = [pathlib.Path(path).name for path in files("*_test.py")]
    assert sorted(names) == sorted(set(names))
