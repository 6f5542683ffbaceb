"""benchmarks/ladder.py, tiny: the rows differ by their images alone."""

import json

import keras
import numpy as np
import pytest
from idx_files import write_split
from processes import end
from processes import kill_when_there
from processes import past
from processes import save_teacher
from processes import start

from tf_deepinversion.datasets.real_images import load_test_images
from tf_deepinversion.metrics.recognition import accuracy

METHODS = ["noise", "prior", "deepinversion", "adi", "fast", "real"]


@pytest.fixture(scope="module")
def ladder(tmp_path_factory):
    """Folder and figures of a ladder that was killed on its way."""
    folder = tmp_path_factory.mktemp("ladder")
    images, labels = load_test_images()
    for stem, rows in {"train": range(60, 160), "t10k": range(60)}.items():
        write_split(
            folder, stem, images[rows, ..., 0], labels[rows].astype("uint8")
        )
    arguments = (
        "ladder.py",
        save_teacher(folder),
        "--student=VGG11BN",
        "--student_width=2",
        "--images=40",
        "--synthesis_batch=20",
        "--steps=3",
        "--fast_steps=1",
        "--first_steps=2",
        "--student_steps=4",
        "--batch_size=8",
        f"--idx_dir={folder}",
    )
    output, whole = folder / "killed", folder / "whole"
    kill_when_there(
        start(*arguments, f"--output={output}"),
        output / "adi" / "batches" / "batch_0.npz",
    )
    done = [output / m / "pool" / "pool.json" for m in ("noise", "prior")]
    before = [path.stat().st_mtime_ns for path in done]
    figures = end(start(*arguments, f"--output={output}"))
    assert [path.stat().st_mtime_ns for path in done] == before
    undisturbed = end(start(*arguments, "--methods=adi", f"--output={whole}"))
    return output, figures, whole, undisturbed


@pytest.mark.slow
def test_every_method_has_as_many_images_and_steps(ladder):
    output, figures, _, _ = ladder
    assert list(figures["accuracy"]) == METHODS
    assert figures["student_steps"] == dict.fromkeys(METHODS, 4)
    for method in METHODS:
        row = json.loads((output / method / "figures.json").read_text())
        assert row["images"] == 40
        assert row["accuracy"] == figures["accuracy"][method]
        shards = json.loads((output / method / "pool/pool.json").read_text())
        assert [s["images"] for s in shards["shards"]] == [20, 20]
        with np.load(output / method / "state.npz") as state:
            history = json.loads(str(state["past"]))["history"]
        assert len(history["loss"]) == 2


@pytest.mark.slow
def test_the_accuracy_is_that_of_the_student_on_test_images(ladder):
    output, figures, _, _ = ladder
    images, labels = load_test_images()
    for method in METHODS:
        student = keras.models.load_model(output / method / "student.keras")
        assert figures["accuracy"][method] == pytest.approx(
            accuracy(student, images[:60], labels[:60])
        )
    assert figures["test_images"] == 60


@pytest.mark.slow
def test_the_objectives_are_those_of_the_rows(ladder):
    output, figures, _, _ = ladder
    prior = {"loss", "seconds", "recognized"}
    prior |= {"cross_entropy", "total_variation"}
    inversion = prior | {"feature_statistics"}
    for method, terms in {
        "prior": prior,
        "deepinversion": inversion,
        "adi": inversion | {"competition"},
    }.items():
        pasts = [
            past(output / method / "batches" / f"batch_{i}.npz")
            for i in range(2)
        ]
        assert all(set(history) == terms for history in pasts)
        seconds = sum(sum(history["seconds"]) for history in pasts)
        assert figures["seconds"][method] == pytest.approx(seconds)
    assert figures["seconds"]["noise"] == figures["seconds"]["real"] == 0
    assert figures["seconds"]["fast"] > 0


@pytest.mark.slow
def test_a_killed_ladder_ends_with_the_same_student(ladder):
    output, figures, whole, undisturbed = ladder
    assert list(undisturbed["accuracy"]) == ["adi"]
    assert undisturbed["accuracy"]["adi"] == figures["accuracy"]["adi"]
    one, other = (
        keras.models.load_model(folder / "adi" / "student.keras")
        for folder in (output, whole)
    )
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--methods=dream"], "'dream' is not in"),
        (["--methods=real"], "needs --idx_dir"),
        (["--recipe=distillation_pixels"], "a recipe may keep no snapshots"),
        (["--images=300"], "multiple of --synthesis_batch"),
        (["--student_steps=1601"], "multiple of the 10 batches"),
    ],
)
def test_flags_that_do_not_fit_are_refused(flags, message):
    process = start("ladder.py", *flags)
    output = process.communicate()[0]
    assert process.returncode == 1 and message in output
