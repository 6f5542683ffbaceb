"""A benchmark's folder belongs to the settings of its flags."""

import sys

import pytest
from absl import app
from absl import flags

from benchmarks import run_folder


@pytest.fixture
def given(monkeypatch):
    """Flags of a script of their own."""
    values = flags.FlagValues()
    monkeypatch.setattr(run_folder.flags, "FLAGS", values)
    monkeypatch.setattr(sys, "argv", ["script.py"])
    kwargs = {"flag_values": values, "module_name": "script.py"}
    for name, default in (("seed", 0), ("steps", 9), ("rows", 1)):
        flags.DEFINE_integer(name, default, "", required=False, **kwargs)
    flags.DEFINE_string("output", None, "", **kwargs)
    values(["script.py"])
    return values


def test_a_folder_is_found_again_by_the_same_flags_alone(given, tmp_path):
    folder = run_folder.claim(tmp_path / "new" / "run", "rows")
    assert folder.is_dir()
    given.rows, given.output = 5, "elsewhere"  # what to do, and where
    assert run_folder.claim(folder, "rows") == folder
    given.seed, given.steps = 1, 10
    with pytest.raises(app.UsageError, match="with --seed=0, --steps=9: rep"):
        run_folder.claim(folder, "rows")
    given.seed, given.steps = 0, 9
    # A flag that the folder does not tell had its default.
    with pytest.raises(app.UsageError, match="with --rows=1"):
        run_folder.claim(folder)
    given.rows = 1
    assert run_folder.claim(folder) == folder
