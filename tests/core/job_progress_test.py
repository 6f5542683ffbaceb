"""One bar of several kinds of work: by a clock that the tests set."""

import sys

import pytest
from terminals import Terminal
from terminals import set_clock
from terminals import shown

from tf_deepinversion.core import job_progress
from tf_deepinversion.core.job_progress import JobProgress


@pytest.fixture
def clock(monkeypatch):
    return set_clock(monkeypatch, job_progress)


def lines_of(job, clock, moves, capsys):
    for seconds, *move in moves:
        clock.seconds += seconds
        job.advance(*move)
    return capsys.readouterr().out.splitlines()


def test_the_work_of_one_kind_predicts_another(clock, capsys):
    job = JobProgress("All", {"batch": [4, 4], "round": [60, 60]}, 2)
    found = lines_of(
        job,
        clock,
        [
            (50, "batch", 1),  # the first seconds trace a graph: no measure
            # 5 seconds for each work, and another 50 for another graph.
            (20, "batch", 2, {"loss": 0.5}),
            (30, "round", 0.1, {}, False),  # traces, too
            (27, "round", 1, {}),  # half a second for each work
            (12, "round", 1.5, {"loss": 0.25}),
            (12, "round", 2),
        ],
        capsys,
    )
    assert found == [
        "All: batch 1/2",
        "All: batch 2/2 - loss: 0.5 - 10:50 left",
        "All: round 1/2 - 30s left",
        # 39 seconds for 84 of work, so 13.9 seconds for 30.
        "All: round 1/2 - loss: 0.25 - 13s left",
        "All: round 2/2",
    ]


def test_what_is_left_of_all_kinds_counts_where_they_alternate(clock, capsys):
    job = JobProgress("All", {"batch": [1, 9], "round": [5, 5]}, 2)
    found = lines_of(
        job,
        clock,
        [
            (3, "batch", 0.5, {}, False),
            # 4 seconds for each work, 9 + 10 of it left, 3 for a graph.
            (2, "batch", 1),
            (9, "round", 0.2),  # 4 of this round, all of the other
            (8, "round", 1),  # 2 seconds for each work: 5; images: 9
        ],
        capsys,
    )
    assert found == [
        "All: batch 1/2 - 1:19 left",
        "All: round 0/2 - 1:12 left",
        "All: round 1/2 - 46s left",
    ]


def test_what_was_done_before_takes_no_time(clock, capsys):
    job = JobProgress("All", {"batch": [1, 1], "round": [10, 10]}, 2)
    job.skip("batch", 2)
    job.skip("round", 1)
    found = lines_of(
        job, clock, [(7, "round", 1.2, {}, False), (8, "round", 1.6)], capsys
    )
    # 8 seconds for 4 of work, 4 left.
    assert found == ["All: round 1/2"]
    clock.seconds += 32
    job.advance("round", 1.7)
    # 40 seconds for 5 of work, 3 left.
    assert capsys.readouterr().out == "All: round 1/2 - 24s left\n"


def test_a_bar_has_the_time_left_and_its_share_of_the_time(clock, monkeypatch):
    monkeypatch.setattr(sys, "stdout", Terminal())
    job = JobProgress("All", {"batch": [4, 4], "round": [32]})
    assert shown(sys.stdout.getvalue())[1].startswith("  0/100 ")
    clock.seconds += 40
    job.advance("batch", 1)
    clock.seconds += 60
    job.advance("batch", 2, {"loss": 9.0}, shown=False)
    title, bar = shown(sys.stdout.getvalue())
    # 15 seconds for each work, 40 for another graph: 100 seconds of 620.
    assert title == "All:" and bar.startswith(" 16/100 ")
    assert " 8:40 " in bar and "loss" not in bar
    clock.seconds += 100
    job.advance("round", 0.5, {"loss": 1.0}, line=False)
    job.close()  # another one may print now
    clock.seconds += 200
    job.advance("round", 1, {"loss": 2.0})
    job.close()
    *_, bar = shown(sys.stdout.getvalue())
    assert bar.startswith("100/100 ") and " 400s " in bar
    assert bar.endswith("loss: 2.0000")
    assert sys.stdout.getvalue().endswith("2.0000\n")
