"""Sphinx reads this file: `make docs` builds the pages and the API reference.

The docstrings are Google's, with Markdown inside, as those of Keras are.
"""

import importlib
import re

import tf_deepinversion

# A page of the API reference each.
NAMESPACES = {
    "callbacks",
    "checkpoints",
    "datasets",
    "distillation",
    "incremental",
    "inversion",
    "metrics",
    "models",
    "networks",
    "objective",
    "optimizers",
    "pruning",
    "quantization",
    "reports",
    "transforms",
}

project = "tf_deepinversion"
author = "The tf_deepinversion authors"
version = release = tf_deepinversion.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
root_doc = "index"
exclude_patterns = ["_build"]
default_role = "code"

autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_default_options = {
    "members": True,
    "imported-members": True,
    "show-inheritance": True,
    "exclude-members": ", ".join(
        [
            "call",
            "from_config",
            "get_config",
            "load_own_variables",
            "save_own_variables",
            "test_step",
            "train_step",
            "trainable_variables",
            "trainable_weights",
            "variables",
            "weights",
        ]
    ),
}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
napoleon_custom_sections = [("Warns", "returns_style"), "Reference"]

myst_heading_anchors = 3
myst_enable_extensions = ["dollarmath"]

html_theme = "furo"
html_title = f"tf_deepinversion {version}"
html_copy_source = False


def fences_as_directives(app, what, name, obj, options, lines):
    """Rewrites the fenced code of a docstring, which is Markdown, as reST."""
    text = re.sub(
        r"^( *)```(\w*)\n(.*?)^ *```$",
        lambda found: _directive(*found.groups()),
        "\n".join(lines),
        flags=re.M | re.S,
    )
    lines[:] = text.split("\n")


def _directive(indent, language, code):
    body = "".join(f"    {line}\n" for line in code.splitlines())
    return f"{indent}.. code-block:: {language or 'text'}\n\n{body}"


def skip_what_a_namespace_shows(app, what, name, obj, skip, options):
    """Leaves names of the top level to the page of their namespace."""
    if app.env.docname != "api/index" or what != "module":
        return None
    return True if shown_by(name) else None


def shown_by(name):
    """The namespace on whose page a name of the top level is, or None."""
    for page in sorted(NAMESPACES):
        namespace = importlib.import_module(f"tf_deepinversion.{page}")
        if name in vars(namespace):
            return page
    return None


def setup(app):
    app.connect("autodoc-process-docstring", fences_as_directives, priority=1)
    app.connect("autodoc-skip-member", skip_what_a_namespace_shows)
