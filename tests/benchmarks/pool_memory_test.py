"""benchmarks/pool_memory.py, tiny: it fills, opens and draws."""

import pytest
from processes import end
from processes import start


@pytest.mark.slow
def test_it_says_what_a_pool_on_disk_costs():
    figures = end(start("pool_memory.py", "--tiny"))
    for name in ("peak_ratio", "batch_time_ratio", "add_time_ratio"):
        assert figures[name] > 0
    assert figures["images"] == [40, 120] and figures["shape"] == [8, 8, 3]
