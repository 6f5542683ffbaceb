"""benchmarks/workers.py, tiny: a worker is killed, and the bytes are equal."""

import pytest
from processes import end
from processes import start


@pytest.mark.slow
def test_a_killed_worker_changes_no_byte():
    figures = end(start("workers.py", "--tiny"))
    assert figures["equal_to_undisturbed"] and figures["batches"] == 3
    assert figures["speedup_2_workers"] > 0
