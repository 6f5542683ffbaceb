"""What two machines must do as one device does, here two processes.

`tests/networks/machines_test.py` starts one for each machine: `python
tests/testing/on_machines.py INDEX PORT PORT`.
"""

import json
import os
import sys

import keras
import numpy as np
import pytest


def check_refusals(strategy):
    """Before any work: nothing is synthesized, and no folder is made."""
    from on_replicas import NORMALIZED
    from on_replicas import learned_teacher
    from on_replicas import student
    from tiny import SHAPE

    import tf_deepinversion as di

    images, labels = np.zeros((4, *SHAPE), "uint8"), np.arange(4) % 3
    given = {"preprocessing": NORMALIZED, "steps_per_teacher_call": 1}
    with strategy.scope():
        networks = learned_teacher(), student()
        with pytest.raises(ValueError, match="leave it out.*2 machines"):
            di.distill(*networks, rounds=1, folder="made", **given)
        with pytest.raises(ValueError, match="pass `rounds`.*2 machines"):
            di.distill(*networks, minutes=1, **given)
        model = di.Distillation(*networks, NORMALIZED)
        model.compile(optimizer="sgd")
        with pytest.raises(ValueError, match="is the same on each.*2 machines"):
            model.fit(images, verbose=0)
        with pytest.raises(ValueError, match="own `fit`.*2 machines"):
            di.incremental.train(networks[1], images, labels, epochs=1)
        with pytest.raises(ValueError, match="given images.*2 machines"):
            di.learn_tasks(
                networks[1],
                [(images, labels + 3)],
                di.incremental.method("lwf"),
                preprocessing=NORMALIZED,
            )
    assert not os.path.exists("made")


def main(index, *ports):
    workers = [f"localhost:{port}" for port in ports]
    os.environ["TF_CONFIG"] = json.dumps(
        {
            "cluster": {"worker": workers},
            "task": {"type": "worker", "index": int(index)},
        }
    )
    import tensorflow as tf

    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    from incremental_replicas import check_abd
    from on_replicas import check_distill
    from on_replicas import check_distillation

    keras.utils.set_random_seed(0)
    checks = check_refusals, check_distillation, check_abd, check_distill
    for check in checks:
        check(strategy)
        print(check.__name__, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
