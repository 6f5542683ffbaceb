"""How many rounds fit into some minutes."""

from types import SimpleNamespace

import numpy as np
import pytest

from tf_deepinversion.distillation._rounds_for import rounds_for


def test_as_many_rounds_as_fit_into_the_minutes(tmp_path, monkeypatch):
    now = [100.0]

    def trial(rounds, callbacks):
        assert rounds == 3
        for epoch, seconds in enumerate((50, 20, 30)):
            now[0] += seconds
            callbacks[0].on_epoch_end(epoch)

    clock = SimpleNamespace(monotonic=lambda: now[0])
    monkeypatch.setitem(rounds_for.__globals__, "time", clock)
    path = tmp_path / "plan.json"
    # Of 600 seconds the trial is over after 110, and the first round's graphs
    # are traced again in as long as it took: 440 for rounds of 25.
    assert rounds_for(10, trial, path, begin=90.0) == 17
    # What was decided stays, however late it is when the run goes on.
    now[0] = 1e6
    assert rounds_for(10, None, path, begin=90.0) == 17
    now[0] = 100.0
    path.unlink()
    assert rounds_for(np.int64(10), trial, path, begin=90.0) == 17
    with pytest.raises(ValueError, match="planned for minutes=10.*minutes=45"):
        rounds_for(45, None, path, begin=90.0)
    path.unlink()
    assert rounds_for(10, trial, path, 90.0 + now[0] - 100, steps=7) == 17
    with pytest.raises(ValueError, match="planned for steps=7.*steps=8"):
        rounds_for(10, None, path, steps=8)
    with pytest.raises(ValueError, match="`minutes` must be.*minutes=0"):
        rounds_for(0, None)


def test_one_round_is_the_least():
    def trial(rounds, callbacks):
        for epoch in range(rounds):
            callbacks[0].on_epoch_end(epoch)

    assert rounds_for(1e-9, trial) == 1


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"rounds": "few"}'])
def test_a_damaged_plan_is_named(tmp_path, content):
    path = tmp_path / "plan.json"
    path.write_text(content)
    with pytest.raises(ValueError, match="plan.json is damaged.*delete it"):
        rounds_for(1, None, path=path)
