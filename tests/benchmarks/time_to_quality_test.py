"""benchmarks/time_to_quality.py: its arithmetic, and a tiny run."""

import json

import numpy as np
import pytest
from processes import end
from processes import kill_when_there
from processes import past
from processes import save_teacher
from processes import start

from benchmarks.speedup import first_reached
from benchmarks.speedup import seconds_until
from benchmarks.speedup import speedups
from tf_deepinversion.datasets.real_images import load_test_images


@pytest.mark.parametrize(
    ("curve", "target", "place"),
    [
        ([0.1, 0.5, 0.9], 0.5, 1),  # as large is enough
        ([0.1, 0.6, 0.4, 0.7], 0.5, 1),  # the first time counts, dips or not
        ([0.9, 0.1], 0.5, 0),
        ([0.1, 0.2], 0.5, None),
        ([float("nan"), 0.6], 0.5, 1),
        ([], 0.5, None),
    ],
)
def test_first_reached(curve, target, place):
    assert first_reached(curve, target) == place


def test_seconds_until_are_of_all_rounds_up_to_the_one_that_gets_there():
    curve, seconds = [0.2, 0.4, 0.8, 0.9], [10, 1, 2, 4]
    found = [seconds_until(curve, seconds, t) for t in (0.1, 0.3, 0.8, 0.95)]
    assert found == [10, 11, 13, None]
    with pytest.raises(ValueError, match="2 accuracies and 1 times"):
        seconds_until([0.1, 0.2], [1], 0.1)


def test_speedups_by_closed_form():
    # 1,000 images in 500 s: 10,000 would take 5,000 s. The generator took
    # 20 s, and draws 10,000 at 8 ms each in 80 s.
    found = speedups(slow=500, images=1000, fast=20, drawing=0.008)
    assert found == pytest.approx(
        {"speedup_measured": 25, "speedup_extrapolated": 50}
    )
    # Pixels at 20 ms each have nothing to learn first: 200 s.
    pixels = speedups(500, 1000, fast=20, drawing=0.02, first=0.0)
    assert pixels["speedup_extrapolated"] == pytest.approx(25)
    free = speedups(slow=500, images=1000, fast=20, drawing=0, many=3000)
    assert free["speedup_extrapolated"] == pytest.approx(75)
    assert speedups(500, 1000, None, 0.008) == {
        "speedup_measured": None,
        "speedup_extrapolated": None,
    }


def tiny(folder):
    """What a tiny run is started with."""
    images, labels = load_test_images()
    np.savez(folder / "scored.npz", images=images[:30], labels=labels[:30])
    return (
        "time_to_quality.py",
        save_teacher(folder),
        "--student=VGG11BN",
        "--student_width=2",
        "--images=20",
        "--synthesis_batch=10",
        "--steps=110",  # two epochs
        "--rounds=2",
        "--steps_per_round=2",
        "--fast_images=20",
        "--fast_batch=10",
        "--fast_steps=1",
        "--first_steps=2",
        "--draws=2",
        "--batch_size=8",
        "--extrapolated=50",
        f"--held_out={folder / 'scored.npz'}",
    )


@pytest.mark.slow
def test_a_killed_run_goes_on_to_figures_of_its_curves(tmp_path):
    output = tmp_path / "output"
    arguments = (*tiny(tmp_path), f"--output={output}")
    first = output / "slow" / "batches" / "batch_0.npz"
    kill_when_there(start(*arguments), first)
    made = past(first)["seconds"][0]
    figures = end(start(*arguments, "--fast=generator"))
    histories = [past(output / f"slow/batches/batch_{i}.npz") for i in (0, 1)]
    assert [len(h["seconds"]) for h in histories] == [2, 2]
    assert histories[0]["seconds"][0] == made
    slow = sum(sum(history["seconds"]) for history in histories)
    assert figures["slow_seconds"] == pytest.approx(slow)
    curves = {
        name: json.loads((output / name / "curves.json").read_text())
        for name in ("slow", "generator")
    }
    assert figures["student_steps"] == 4
    assert [len(c["loss"]) for c in curves.values()] == [2, 2]
    assert sum(curves["slow"]["synthesis_seconds"]) == 0
    target = max(curves["slow"]["val_accuracy"])
    assert figures["target_accuracy"] == target
    drawing = sum(curves["generator"]["draw_seconds"]) / 40
    assert figures["seconds_per_fast_image"] == pytest.approx(drawing)
    until, measured, extrapolated = 0, None, None
    for accuracy, seconds in zip(
        curves["generator"]["val_accuracy"],
        curves["generator"]["synthesis_seconds"],
        strict=True,
    ):
        until += seconds
        if accuracy >= target:
            measured = slow / until
            extrapolated = slow * 2.5 / (until + 50 * drawing)
            break
    assert figures["speedup_measured"] == pytest.approx(measured)
    assert figures["speedup_extrapolated"] == pytest.approx(extrapolated)
    assert figures["scored_images"] == 30
    again = end(start(*arguments, "--fast=generator"))
    assert again == figures

    # By other pixels; the slow way is there already.
    figures = end(start(*arguments, "--fast=pixels"))
    assert figures["slow_seconds"] == pytest.approx(slow)
    assert figures["target_accuracy"] == target
    folder = output / "pixels"
    made = [past(folder / f"batches/batch_{i}.npz") for i in (0, 1)]
    assert [len(history["loss"]) for history in made] == [1, 1]
    fast = sum(sum(history["seconds"]) for history in made)
    curve = json.loads((folder / "curves.json").read_text())
    reached = max(curve["val_accuracy"]) >= target
    each, measured = (fast / 20, slow / fast) if reached else (fast / 20, None)
    assert figures["seconds_per_fast_image"] == pytest.approx(each)
    assert figures["speedup_measured"] == pytest.approx(measured)
    assert figures["speedup_extrapolated"] == pytest.approx(measured)


@pytest.mark.slow
def test_bfloat16_is_of_the_fast_way_alone(tmp_path):
    """The paper's images stay in float32."""
    images = {}
    for dtype in ("float32", "mixed_bfloat16"):
        output = tmp_path / dtype
        flags = ["--fast=pixels", f"--dtype={dtype}", f"--output={output}"]
        figures = end(start(*tiny(tmp_path), *flags))
        assert figures["dtype"] == dtype
        for way in ("slow", "pixels"):
            with np.load(output / way / "batches" / "batch_0.npz") as saved:
                images[dtype, way] = saved["images"]
    same = [
        np.array_equal(images["float32", way], images["mixed_bfloat16", way])
        for way in ("slow", "pixels")
    ]
    assert same == [True, False]


@pytest.mark.slow
def test_a_start_from_the_teacher_s_channels_takes_its_time(tmp_path):
    output = tmp_path / "output"
    flags = "--fast=pixels", "--fast_start=narrow", "--steps=2"
    command = (*tiny(tmp_path), *flags, f"--output={output}")
    figures = end(start(*command))
    assert figures["fast_start"] == "narrow"
    batches = [output / "pixels" / f"batches/batch_{i}.npz" for i in (0, 1)]
    made = sum(sum(past(batch)["seconds"]) for batch in batches)
    # The seconds of one image do not count the ranking of the channels.
    assert figures["seconds_per_fast_image"] == pytest.approx(made / 20)
    assert figures["fast_seconds_in_all"] > made
    assert end(start(*command)) == figures  # also its seconds
    wide = f"--output={tmp_path / 'wide'}", "--student_width=3"
    running = start(*command, *wide)
    told = running.communicate()[0]
    assert running.returncode and "of half of the teacher's channels" in told
    assert not (tmp_path / "wide").exists()
