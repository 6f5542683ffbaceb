"""Several machines: what is refused, and what they do as one device does."""

import os
import pathlib
import socket
import subprocess
import sys

import pytest
import tensorflow as tf
from on_machines import check_refusals

from tf_deepinversion.networks import replica_checks

SCRIPT = pathlib.Path(__file__).parents[1] / "testing" / "on_machines.py"


class Cluster:
    """What of a strategy says which processes share it."""

    def __init__(self, **jobs):
        spec = tf.train.ClusterSpec(jobs)
        resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(spec)
        self.cluster_resolver = resolver


def test_machines_are_counted():
    assert replica_checks.machines(tf.distribute.get_strategy()) == 1
    assert (
        replica_checks.machines(tf.distribute.MirroredStrategy(["CPU:0"])) == 1
    )
    assert replica_checks.machines(Cluster()) == 1
    assert replica_checks.machines(Cluster(worker=["a:1"])) == 1
    assert replica_checks.machines(Cluster(worker=["a:1", "b:1"])) == 2
    several = Cluster(chief=["a:1"], worker=["b:1", "c:1"], evaluator=["d:1"])
    assert replica_checks.machines(several) == 3


def test_what_several_machines_cannot_share_is_refused(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(replica_checks, "machines", lambda strategy: 2)
    check_refusals(tf.distribute.get_strategy())


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("localhost", 0))
    ports = [str(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.mark.slow
def test_two_machines_do_what_one_device_does(tmp_path):
    ports = free_ports(2)
    paths = [str(SCRIPT.parents[2]), str(SCRIPT.parent)]
    outputs = [tmp_path / str(index) for index in range(2)]
    processes = []
    for index, output in enumerate(outputs):
        with open(output, "w") as file:
            processes.append(
                subprocess.Popen(
                    [sys.executable, str(SCRIPT), str(index), *ports],
                    cwd=tmp_path,
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
                    stdout=file,
                    stderr=subprocess.STDOUT,
                )
            )
    codes = [process.wait() for process in processes]
    told = [output.read_text() for output in outputs]
    assert codes == [0, 0], told[0][-3000:]
    assert all("check_distill\n" in text for text in told)
