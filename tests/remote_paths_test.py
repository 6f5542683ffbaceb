"""A path of an object store is refused by what does not know how to use it."""

import pathlib

import numpy as np
import pytest
from tiny import CLASSES
from tiny import SHAPE
from tiny import tiny_teacher

import tf_deepinversion as di
import tf_deepinversion_command as command
from tf_deepinversion.core.files import require_local
from tf_deepinversion.core.files import write_atomically
from tf_deepinversion.datasets import load_images
from tf_deepinversion.datasets.real_images import load_idx
from tf_deepinversion.datasets.real_images import read_idx
from tf_deepinversion.models.pretrained import load_network
from tf_deepinversion.pruning import LatencyTable
from tf_deepinversion.serving import Served

GS = "gs://bucket/run"
PIXELS, LABELS = np.zeros((3, *SHAPE), "uint8"), np.arange(3)
FED = di.Preprocessing(127.5, 50.0, "normalized")

# What is refused before it looks at its other arguments is given none.
DOORS = {
    "Pool": lambda x: di.Pool(4, SHAPE, CLASSES, folder=x, run="run"),
    "distill": lambda x: di.distill(None, None, folder=x),
    "prune": lambda x: di.prune(None, None, target=0.5, folder=x),
    "sparsify": lambda x: di.sparsify(
        None, None, target=0.5, steps=1, folder=x
    ),
    "recover": lambda x: di.pruning.recover(
        None, None, None, steps=1, folder=x
    ),
    "learn_task": lambda x: di.incremental.learn_task(
        None, None, None, [], folder=x
    ),
    "learn_tasks": lambda x: di.learn_tasks(None, [], [], folder=x),
    "train": lambda x: di.incremental.train(
        None, PIXELS, LABELS, epochs=1, folder=x
    ),
    "save_task": lambda x: di.incremental.save_task(x, "a", None, {}, "run"),
    "load_task": lambda x: di.incremental.load_task(x, "a", "run"),
    "fit": lambda x: di.DeepInversion(tiny_teacher(), FED).fit(
        [0], 1, checkpoint=x
    ),
    "export": lambda x: di.export(None, x),
    "Served": Served,
    "load_images": load_images,
    "load_idx": lambda x: load_idx(x, "test"),
    "read_idx": read_idx,
    "load_network": load_network,
    "read_torch_legacy": di.checkpoints.read_torch_legacy,
    "LatencyTable.save": lambda x: LatencyTable({}).save(x),
    "LatencyTable.load": LatencyTable.load,
    "ImageGrid": di.callbacks.ImageGrid,
    "Stopwatch": di.callbacks.Stopwatch,
    "TrainingState": lambda x: di.callbacks.TrainingState(x, [], "run"),
    "RefreshPool": lambda x: di.RefreshPool().bind(None, None, path=x),
    "report_student": lambda x: di.reports.report_student(x, None, {}, None),
    "save_student": lambda x: di.reports.save_student(x, None, None),
    "write_atomically": lambda x: write_atomically(x, None),
    "command": lambda x: command.run(["invert", "none", f"--output={x}"]),
}


@pytest.mark.parametrize("path", [GS, pathlib.Path(GS)], ids=["text", "path"])
@pytest.mark.parametrize("door", DOORS)
def test_every_door_refuses_it_and_writes_nothing(
    door, path, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="mount the store .*Received: .*gs:/"):
        DOORS[door](path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "remote", ["s3://a", "memory://a", "HDFS://a/b", "file:///a", "abfs:/a"]
)
def test_any_scheme_is_remote(remote):
    with pytest.raises(ValueError, match="`folder` must .*`rclone sync`"):
        require_local(folder=remote)


@pytest.mark.parametrize("local", ["a", "/a/b", "C:/a", "./gs:/a", "a:b", None])
def test_what_is_no_scheme_is_a_path(local):
    require_local(folder=local)
