"""Makes a notebook of each guide: `python guides/notebooks.py`.

A guide is a script in the form of keras.io. Strings that stand alone are text
in Markdown; everything between them is code.
"""

import ast
import json
import pathlib

FOLDER = pathlib.Path(__file__).parent
NAMES = (
    "a_smaller_network_without_its_data",
    "what_does_my_network_remember",
)


def cells(source) -> list:
    """Splits a guide into pairs of "markdown" or "code" and a text."""
    lines = source.splitlines()
    found, end = [], 0
    for node in ast.parse(source).body:
        alone = isinstance(node, ast.Expr) and isinstance(
            node.value, ast.Constant
        )
        if alone and isinstance(node.value.value, str):
            found.append(("code", "\n".join(lines[end : node.lineno - 1])))
            found.append(("markdown", node.value.value))
            end = node.end_lineno
    found.append(("code", "\n".join(lines[end:])))
    found = [(kind, text.strip()) for kind, text in found]
    return [(kind, text) for kind, text in found if text]


def header(text) -> str:
    """Converts the head of a guide, such as `Title: ...`, to Markdown."""
    fields = dict(line.split(": ", 1) for line in text.splitlines())
    return (
        f"# {fields['Title']}\n\n**Author:** {fields['Author']}<br>\n"
        f"**Date created:** {fields['Date created']}<br>\n"
        f"**Last modified:** {fields['Last modified']}<br>\n"
        f"**Description:** {fields['Description']}"
    )


def notebook(source) -> str:
    """Converts a guide to the JSON of a notebook without outputs."""
    found = cells(source)
    found[0] = ("markdown", header(found[0][1]))
    return (
        json.dumps(
            {
                "cells": [_cell(i, *cell) for i, cell in enumerate(found)],
                "metadata": {
                    "kernelspec": {
                        "display_name": "Python 3",
                        "language": "python",
                        "name": "python3",
                    },
                    "language_info": {"name": "python"},
                },
                "nbformat": 4,
                "nbformat_minor": 5,
            },
            indent=1,
        )
        + "\n"
    )


def _cell(number, kind, text):
    cell = {
        "cell_type": kind,
        "id": f"cell-{number}",
        "metadata": {},
        "source": text.splitlines(keepends=True),
    }
    if kind == "code":
        cell |= {"execution_count": None, "outputs": []}
    return cell


def main():
    for name in NAMES:
        source = (FOLDER / f"{name}.py").read_text()
        (FOLDER / f"{name}.ipynb").write_text(notebook(source))


if __name__ == "__main__":
    main()
