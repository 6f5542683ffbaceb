"""`dtype="auto"`: a trial chooses, and a run keeps what was chosen."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from inversions import LABELS
from inversions import NORMALIZED
from inversions import inversion
from tiny import CLASSES
from tiny import SHAPE
from tiny import tiny_teacher

import tf_deepinversion as di
from tf_deepinversion.core import run_state
from tf_deepinversion.distillation import _distill
from tf_deepinversion.distillation.retraining import Recovery
from tf_deepinversion.inversion import synthesize_on_ray
from tf_deepinversion.inversion.batch_worker import BatchWorker
from tf_deepinversion.networks import measured_policy
from tf_deepinversion.networks import replica_checks
from tf_deepinversion.pruning import prune
from tf_deepinversion.pruning import recover
from tf_deepinversion.pruning import sparsify
from tf_deepinversion.pruning.rounds import Rounds

IMAGES = np.random.default_rng(0).integers(0, 256, (8, *SHAPE), "uint8")
FLOAT, HALF = measured_policy.CHOICES


@pytest.fixture
def trial(monkeypatch):
    """A function that sets what the trial of this machine would choose."""

    def choose(name):
        monkeypatch.setattr(measured_policy, "faster_policy", lambda: name)

    return choose


@pytest.fixture
def no_trial(monkeypatch):
    monkeypatch.setattr(measured_policy, "faster_policy", pytest.fail)


def test_a_gain_of_a_tenth_is_enough_and_a_smaller_one_is_not():
    for half, expected in ((0.1, HALF), (1 / 1.1, HALF), (0.92, FLOAT)):
        assert measured_policy.choice({FLOAT: 1.0, HALF: half}) == expected
    for half in (1.0, 30.0, float("inf")):
        assert measured_policy.choice({FLOAT: 1.0, HALF: half}) == FLOAT


def test_the_medians_of_turns_count_without_the_first(monkeypatch):
    clock, calls = [0.0], []
    seconds = {"float32": [99, 2, 5, 3], "bfloat16": [99, 4, 1, 8]}

    def work(dtype):
        def run():
            clock[0] += seconds[dtype].pop(0)
            calls.append(dtype)
            return tf.constant(0.0)

        return run

    monkeypatch.setattr(measured_policy, "_work", work)
    monkeypatch.setattr(measured_policy.time, "perf_counter", lambda: clock[0])
    found = measured_policy.seconds_by_policy(rounds=3)
    assert found == {FLOAT: 3, HALF: 4}
    assert calls == ["float32", "bfloat16"] * 4


def test_a_machine_without_convolutions_in_bfloat16_takes_float32(monkeypatch):
    def work(dtype):
        def run():
            if dtype == "bfloat16":
                raise tf.errors.UnimplementedError(None, None, "no bfloat16")
            return tf.constant(0.0)

        return run

    monkeypatch.setattr(measured_policy, "_work", work)
    assert measured_policy.choice(measured_policy.seconds_by_policy(1)) == FLOAT


def test_the_trial_runs_once_and_says_in_one_line_what_it_found(
    monkeypatch, capsys
):
    found = [{FLOAT: 0.03, HALF: 0.01}]
    monkeypatch.setattr(measured_policy, "seconds_by_policy", found.pop)
    measured_policy.faster_policy.cache_clear()
    try:
        assert inversion(dtype="auto").networks.dtype == HALF
        assert inversion(dtype="auto").networks.dtype == HALF
    finally:
        measured_policy.faster_policy.cache_clear()
    assert capsys.readouterr().out == (
        f'dtype="auto" chooses {HALF}: a trial of convolutions took 30.0 ms in '
        f"{FLOAT}, 10.0 ms in {HALF}.\n"
    )


def test_the_work_is_the_same_in_both_precisions():
    exact = float(measured_policy._work("float32")())
    try:
        half = float(measured_policy._work("bfloat16")())
    except tf.errors.OpError:
        pytest.skip("no bfloat16 here")
    assert np.isfinite(exact) and exact != half
    np.testing.assert_allclose(half, exact, rtol=0.05)


@pytest.mark.parametrize("chosen", [FLOAT, HALF])
def test_the_choice_is_all_that_follows_sees(trial, chosen):
    trial(chosen)
    pairs = [(inversion(dtype=x)) for x in ("auto", chosen)]
    assert pairs[0].settings()["dtype"] == pairs[1].settings()["dtype"]
    networks = tiny_teacher(), tiny_teacher(1), NORMALIZED
    made = [di.Distillation(*networks, dtype=x) for x in ("auto", chosen)]
    assert [m.settings()["dtype"] for m in made] == [chosen, chosen]


def test_other_policies_need_no_trial(no_trial):
    for dtype in (None, FLOAT, HALF, keras.DTypePolicy(HALF)):
        assert measured_policy.chosen_policy(dtype) is dtype


def test_several_machines_must_agree_beforehand(monkeypatch):
    monkeypatch.setattr(replica_checks, "machines", lambda strategy: 2)
    with pytest.raises(ValueError, match='choose for itself.*dtype="float32"'):
        inversion(dtype="auto")
    with pytest.raises(ValueError, match="same time.*Received: dtype='auto'"):
        synthesize_on_ray(tiny_teacher(), "unused", dtype="auto")


def test_a_pool_goes_on_in_the_precision_that_it_began_with(
    trial, monkeypatch, tmp_path
):
    def dtype_of(given):
        jobs = []
        monkeypatch.setattr(BatchWorker, "run", lambda x: jobs.append(x._job))
        di.synthesize_batches(
            tiny_teacher(),
            tmp_path,
            preprocessing=NORMALIZED,
            recipe="ours",
            dtype=given,
        )
        return jobs[0].synthesizer.networks.dtype

    trial(HALF)
    assert dtype_of("auto") == HALF
    trial(FLOAT)
    assert dtype_of("auto") == HALF
    with pytest.raises(ValueError, match="differs in: dtype"):
        dtype_of(FLOAT)


def test_a_student_goes_on_in_the_precision_that_it_began_with(
    trial, monkeypatch, tmp_path, eagerly
):
    found = []

    def fit(model, batches, *, path, run, **kwargs):
        found.append(model.settings()["dtype"])
        run_state.save(path, {}, run)
        raise KeyboardInterrupt

    def interrupted():
        with pytest.raises(KeyboardInterrupt):
            di.distill(
                tiny_teacher(),
                tiny_teacher(1),
                di.inversion.GivenImages(SHAPE, CLASSES),
                rounds=1,
                batch_size=4,
                refresh=di.RefreshPool(4),
                preprocessing=NORMALIZED,
                student_preprocessing=NORMALIZED,
                dtype="auto",
                folder=tmp_path,
            )

    monkeypatch.setattr(_distill, "fit_resumable", fit)
    trial(HALF)
    interrupted()
    trial(FLOAT)
    interrupted()
    # The images tell it, too, as when their making was interrupted.
    (tmp_path / "state.npz").unlink()
    interrupted()
    assert found == [HALF] * 3


@pytest.mark.parametrize("application", [recover, sparsify, prune])
def test_pruned_networks_go_on_in_the_precision_that_they_began_with(
    trial, monkeypatch, tmp_path, application
):
    runs = []

    def train(recovery, teacher, student, stream, *, path, run, **kwargs):
        runs.append(run)
        run_state.save(path, {}, run)
        raise KeyboardInterrupt

    def interrupted():
        target = {} if application is recover else {"target": 0.5}
        students = [tiny_teacher(1)] if application is recover else []
        with pytest.raises(KeyboardInterrupt):
            application(
                tiny_teacher(),
                *students,
                (IMAGES, np.arange(8) % CLASSES),
                **({} if application is prune else {"steps": 2}),
                **target,
                preprocessing=NORMALIZED,
                dtype="auto",
                folder=tmp_path,
            )

    monkeypatch.setattr(Recovery, "train", train)
    monkeypatch.setattr(Rounds, "remove", lambda *args: None)
    for chosen in (HALF, FLOAT):
        trial(chosen)
        interrupted()
    assert runs[0] == runs[1]


def test_a_checkpoint_in_another_precision_names_it(trial, tmp_path, eagerly):
    state = tmp_path / "state.npz"
    trial(HALF)
    inversion(dtype="auto").fit(LABELS, 1, verbose=0, checkpoint=state)
    trial(FLOAT)
    with pytest.raises(ValueError, match=f"pass dtype='{HALF}' to go on"):
        inversion(dtype="auto").fit(LABELS, 1, verbose=0, checkpoint=state)


def test_what_a_run_on_disk_records(tmp_path):
    state, pool = tmp_path / "state.npz", tmp_path / "pool.json"
    run = run_state.fingerprints({"dtype": HALF, "seed": 1})
    run_state.save(state, {"step": np.int64(7)}, run)
    pool.write_text(json.dumps({"run": run}))
    for path in (state, pool):
        assert run_state.recorded(path, "dtype", [FLOAT, HALF]) == HALF
        assert run_state.recorded(path, "dtype", [FLOAT]) is None
        assert run_state.recorded(path, "seed", [0, 1]) == 1
        assert run_state.recorded(path, "steps", [1]) is None
        path.write_bytes(path.read_bytes()[:40])
        assert run_state.recorded(path, "dtype", [FLOAT, HALF]) is None
    assert run_state.recorded(tmp_path / "none", "dtype", [HALF]) is None
