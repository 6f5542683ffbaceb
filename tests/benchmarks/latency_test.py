"""benchmarks/latency.py, tiny: both selections are equally fast."""

import numpy as np
import pytest
from processes import end
from processes import start

import tf_deepinversion as di
from tf_deepinversion.models import VGG11BN

SHAPE = (28, 28, 1)


@pytest.mark.slow  # a process of its own
def test_a_row_of_each_selection(tmp_path):
    VGG11BN(SHAPE, width=16, mean=73, std=90).save(tmp_path / "teacher.keras")
    images, labels = di.datasets.load_test_images()
    np.savez(tmp_path / "test.npz", images=images[:20], labels=labels[:20])
    pool = di.Pool(20, SHAPE, 10, folder=tmp_path / "pool", run="any")
    pool.add(images[:20], labels[:20])
    pool.close()
    figures = end(
        start(
            "latency.py",
            f"--teacher={tmp_path / 'teacher.keras'}",
            f"--pool={tmp_path / 'pool'}",
            f"--test_data={tmp_path / 'test.npz'}",
            f"--output={tmp_path}",
            "--shares=0.7",
            "--selections=knapsack,ranking_8",
            "--levels=2",
            "--ranking_batches=1",
            "--steps=1",
        )
    )
    knapsack, ranking = figures["rows"]
    assert (knapsack["selection"], ranking["selection"]) == (
        "knapsack",
        "ranking_8",
    )
    assert knapsack["importance"] >= ranking["importance"]
    assert all(width % 8 == 0 for width in knapsack["widths"])
