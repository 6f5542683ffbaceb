"""Workers on a Ray cluster: by a stand-in of Ray, and by Ray where it is."""

import os
import signal
import sys
import threading
import time
import types

import numpy as np
import pytest
from batches import Numbered
from batches import shards
from tiny import learned_teacher

import tf_deepinversion as di
from tf_deepinversion.inversion import synthesize_on_ray

FEW = {"batches": 5, "images": 4, "verbose": 0, "poll_seconds": 0.01}


class ActorError(Exception):
    pass


class TaskError(Exception):
    def __init__(self, cause):
        super().__init__(cause)
        self.cause = cause


class StandIn:
    """As much of Ray as is asked for: each call runs where it is waited for.

    Args:
        dead: List of the numbers of the actors that die.
    """

    exceptions = types.SimpleNamespace(
        RayActorError=ActorError, RayTaskError=TaskError
    )

    def __init__(self, dead=(), gpus=0, reached=True):
        self.dead, self.gpus, self.reached = dead, gpus, reached
        self.actors, self.options, self.open = [], None, False
        self.killed = []

    def is_initialized(self):
        return self.open

    def init(self, address, log_to_driver):
        if not self.reached:
            raise ConnectionError("no route")
        self.open, self.address = True, address

    def shutdown(self):
        self.open = False

    def cluster_resources(self):
        return {"CPU": 4, **({"GPU": self.gpus} if self.gpus else {})}

    def nodes(self):
        return [{"Alive": alive} for alive in (True, False, True)]

    def put(self, value):
        return value

    def remote(self, **options):
        self.options = options

        def decorated(kind):
            def create(*args):
                made = kind(*args)
                number = len(self.actors)
                self.actors.append(made)
                method = types.SimpleNamespace(
                    remote=lambda *a: (number, made, a)
                )
                return types.SimpleNamespace(work=method)

            return types.SimpleNamespace(remote=create)

        return decorated

    def wait(self, jobs, timeout):
        return jobs[:1], jobs[1:]

    def kill(self, actor):
        self.killed.append(actor)

    def get(self, job):
        number, made, arguments = job
        if number in self.dead:
            raise ActorError("out of memory")
        try:
            return made.work(*arguments)
        except Exception as error:
            raise TaskError(error) from error


@pytest.fixture
def stand_in(monkeypatch):
    def use(**kwargs):
        ray = StandIn(**kwargs)
        monkeypatch.setitem(sys.modules, "ray", ray)
        return ray

    return use


def test_actors_make_the_pool_that_one_worker_makes(stand_in, tmp_path):
    ray = stand_in()
    di.synthesize_batches(Numbered(), tmp_path / "one", **_without_poll())
    pool = synthesize_on_ray(Numbered, tmp_path / "ray", **FEW)
    assert shards(tmp_path / "ray") == shards(tmp_path / "one")
    assert len(pool) == 20 and len(ray.actors) == 2  # one for each machine
    assert len(ray.killed) == 1  # the first has made all batches
    assert ray.options["num_cpus"] == 1 and ray.options["max_restarts"] == 3
    assert not ray.open


def _without_poll():
    return {name: x for name, x in FEW.items() if name != "poll_seconds"}


def test_there_is_an_actor_for_each_gpu_unless_told(stand_in, tmp_path):
    ray = stand_in(gpus=3)
    synthesize_on_ray(Numbered, tmp_path / "a", **FEW)
    assert len(ray.actors) == 3 and ray.options["num_gpus"] == 1
    ray = stand_in(gpus=3)
    asked = {"num_gpus": 0.5}
    synthesize_on_ray(
        Numbered, tmp_path / "b", workers=5, resources=asked, **FEW
    )
    assert len(ray.actors) == 5 and ray.options["num_gpus"] == 0.5


def test_what_the_dead_have_left_is_made_by_others(stand_in, tmp_path):
    stand_in(dead=[0, 2])
    pool = synthesize_on_ray(Numbered, tmp_path, workers=3, **FEW)
    assert len(pool) == 20
    stand_in(dead=[0, 1])
    with pytest.raises(RuntimeError, match="have died.*out of memory"):
        synthesize_on_ray(Numbered, tmp_path / "none", workers=2, **FEW)


def test_an_error_of_a_worker_is_told_as_it_is(stand_in, tmp_path):
    ray = stand_in()
    with pytest.raises(ValueError, match="leave out some of the 7 classes"):
        synthesize_on_ray(Numbered, tmp_path, **{**FEW, "images": 1})
    assert not ray.open
    for wrong in ("mine.keras", Numbered()):
        with pytest.raises(TypeError, match="a function without arguments"):
            synthesize_on_ray(wrong, tmp_path, **FEW)


def test_a_network_is_sent_as_a_file(stand_in, tmp_path):
    teacher = learned_teacher()
    teacher.build(teacher.input_shape)
    ray = stand_in()
    with pytest.raises(ValueError, match="preprocessing"):
        synthesize_on_ray(teacher, tmp_path, workers=1, **FEW)
    received = ray.actors[0]._teacher
    assert received is not teacher
    images = np.zeros((1, *teacher.input_shape[1:]), "float32")
    np.testing.assert_array_equal(received(images), teacher(images))


def test_a_ray_that_is_not_there_is_told(stand_in, tmp_path, monkeypatch):
    stand_in(reached=False)
    with pytest.raises(ConnectionError, match="ray start.*address='x:1'.*no r"):
        synthesize_on_ray(Numbered, tmp_path / "run", address="x:1", **FEW)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match="pip install ray"):
        synthesize_on_ray(Numbered, tmp_path / "run", **FEW)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_two_actors_of_ray_one_of_them_killed(tmp_path, monkeypatch):
    pytest.importorskip(
        "ray", reason="needs Ray: pip install '.[ray]', then make test-slow"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    di.synthesize_batches(Numbered(), tmp_path / "one", **_without_poll())
    shared = tmp_path / "ray"

    def slow():
        class Slow(Numbered):
            def make(self, labels, batch_index, steps=None, verbose=0):
                time.sleep(1.0)
                return super().make(labels, batch_index)

        return Slow()

    def kill():
        markers = []
        while not markers:
            time.sleep(0.05)
            markers = list((shared / "done").glob("*.json"))
        process = markers[0].read_text().split('"process": ')[1]
        os.kill(int(process.split("}")[0]), signal.SIGKILL)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    synthesize_on_ray(slow, shared, workers=2, **FEW)
    assert not killer.is_alive()
    assert shards(shared) == shards(tmp_path / "one")


@pytest.mark.slow
def test_more_actors_of_ray_than_have_a_place_wait_for_it(
    tmp_path, monkeypatch
):
    ray = pytest.importorskip(
        "ray", reason="needs Ray: pip install '.[ray]', then make test-slow"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    ray.init(num_cpus=1, log_to_driver=False)
    try:
        pool = synthesize_on_ray(Numbered, tmp_path, workers=3, **FEW)
    finally:
        ray.shutdown()
    assert len(pool) == 20
