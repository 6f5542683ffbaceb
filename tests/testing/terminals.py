"""A terminal, what it shows, and a clock that the tests set."""

import io
import re
import sys
from types import SimpleNamespace

import keras


class Terminal(io.StringIO):
    def isatty(self):
        return True


def shown(text):
    """What is left on a terminal: without colors, each line overwritten."""
    text = re.sub(r"\x1b\[\d+m|\x08", "", text)
    lines = text.removesuffix("\n").split("\n")
    return [line.split("\r")[-1].rstrip() for line in lines]


def set_clock(monkeypatch, *modules):
    """The clock of these modules and of Keras's bars: `seconds` sets it."""
    now = SimpleNamespace(seconds=100.0)
    fake = SimpleNamespace(
        monotonic=lambda: now.seconds, time=lambda: now.seconds
    )
    for module in (*modules, sys.modules[keras.utils.Progbar.__module__]):
        monkeypatch.setattr(module, "time", fake)
    return now
