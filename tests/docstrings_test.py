"""The examples in docstrings that doctest leaves out run, in fewer steps.

They are too slow for every change: networks are trained in them.
"""

import ast
import functools
import pathlib
import re
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf

import conftest
import tf_deepinversion as di

PACKAGE = pathlib.Path(di.__file__).parent
# What an example names, and the smallest that does the same.
FEWER = {
    "rounds": 1,
    "steps": 2,
    "batches": 1,
    "images": 6,
    "epochs": 1,
}
# Files that no package of the tests brings, and Ray. All have tests of their
# own; here the examples must be Python.
NEEDS_MORE = (
    "read_torch_legacy",
    "load_idx",
    "load_digits",
    "load_split",
    "synthesize_on_ray",
)


def fenced_examples():
    """(place, source) of each ```python block of a docstring."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(
                node, ast.FunctionDef | ast.ClassDef | ast.Module
            ):
                continue
            text = ast.get_docstring(node) or ""
            for block in re.findall(r"```python\n(.*?)```", text, re.S):
                name = getattr(node, "name", "module")
                yield f"{path.stem}.{name}", textwrap.dedent(block)


def shortened(source):
    """The example, with numbers that take seconds."""
    for name, least in FEWER.items():
        source = re.sub(rf"\b{name}=\d+", f"{name}={least}", source)
    source = source.replace("di.balanced_labels(10, 100)", "[0, 1]")
    source = source.replace("/shared/run", "run").replace(
        "worker=3, workers=8",
        "worker=0, workers=1, batches=1, images=6, steps=2",
    )
    return source.replace("(28, 28, 1), classes", "(8, 8, 1), classes")


class Surroundings(dict):
    """What the examples take for granted, each made when it is named."""

    def __missing__(self, name):
        if name not in MADE:
            raise KeyError(name)  # which sends Python to the builtins
        self[name] = MADE[name](self)
        return self[name]


def pool(given):
    made = di.datasets.Pool(12, (8, 8, 1), 3)
    made.add(given["images"], given["labels"])
    return made


def synthesized(given, network, classes, folder, seed):
    """Noise for images of the classes that a network knows."""
    made = di.datasets.Pool(12, (8, 8, 1), max(classes) + 1)
    made.add(given["images"], np.resize(classes, 12))
    return made


def numbered(given, first):
    return given["labels"] + first


def learned(given):
    """Two tasks, learned: the second of the classes 3 to 5."""
    tasks = [(given["images"], numbered(given, 3))]
    return di.learn_tasks(
        given["teacher"], tasks, di.incremental.methods.lwf(), epochs=1
    )


MADE = {
    "content": lambda given: di.quantization.to_litert(given["teacher"]),
    "pool": pool,
    "keep": lambda given: np.array([True, False, True, True]),
    "model": lambda given: di.pruning.prune_low_magnitude(
        given["student"], di.pruning.ConstantSparsity(0.5, 0)
    ),
    "network": lambda given: given["teacher"],
    "new_images": lambda given: given["images"],
    "new_labels": lambda given: numbered(given, 3),
    "images_5_to_7": lambda given: given["images"],
    "labels_5_to_7": lambda given: numbered(given, 3),
    "images_8_9": lambda given: given["images"],
    "labels_8_9": lambda given: numbered(given, 6),
    "synthesize": lambda given: functools.partial(synthesized, given),
    "names": lambda given: ["a", "b", "c"],
    "history": lambda given: keras.callbacks.History(),
    "row": lambda given: di.reports.measure_images(
        given["images"],
        given["labels"],
        given["teacher"],
        di.Preprocessing.of(given["teacher"]),
    ),
    "result": lambda given: di.distill(
        given["teacher"], given["student"], given["pool"], rounds=1
    ),
    "learned": learned,
    "tests": lambda given: [(given["images"], given["labels"])] * 2,
}


def surroundings():
    return Surroundings(
        conftest.networks_of_the_examples.__wrapped__(),  # new ones
        di=di,
        keras=keras,
        np=np,
        tf=tf,
        pathlib=pathlib,
    )


EXAMPLES = list(fenced_examples())


def test_the_blocks_are_found():
    places = [place for place, _ in EXAMPLES]
    assert "_distill.distill" in places and "deep_inversion.DeepInversion" in (
        places
    )


@pytest.mark.parametrize(
    "source", [pytest.param(s, id=place) for place, s in EXAMPLES]
)
@pytest.mark.slow
def test_an_example_runs(source, tmp_path, monkeypatch):
    if any(name in source for name in NEEDS_MORE):
        ast.parse(source)
        return
    monkeypatch.chdir(tmp_path)
    names = surroundings()
    if 'run")' in source and "synthesize_batches(" not in source:
        noise = di.inversion.GivenImages((8, 8, 1), classes=2)
        di.synthesize_batches(noise, "run", batches=2, images=2, verbose=0)
    if "read_bytes" in source:
        content = di.quantization.to_litert(names["teacher"])
        pathlib.Path("teacher.tflite").write_bytes(content)
    exec(  # noqa: S102
        compile(shortened(source), "example", "exec"), names
    )
