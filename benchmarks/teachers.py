r"""Tries every network of keras.applications as a teacher.

    python benchmarks/teachers.py

Each network has random weights, its 1000 classes and the smallest images that
it accepts. The processes of the networks run one after the other. The benchmark
checks

- the preprocessing, known by name, against `preprocess_input` of the family;
- that the library sees every BatchNormalization once;
- the logits, against the network's own softmax and against the same network
  with classifier_activation=None;
- that a few steps of `DeepInversion` from noise lower the teacher's part of the
  loss, with moving statistics of other noise;
- for a network without BatchNormalization, that the library refuses the network
  with the reason, and that the image prior alone works.

The benchmark prints a line for each network and updates the table in
docs/teachers.md, which shows the result to expect. The last line printed is
JSON. A tiny run, to see that everything works: `--teachers=MobileNetV2
--output=`.

Result on two cores of a busy machine, in 25 minutes, with at most 6.7 GB of
memory (ConvNeXtXLarge): all 40 teachers passed; the library refused 7 of them
because they have no BatchNormalization.
"""

import json
import os
import pathlib
import subprocess
import sys
import time

from absl import app
from absl import flags
from machine import machine
from machine import peak_bytes

ROOT = pathlib.Path(__file__).resolve().parent.parent
FLAGS = flags.FLAGS
flags.DEFINE_list("teachers", None, "Classes in keras.applications; all.")
flags.DEFINE_integer("images", 2, "Number of images.")
flags.DEFINE_integer("steps", 8, "Number of steps.")
flags.DEFINE_integer("seed", 0, "Of weights, pixels and noise.")
flags.DEFINE_string(
    "output",
    str(ROOT / "docs" / "teachers.md"),
    "Page to update; none if empty.",
)
flags.DEFINE_string("worker", None, "Used by the benchmark itself.")

BEGIN, END = "<!-- table -->\n", "<!-- /table -->"
HEAD = (
    "| network | pixels | weights | BatchNorms | is fed | loss |\n"
    "|---|---|---|---|---|---|\n"
)
FED = {
    "[0.0, 255.0]": "0 to 255",
    "[-1.0, 1.0]": "-1 to 1",
    "normalized": "normalized",
}


def work():
    """Checks one network, or lists all networks."""
    import keras
    import tensorflow as tf
    from check_teacher import check
    from check_teacher import names

    if FLAGS.worker == "names":
        versions = {"tensorflow": tf.__version__, "keras": keras.__version__}
        return {"names": names(), "versions": versions}
    try:
        figures = check(FLAGS.worker, FLAGS.images, FLAGS.steps, FLAGS.seed)
    except Exception as error:  # any error: the other networks must still run
        figures = {"error": f"{type(error).__name__}: {error}"}
    figures["peak_bytes"] = peak_bytes()
    return figures


def run_worker(name):
    result = subprocess.run(
        [
            sys.executable,
            __file__,
            f"--worker={name}",
            *(f"--{f}={FLAGS[f].value}" for f in ("images", "steps", "seed")),
        ],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
    )
    if result.returncode:
        return {"error": f"ended with status {result.returncode}"}
    return json.loads(result.stdout.splitlines()[-1])


def cells(name, figures):
    """Formats the row of the table."""
    if "error" in figures:
        reason = " ".join(figures["error"].replace("|", "/").split())
        return [name, "", "", "", "", f"failed: {reason}"]
    fed = FED.get(str(figures["pixel_range"]), "0 to 255, less the mean")
    if figures["channel_order"] == "bgr":
        fed += ", BGR"
    first, last = figures["losses"]
    return [
        name,
        str(figures["size"]),
        f"{figures['parameters'] / 1e6:.1f} M",
        str(figures["batch_norms"] or "none"),
        fed,
        f"{first:.4g} to {last:.4g}",
    ]


def update(page, rows):
    """Writes rows into the table of a page."""
    before, begin, rest = page.partition(BEGIN)
    table, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(
            f"Expected the lines {BEGIN!r} and {END!r} in the page."
        )
    old = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in table.splitlines()[2:]
    ]
    rows = {**{row[0]: row for row in old}, **rows}
    lines = [f"| {' | '.join(rows[name])} |\n" for name in sorted(rows)]
    return "".join([before, begin, HEAD, *lines, end, after])


def try_all():
    start = time.perf_counter()
    known = run_worker("names")
    versions, results = known["versions"], {}
    for name in FLAGS.teachers or known["names"]:
        begin = time.perf_counter()
        figures = results[name] = run_worker(name)
        row = cells(name, figures)
        took = time.perf_counter() - begin
        size = figures.get("peak_bytes", 0) / 1e9
        print(*filter(None, row), f"{took:.0f} s", f"{size:.1f} GB", sep="; ")
        sys.stdout.flush()
        if FLAGS.output:
            page = pathlib.Path(FLAGS.output)
            text = page.read_text(encoding="utf-8")
            page.write_text(update(text, {name: row}), encoding="utf-8")
    failed = {n: f["error"] for n, f in results.items() if "error" in f}
    return {
        "teachers": len(results),
        "passed": len(results) - len(failed),
        "failed": failed,
        "without_batch_norms": sorted(
            n for n, f in results.items() if f.get("batch_norms") == 0
        ),
        "seconds": time.perf_counter() - start,
        "peak_bytes": max(f.get("peak_bytes", 0) for f in results.values()),
        "images": FLAGS.images,
        "steps": FLAGS.steps,
        "seed": FLAGS.seed,
        "machine": machine(**versions),
    }


def main(_):
    results = work() if FLAGS.worker else try_all()
    print(json.dumps(results))
    return int(bool(results.get("failed")))


if __name__ == "__main__":
    app.run(main)
